//! The Debian package: made of the release's program, installed in a root of its own, and run from there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::test::{Test, say};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// A package of the release's program, which is built if it is not there as it should be.
fn pack(tool: &Path, folder: &Path) -> PathBuf {
    let build = ["build", "--quiet", "--locked", "--release"];
    succeeds(Command::new("cargo").args(build).current_dir(root()));
    let package = folder.join("retryrun.deb");
    let options = ["--no-build", "--no-strip", "--locked", "--fast", "--quiet", "--output"];
    succeeds(Command::new(tool).args(options).arg(&package).current_dir(root()));
    package
}

/// Installed as dpkg does it for root; for others, who may give no file to root, unpacked.
fn install(package: &Path, system: &Path) {
    for folder in ["info", "updates"] {
        fs::create_dir_all(system.join("var/lib/dpkg").join(folder)).expect("a folder");
    }
    fs::write(system.join("var/lib/dpkg/status"), "").expect("a file");
    if rustix::process::geteuid().is_root() {
        let options = ["--force-depends", "--force-bad-path", "--install"];
        let mut dpkg = Command::new("dpkg");
        succeeds(dpkg.arg("--root").arg(system).args(options).arg(package));
        let status = fs::read_to_string(system.join("var/lib/dpkg/status")).expect("a file");
        assert!(status.contains("Package: retryrun\nStatus: install ok installed\n"), "{status}");
    } else {
        succeeds(Command::new("dpkg-deb").arg("--extract").arg(package).arg(system));
    }
}

/// The files below a folder, by their paths from there.
fn files(folder: &Path) -> BTreeSet<String> {
    let find = succeeds(Command::new("find").arg(folder).args(["-type", "f", "-printf", "%P\\n"]));
    find.lines().map(str::to_owned).collect()
}

#[test]
fn the_debian_package_puts_everything_in_its_place() {
    let tool = root().join("target/tools/bin/cargo-deb");
    if !tool.exists() {
        say("skipped: cargo-deb is not there, tests/run installs it");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let package = pack(&tool, folder.path());
    let system = folder.path().join("root");
    install(&package, &system);

    let usr = system.join("usr");
    let places = [
        "bin/retryrun",
        "share/bash-completion/completions/retryrun",
        "share/doc/retryrun/README.md",
        "share/doc/retryrun/changelog.Debian.gz",
        "share/doc/retryrun/changelog.gz",
        "share/doc/retryrun/copyright",
        "share/fish/vendor_completions.d/retryrun.fish",
        "share/lintian/overrides/retryrun",
        "share/man/man1/retryrun.1.gz",
        "share/zsh/vendor-completions/_retryrun",
    ];
    assert_eq!(files(&usr), places.map(str::to_owned).into());

    let installed = usr.join("bin/retryrun").into_os_string().into_string().expect("text");
    let version = env!("CARGO_PKG_VERSION");
    let ran = Test::of(&installed, ["--version"]).run();
    assert_eq!((ran.code(), ran.stdout), (Some(0), format!("retryrun {version}\n")));
    let ran = Test::of(&installed, ["-n1", "-d0", "--", "sh", "-c", "exit 3"]).run();
    assert_eq!((ran.code(), ran.history().attempts.len()), (Some(3), 2), "{}", ran.stderr);

    for (kind, place) in [
        ("man", "share/man/man1/retryrun.1.gz"),
        ("complete-bash", "share/bash-completion/completions/retryrun"),
        ("complete-zsh", "share/zsh/vendor-completions/_retryrun"),
        ("complete-fish", "share/fish/vendor_completions.d/retryrun.fish"),
    ] {
        // With -f, zcat gives what is not compressed as it is.
        let file = succeeds(Command::new("zcat").arg("-f").arg(usr.join(place)));
        assert_eq!(Test::of(&installed, ["--generate", kind]).run().stdout, file, "{kind}");
    }
    let page = usr.join("share/man/man1/retryrun.1.gz");
    let shown = succeeds(Command::new("mandoc").arg("-Tascii").arg(page));
    assert!(shown.lines().next().is_some_and(|line| line.starts_with("retryrun(1)")), "{shown}");
}

#[test]
fn the_copyright_of_the_package_is_the_licence() {
    let copyright = fs::read_to_string(root().join(".ci/debian/copyright")).expect("a file");
    let licence = fs::read_to_string(root().join("LICENSE-MIT")).expect("a file");
    // In the fields of a Debian file an empty line is a dot.
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace().filter(|word| *word != ".").map(str::to_owned).collect()
    };
    let (_, permission) = licence.split_once("authors\n").expect("the holder");
    let permission = words(permission).join(" ");
    assert!(words(&copyright).join(" ").contains(&permission), "{copyright}");
}

#[test]
fn the_changelog_of_the_package_is_of_this_version() {
    let changelog = fs::read_to_string(root().join(".ci/debian/changelog")).expect("a file");
    let version = env!("CARGO_PKG_VERSION");
    assert!(changelog.starts_with(&format!("retryrun ({version}-1) ")), "{changelog}");
}
