//! The program as the README has it built: with the C library in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::test::{RETRYRUN, Test};

/// The program, built now.
fn released() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(RETRYRUN).ancestors().nth(2).expect("a folder for each profile");
        let built = Command::new("cargo")
            .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("release/retryrun")
    })
}

fn of_release(words: &[&str]) -> Test {
    Test::of(released().to_str().expect("the path is text"), words)
}

/// Whether the linker finds the C library as an archive; where it does not, a release has to be loaded like any program.
fn can_be_static() -> bool {
    let asked = Command::new("cc").arg("-print-file-name=libc.a").output().expect("cc links us");
    Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_absolute()
}

#[test]
fn it_needs_no_loader() {
    /// The program header that names a loader, by elf(5).
    const PT_INTERP: u32 = 3;
    let program = fs::read(released()).expect("it is built");
    let number = |at: usize, length: usize| {
        let bytes = program[at..at + length].iter().rev();
        bytes.fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(&program[..6], b"\x7fELF\x02\x01", "64 bits, the lowest byte first");
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let kinds: Vec<usize> = (0..count).map(|header| number(start + header * size, 4)).collect();
    assert_eq!(kinds.contains(&(PT_INTERP as usize)), !can_be_static(), "{kinds:?}");
}

#[test]
fn what_usual_calls_run_lies_together() {
    let program = fs::read(released()).expect("it is built");
    let section = b".text.first\0";
    assert_eq!(program.windows(section.len()).any(|name| name == section), can_be_static());
}

#[test]
fn it_begins_as_with_the_runtime_of_rust() {
    // Descriptors that were closed are closed for the command, and no file of ours takes their place.
    let script = "exec \"$R\" -n0 --report h.json -- bash -c 'ls -l /proc/self/fd | grep -c \" [012] -> /dev/null\"; echo x' <&- 2>&-";
    let ran = Test::shell(script).env("R", released()).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "0\nx\n"));
    // A reader that has read enough is no error.
    let ran = Test::shell("\"$R\" --generate man | head -n 1; echo ${PIPESTATUS[0]}")
        .env("R", released())
        .run();
    assert!(ran.stdout.ends_with("\n0\n"), "{}", ran.stdout);
    // Words need not be text.
    let ran = of_release(&["-n0", "--", "printf", "%s", "a b"]).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "a b"));
}

/// A name server that knows one name, and, in a network of its own, the loopback.
#[cfg(feature = "redis")]
const NAMES: &str = r#"
import fcntl, socket, struct
loopback = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(loopback, 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
open("ready", "w").close()
while True:
    question, client = server.recvfrom(512)
    end = question.index(b"\0", 12) + 5
    name, kind = question[12:end - 4], question[end - 4:end - 2]
    knows = name == b"\5store\7example\0" and kind == b"\0\1"
    flags, count = (b"\x81\x80", b"\0\1") if knows else (b"\x81\x80" if b"store" in name else b"\x81\x83", b"\0\0")
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if knows else b""
    server.sendto(question[:2] + flags + b"\0\1" + count + b"\0\0\0\0" + question[12:end] + answer, client)
"#;

#[cfg(feature = "redis")]
#[test]
fn names_are_looked_up_in_the_file_of_hosts_and_by_dns() {
    let script = "
        set -e
        for file in resolv.conf hosts nsswitch.conf; do mount --bind $file /etc/$file; done
        python3 names.py & trap 'kill $(jobs -p)' EXIT
        until [ -e ready ]; do sleep 0.01; done
        redis() { exec -a redis-server redis-check-rdb --bind 127.0.0.1 --port 6379 --save '' >log; }
        redis & until redis-cli ping >/dev/null 2>&1; do sleep 0.01; done
        for name in filed store nobody; do
            options=\"-n1 -d0 --history never --budget $name=1/1h\"
            \"$R\" $options --budget-store redis://$name.example -- false || true
        done
        redis-cli dbsize";
    let test = Test::of("unshare", ["--map-root-user", "--mount", "--net", "bash", "-c", script])
        .env("R", released())
        .file("names.py", NAMES)
        .file("resolv.conf", "nameserver 127.0.0.1\n")
        .file("hosts", "127.0.0.1 filed.example\n")
        // Nothing is loaded for it, be there a library of that name or not.
        .file("nsswitch.conf", "hosts: nosuchservice [UNAVAIL=return]\n");
    let ran = test.run();
    if ran.stderr.contains("unshare: ") || ran.stderr.contains("mount: ") {
        crate::test::say("skipped: no namespaces here");
        return;
    }
    // Two budgets are in the store, and of the third it is said why not.
    assert_eq!(ran.stdout, "2\n", "{}", ran.stderr);
    let said = "retryrun: the store redis://nobody.example:6379/0 cannot be reached: failed to lookup address information: ";
    assert_eq!(ran.stderr.matches("cannot be reached").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}
