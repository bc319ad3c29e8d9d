//! Bad weather: too few processes, descriptors or bytes, closed and full outputs, programs that cannot be executed.

use std::fs::{self, File, Permissions};
use std::io::{self, Error, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use retryrun::engine::event::{EndedBy, Outcome, Verdict};
use retryrun::engine::history::Attempt;
use rustix::process::Signal;

use crate::preload::{Moment, held};
use crate::test::{RETRYRUN, Ran, Test, actor, path, say, wait_until};

/// With a limit of the system on the process.
pub fn limited(test: Test, resource: libc::__rlimit_resource_t, limit: u64) -> Test {
    test.with(|command| {
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: setrlimit is async-signal-safe.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(resource, &limit) {
                0 => Ok(()),
                _ => Err(Error::last_os_error()),
            });
        }
    })
}

/// On a kernel without these system calls, or under a filter that refuses them.
fn without(test: Test, calls: &[libc::c_long]) -> Test {
    let rule = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).expect("it fits"),
        jt,
        jf,
        k,
    };
    let number = u32::try_from(std::mem::offset_of!(libc::seccomp_data, nr)).expect("it fits");
    let mut rules = vec![rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, number)];
    for call in calls {
        let call = u32::try_from(*call).expect("a number");
        let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        rules.push(rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call));
        rules.push(rule(libc::BPF_RET | libc::BPF_K, 0, 0, missing));
    }
    rules.push(rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    test.with(|command| {
        // SAFETY: prctl is async-signal-safe, and the rules live as long as the closure.
        unsafe {
            command.pre_exec(move || {
                let len = rules.len() as u16;
                let program = libc::sock_fprog { len, filter: rules.as_mut_ptr() };
                let filter = libc::SECCOMP_MODE_FILTER;
                match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program) == 0
                {
                    true => Ok(()),
                    false => Err(Error::last_os_error()),
                }
            });
        }
    })
}

/// The first attempt of a run that could not start its command.
fn not_started(ran: &Ran) -> Attempt {
    let attempt = ran.first_attempt();
    assert_eq!(attempt.ended_by, Some(EndedBy::SpawnError), "{}", ran.stderr);
    attempt
}

#[test]
fn a_lack_of_processes_is_transient() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root can become a user without processes");
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let copy = folder.path().join("retryrun");
    crate::test::copy_program(RETRYRUN, &copy);
    let copy = copy.into_os_string().into_string().expect("text");
    // A user that nobody else is: the limit counts all processes of the user.
    let words =
        ["--reuid=64321", "--clear-groups", "prlimit", "--nproc=1", &copy, "-n1", "-d0", "true"];
    let ran = Test::of("setpriv", words)
        .with(|command| {
            command.current_dir("/");
        })
        .run();
    let attempt = not_started(&ran);
    assert_eq!((ran.code(), attempt.verdict), (Some(126), Some(Verdict::Transient)));
    let error = attempt.error.unwrap_or_default();
    assert_eq!(error, "cannot run `true`: Resource temporarily unavailable");
    assert_eq!(
        (ran.history().attempts.len(), ran.history().outcome),
        (2, Some(Outcome::Exhausted))
    );
}

#[test]
fn with_too_few_descriptors_nothing_is_run_and_with_enough_all_goes_well() {
    let mut outcomes = Vec::new();
    for limit in 4..=64 {
        // With an idle timeout both outputs are read, which takes the most.
        let test = Test::bash(&["-n0", "--idle-timeout=100"], "echo ran; exit 3");
        let ran = limited(test, libc::RLIMIT_NOFILE, limit).run();
        match (ran.code(), ran.stdout.as_str()) {
            (Some(125), "") => {
                let message = "retryrun: cannot supervise a command: Too many open files\n";
                assert_eq!(ran.stderr, message, "{limit}");
                outcomes.push(false);
            }
            (Some(3), "ran\n") => outcomes.push(true),
            _ => panic!("{limit}: {:?} {:?} {}", ran.status, ran.stdout, ran.stderr),
        }
    }
    assert!(outcomes.is_sorted() && outcomes.contains(&false) && outcomes.contains(&true));
}

#[test]
fn with_most_descriptors_taken_we_say_that_it_is_we_who_lack_them() {
    for options in ["", "--hints"] {
        let mut outcomes = Vec::new();
        for free in 2..=24 {
            let ran = Test::shell(&format!(
                "ulimit -n 256; for ((fd = 3; fd < 256 - {free}; fd++)); do eval \"exec $fd</dev/null\"; done; \
                 exec $R -q -n1 -d0 --idle-timeout=100 {options} sh -c 'echo ran; exit $((1 + RETRYRUN_ATTEMPT))'"
            ))
            .run();
            match (ran.code(), ran.stdout.as_str()) {
                (Some(125), "") => {
                    let said = &ran.stderr;
                    assert!(said.contains(": Too many open files\n"), "{free} {options}: {said}");
                    // Others may give theirs back.
                    let is_tried_again =
                        !said.contains("schema") || ran.history().attempts.len() == 2;
                    assert!(is_tried_again, "{free} {options}: {said}");
                    outcomes.push(false);
                }
                (Some(3), "ran\nran\n") => outcomes.push(true),
                _ => panic!("{free}: {:?} {:?} {}", ran.status, ran.stdout, ran.stderr),
            }
        }
        assert!(outcomes.is_sorted() && outcomes.contains(&false) && outcomes.contains(&true));
    }
}

#[test]
fn a_lack_of_memory_ends_nothing_in_silence() {
    for megabytes in [16, 32, 64, 256] {
        let loaded = limited(Test::new(["--version"]), libc::RLIMIT_AS, megabytes << 20).run();
        if loaded.signal().is_some() {
            // The kernel itself has no room for the program, and can say so to nobody.
            continue;
        }
        let test = Test::new(["-n0", "sh", "-c", "exit 3"]);
        let ran = limited(test, libc::RLIMIT_AS, megabytes << 20).run();
        // The loader, we, or the command: somebody says what is lacking.
        assert!(ran.code() == Some(3) || !ran.stderr.is_empty(), "{megabytes}: {ran:?}");
        assert_ne!(ran.code(), Some(0));
        assert!(megabytes < 256 || ran.code() == Some(3), "{ran:?}");
    }
}

#[test]
fn a_full_stderr_changes_nothing_else() {
    let full = || File::options().write(true).open("/dev/full").expect("it is there");
    for (options, code) in [(&["-n1", "-d0"][..], 7), (&["-n0", "--history=always", "-v"], 7)] {
        let test = Test::bash(options, "echo out; exit 7").with(|command| {
            command.stderr(full());
        });
        let ran = test.run();
        assert_eq!((ran.code(), ran.stdout.lines().count()), (Some(code), 2 - options.len() / 3));
    }
    let words = ["--no-such-option", "x"];
    let test = Test::new(words).with(|command| {
        command.stderr(full());
    });
    assert_eq!(test.run().code(), Some(125));
}

#[test]
fn an_output_that_is_open_for_reading_alone_takes_nothing() {
    let (reader, _writer) = io::pipe().expect("a pipe");
    let null = File::open("/dev/null").expect("it is there");
    for stdout in [OwnedFd::from(reader), null.into()] {
        for option in ["--stdout=final", "--idle-timeout=100"] {
            let given = stdout.try_clone().expect("descriptors");
            let ran = Test::bash(&["-n0", option], "echo text")
                .with(|command| {
                    command.stdout(given);
                })
                .run();
            assert_eq!(ran.code(), Some(125), "{option}: {}", ran.stderr);
            let said = "cannot write to stdout: Bad file descriptor";
            assert!(ran.stderr.contains(said), "{option}: {}", ran.stderr);
        }
    }
}

#[test]
fn closed_descriptors_are_closed_for_the_command_in_every_combination() {
    let state = "for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && echo $n >>open; done; exit 4";
    for closed in 0..8 {
        for options in [&["-n1", "-d0"][..], &["-n1", "-d0", "--idle-timeout=100"]] {
            let test = Test::bash(options, state).with(|command| {
                // SAFETY: close is async-signal-safe.
                unsafe {
                    command.pre_exec(move || {
                        for fd in (0..3).filter(|fd| closed & (1 << fd) != 0) {
                            libc::close(fd);
                        }
                        Ok(())
                    });
                }
            });
            let path = test.path("open");
            let mut running = test.start();
            let status = running.wait();
            let open = fs::read_to_string(path).unwrap_or_default();
            let expected: String =
                (0..3).filter(|fd| closed & (1 << fd) == 0).map(|fd| format!("{fd}\n")).collect();
            assert_eq!(
                (status.code(), open),
                (Some(4), expected.repeat(2)),
                "{closed} {options:?}"
            );
        }
    }
}

#[test]
fn a_working_folder_that_vanished_is_no_obstacle() {
    let script =
        "mkdir gone; cd gone; rmdir ../gone; exec \"$0\" -n1 -d0 -- sh -c 'echo ran; exit 3'";
    let ran = Test::of("bash", ["-c", script, RETRYRUN]).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(3), "ran\nran\n"), "{}", ran.stderr);
    assert_eq!(ran.history().cwd, None);
}

/// Runs `true` with words of so many bytes in all, where 256 KiB are allowed; none if not even we could be started.
fn with_bytes(folder: &Path, bytes: usize) -> Option<Output> {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    let mut command = Command::new("./r");
    let (half, rest) = (bytes / 2, bytes - bytes / 2);
    command.args(["-n1", "true", &"x".repeat(half), &"x".repeat(rest)]);
    command.current_dir(folder).env_clear().env("PATH", path());
    // SAFETY: setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_STACK, &limit) {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        });
    }
    match command.output() {
        Err(error) if error.raw_os_error() == Some(libc::E2BIG) => None,
        output => Some(output.expect("it runs")),
    }
}

#[test]
fn words_that_are_too_many_with_ours_are_permanent() {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(RETRYRUN, folder.path().join("r")).expect("a link");
    let fits = |bytes: usize| {
        with_bytes(folder.path(), bytes).is_some_and(|output| output.status.success())
    };
    let (mut most, mut least) = (100_000, 262_000);
    assert!(fits(most) && !fits(least));
    while least - most > 1 {
        let middle = most.midpoint(least);
        if fits(middle) { most = middle } else { least = middle }
    }
    // We still fit, but the command with the facts in its environment does not.
    let output = with_bytes(folder.path(), least).expect("we fit");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        stderr.contains("cannot run `true`: Argument list too long (permanent: "),
        "{stderr:.300}"
    );
}

#[test]
fn a_parent_that_ignores_sigchld_loses_no_status() {
    let command = ["grep", "SigIgn:.*1....$", "/proc/self/status"];
    let words = [
        &["--ignore-signal=CHLD", RETRYRUN, "-n1", "-d0", "--success-on=9", "--retry-on=0"],
        &command[..],
    ];
    let ran = Test::of("env", words.concat()).run();
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
    // Signal 17, and so the 17th bit: for the command it is ignored as before.
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);

    // Nor is a tree waited for that has ended.
    let actor = actor();
    let words = ["--ignore-signal=CHLD", RETRYRUN, "-k0.1", &actor];
    ends_with_its_tree(Test::of("env", [&words, &DEAF_TREE[..]].concat()));
}

/// A command that obeys, with a child elsewhere that does not: words of an actor.
const DEAF_TREE: [&str; 7] =
    ["fork", "session", "ignore=TERM", "pid=deaf", "sleep", "end", "sleep"];

/// Ends a run of that, and finds nobody left.
fn ends_with_its_tree(test: Test) {
    let mut running = test.start();
    let [deaf] = running.pids(["deaf"]);
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!((ran.signal(), deaf.lives()), (Some(libc::SIGTERM), false), "{}", ran.stderr);
}

#[test]
fn what_old_kernels_lack_is_not_missed() {
    for calls in [&[libc::SYS_clone3][..], &[libc::SYS_pidfd_open, libc::SYS_clone3]] {
        let actor = actor();
        let words = ["-n2", "-d0", &actor, "say=again", "exit=75"];
        let ran = without(Test::new(words), calls).run();
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(75), "again\nagain\nagain\n"));

        let ran = without(Test::new(["no-such-command"]), calls).run();
        assert_eq!(ran.code(), Some(127), "{}", ran.stderr);
        let error = "cannot run `no-such-command`: command not found";
        assert_eq!(not_started(&ran).error.as_deref(), Some(error));

        let words = [&["-k0.1", &actor], &DEAF_TREE[..]].concat();
        ends_with_its_tree(without(Test::new(words), calls));
    }
}

#[test]
fn input_that_may_not_be_shown_is_not_lost() {
    let (theirs, ours) = std::io::pipe().expect("a pipe");
    (&ours).write_all(b"hello\n").expect("there is room");
    drop(ours);
    let test = Test::new(["-n1", "-d0", "-q", "sh", "-c", "cat; exit 3"]).with(|command| {
        command.stdin(theirs);
    });
    let ran = without(test, &[libc::SYS_tee]).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(3), "hello\nhello\n"));
}

#[test]
fn the_memory_of_an_attempt_is_not_ours() {
    // Of all that nothing is kept but a mask; but it was, for a while.
    let script = "[ $RETRYRUN_ATTEMPT = 2 ] && exec true; head -c 120000000 /dev/zero >&2; exit 3";
    let options = ["-n1", "-d0", "--history=always", "--tail=100MB", r"--redact=\x00+"];
    let ran = Test::bash(&options, script).run();
    let [_, second] = &ran.history().attempts[..] else { panic!("two attempts") };
    let memory = second.max_rss.expect("it is known");
    assert!((100_000..50_000_000).contains(&memory), "{memory} bytes");
}

#[test]
fn programs_are_looked_for_as_shells_do() {
    let found = |name: &str, path: Option<&str>| {
        let test = Test::new(["-n0", "-q", name, "word"])
            .file("sub/tool", "echo \"$0 $1\"")
            .file("closed/tool", "echo never")
            .file("tool", "echo \"$0 here\"")
            .file("file", "");
        for (file, mode) in [("sub/tool", 0o755), ("closed/tool", 0o644), ("tool", 0o755)] {
            let mode = Permissions::from_mode(mode);
            fs::set_permissions(test.path(file), mode).expect("it is ours");
        }
        let ran = match path {
            Some(path) => test.env("PATH", path).run(),
            None => test
                .with(|command| {
                    command.env_remove("PATH");
                })
                .run(),
        };
        (ran.code(), ran.stdout)
    };
    let long = "x".repeat(5000);
    // A file without `#!` is run by the shell, by the name under which it was found.
    for (path, code, said) in [
        ("sub", 0, "sub/tool word\n"),
        ("none:file:closed:sub", 0, "sub/tool word\n"),
        (&format!("{long}:sub"), 0, "sub/tool word\n"),
        (":sub", 0, "tool here\n"),
        ("none::sub", 0, "tool here\n"),
        ("none:closed:file", 126, ""),
        ("none:file", 127, ""),
    ] {
        assert_eq!(found("tool", Some(path)), (Some(code), said.to_owned()), "{path:.50}");
    }
    assert_eq!(found("./tool", Some("sub")), (Some(0), "./tool here\n".to_owned()));
    assert_eq!(found("file/tool", Some("sub")).0, Some(126));
    assert_eq!(found("sub/none", Some("sub")).0, Some(127));
    // Without a PATH where the C library says that programs are.
    assert_eq!(found("echo", None), (Some(0), "word\n".to_owned()));
    let name = "x".repeat(256);
    assert_eq!(found(&name, Some("sub")).0, Some(126));
}

#[test]
fn a_file_that_is_still_written_is_waited_for() {
    let (test, busy, go) = held(Test::new(["-n0", "./busy", "say=ran"]), Moment::Busy);
    let path = test.path("busy");
    fs::copy(actor(), &path).expect("a copy");
    let writer = File::options().append(true).open(&path).expect("it is ours");
    let running = test.start();
    wait_until("it was tried", || busy.exists());
    drop(writer);
    fs::write(go, "").expect("a file");
    let ran = running.finish();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "ran\n"), "{}", ran.stderr);
}

#[test]
fn a_file_that_is_written_for_long_is_transient() {
    let (test, pauses, go) = held(Test::new(["-n1", "-d0", "./busy"]), Moment::Busy);
    let path = test.path("busy");
    fs::copy(actor(), &path).expect("a copy");
    let _writer = File::options().append(true).open(&path).expect("it is ours");
    fs::write(go, "").expect("a file");
    let (ran, pauses) = test.start().finish_with(|| fs::read(pauses).expect("it was tried").len());
    let attempt = not_started(&ran);
    assert_eq!((ran.code(), attempt.verdict), (Some(126), Some(Verdict::Transient)));
    assert_eq!(attempt.error.as_deref(), Some("cannot run `./busy`: Text file busy"));
    // Between ten tries each time.
    assert_eq!((ran.history().attempts.len(), pauses), (2, 2 * 9));
}

#[test]
fn what_cannot_be_executed_says_why() {
    for (content, mode, code, error) in [
        ("#!/no/such interpreter\n", 0o755, 126, "its interpreter `/no/such` is missing"),
        (
            "#! /bin/sh\r\necho\r\n",
            0o755,
            126,
            "its interpreter `/bin/sh\\r` is missing: its lines end with CR LF, as on Windows",
        ),
        ("#!\n", 0o755, 0, ""),
        ("echo ran\n", 0o755, 0, ""),
        ("echo ran\n", 0o644, 126, "Permission denied"),
    ] {
        let test = Test::new(["-n1", "-d0", "./script"]).file("script", content);
        fs::set_permissions(test.path("script"), Permissions::from_mode(mode)).expect("it is ours");
        let ran = test.run();
        assert_eq!(ran.code(), Some(code), "{content} {}", ran.stderr);
        if code == 0 {
            assert_eq!(ran.stdout, content.replace("echo ", "").replace("#!\n", ""));
        } else {
            let attempt = not_started(&ran);
            assert_eq!(attempt.error, Some(format!("cannot run `./script`: {error}")));
            assert_eq!(ran.history().outcome, Some(Outcome::NotStarted));
        }
    }
    let ran = Test::new([""]).run();
    assert_eq!(ran.code(), Some(127), "{}", ran.stderr);
}

/// Looks at its parent at the first and the last of its runs, and fails at once at the others: all in no time.
const LOOKER: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <unistd.h>
int main(int count, char **words) {
    int attempt = atoi(getenv("RETRYRUN_ATTEMPT")), last = atoi(words[1]), descriptors = 0, children = 0;
    char path[64], line[256];
    if (attempt != 300 && attempt != last) return 7;
    snprintf(path, sizeof path, "/proc/%d/fd", getppid());
    DIR *folder = opendir(path);
    while (folder && readdir(folder)) descriptors++;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", getppid(), getppid());
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%255s", line) == 1) children++;
    snprintf(path, sizeof path, "/proc/%d/status", getppid());
    file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "VmRSS:", 6)) printf("%d %d %d\n", descriptors, children, atoi(line + 6));
    return 7;
}
"#;

#[test]
fn ten_thousand_attempts_leave_no_trace_in_us() {
    let test = Test::new(["-n9999", "-d0", "-q", "./looker", "10000"]).file("looker.c", LOOKER);
    let compiled = Command::new("gcc")
        .args(["-static", "-O1", "-w", "-o"])
        .args([test.path("looker"), test.path("looker.c")])
        .stdin(Stdio::null())
        .status();
    assert!(compiled.expect("gcc runs").success());
    let ran = test.run();
    assert_eq!(ran.code(), Some(7), "{}", ran.stderr);
    assert_eq!((ran.history().retry_count, ran.history().attempts.len()), (9999, 110));
    let looks: Vec<Vec<i64>> = ran
        .stdout
        .lines()
        .map(|line| line.split(' ').map(|number| number.parse().expect("a number")).collect())
        .collect();
    let [early, late] = &looks[..] else { panic!("{}", ran.stdout) };
    let ([descriptors, children, memory], [now_descriptors, now_children, now_memory]) =
        (&early[..], &late[..])
    else {
        panic!("{looks:?}")
    };
    // One may be that by which we learn whether the program could be executed.
    assert!((now_descriptors - descriptors).abs() <= 1, "{looks:?}");
    assert_eq!((*children, *now_children), (1, 1), "the command is the only child");
    // In KiB: it may settle, but ten thousand of anything would be more.
    assert!(now_memory - memory < 512, "{looks:?}");
}
