//! The build script: has a release linked with the C library in it, so that no loader has to run before it at every call.
//!
//! Not through the target feature `crt-static`: without `--target`, which would move the program, that is for procedural macros,
//! too, and they must be loaded. A debug build stays dynamic: tests put functions of their own before those of the C library.
#![expect(clippy::disallowed_methods, reason = "so cargo speaks to a build script")]

#[path = "build/order.rs"]
mod order;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

/// rustc has the linker look for libraries to be loaded, by these names: it finds scripts, before the libraries of the system...
const ASKED_FOR: [&str; 3] = ["libc.so", "libm.so", "libgcc_s.so"];

/// ...which name what is to be linked instead: the C library, and what a compiler adds.
const ARCHIVES: &str = "GROUP ( -l:libc.a -l:libm.a -l:libgcc_eh.a -l:libgcc.a )\n";

/// Leaves out the tables by which a stack is unwound: a panic aborts, and a stripped program has no names to show for a backtrace.
/// Not every linker can do without them.
const NO_TABLES: &str =
    "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table*) } } INSERT AFTER .text;\n";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-changed=src/build");
    println!("cargo::rustc-check-cfg=cfg(static_libc)");
    if !is_wanted() {
        return Ok(());
    }
    let folder = PathBuf::from(said("OUT_DIR"));
    for library in ASKED_FOR {
        fs::write(folder.join(library), ARCHIVES)?;
    }
    let script = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).map(|()| format!("-Wl,-T,{}", file.display()))
    };
    let no_tables = script("no-tables.ld", NO_TABLES)?;
    let in_order = script("order.ld", &order::script())?;
    let usual = vec!["-static".into(), "-no-pie".into(), format!("-L{}", folder.display())];
    let ordered = [&usual[..], &[in_order]].concat();
    let smallest = [&ordered[..], &[no_tables]].concat();
    match [smallest, ordered, usual].into_iter().find(|arguments| links(&folder, arguments)) {
        Some(arguments) => {
            for argument in arguments {
                println!("cargo::rustc-link-arg-bins={argument}");
            }
            println!("cargo::rustc-cfg=static_libc");
        }
        None => println!(
            "cargo::warning=no static C library can be linked here: the program will need that of the system, and start more slowly"
        ),
    }
    Ok(())
}

/// Whether it is a release for glibc, and nobody has already asked for a static one by other means.
fn is_wanted() -> bool {
    said("CARGO_CFG_TARGET_OS") == "linux"
        && said("CARGO_CFG_TARGET_ENV") == "gnu"
        && said("PROFILE") == "release"
        && !said("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static")
}

fn said(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Whether a program can be linked in this way, by trying it with one that does nothing.
fn links(folder: &Path, arguments: &[String]) -> bool {
    let (source, program) = (folder.join("empty.rs"), folder.join("empty"));
    let mut rustc = Command::new(said("RUSTC"));
    rustc.arg("--target").arg(said("TARGET")).arg("-Cpanic=abort").arg("-o").arg(program);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.args(said("CARGO_ENCODED_RUSTFLAGS").split('\u{1f}').filter(|flag| !flag.is_empty()));
    rustc.args(arguments.iter().map(|argument| format!("-Clink-arg={argument}"))).arg(&source);
    let is_written = fs::write(&source, "fn main() {}\n").is_ok();
    // What it says of the first way is of no use where the second one can be gone.
    let linked = rustc.stdout(Stdio::null()).stderr(Stdio::null()).status();
    is_written && linked.is_ok_and(|status| status.success())
}
