//! What the command writes: held back until the run is over, and kept in files.

use std::fs;
use std::process::Command;

use retryrun::engine::event::Outcome;

use crate::test::{RETRYRUN, Test, say, steps};

#[test]
fn only_the_last_attempts_stdout_is_written() {
    let script =
        "echo out $RETRYRUN_ATTEMPT; echo err $RETRYRUN_ATTEMPT >&2; [ $RETRYRUN_ATTEMPT = 3 ]";
    let ran = Test::bash(&["-d0", "-q", "--stdout", "final"], script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "out 3\n"));
    assert_eq!(ran.stderr, "err 1\nerr 2\nerr 3\n");
    let ran =
        Test::bash(&["-n1", "-d0", "--stdout=final"], "echo out $RETRYRUN_ATTEMPT; exit 4").run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(4), "out 2\n"), "a failed run's, too");
}

#[test]
fn much_that_is_held_back_is_exact() {
    let script = "seq 1 300000; [ $RETRYRUN_ATTEMPT = 2 ]";
    let ran = Test::bash(&["-d0", "-q", "--stdout=final"], script).run();
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(ran.stdout == expected, "{} bytes", ran.stdout.len());
}

#[test]
fn it_is_exact_wherever_it_goes() {
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    let run = format!("{RETRYRUN} --stdout=final -- seq 1 300000");
    let socket = format!(
        "import socket, subprocess\n\
         ours, theirs = socket.socketpair()\n\
         child = subprocess.Popen('{run}'.split(), stdout=theirs)\n\
         theirs.close()\n\
         with ours.makefile('rb') as read: open('out', 'wb').write(read.read())\n\
         raise SystemExit(child.wait())"
    );
    for (shell, script, before) in [
        ("bash", format!("{run} >out"), ""),
        ("bash", format!("{run} >>out"), "before\n"),
        ("bash", format!("set -o pipefail; {run} | dd bs=7777 status=none >out"), ""),
        ("python3", socket, ""),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("out"), before).expect("a file");
        let status = Command::new(shell).args(["-c", &script]).current_dir(folder.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "{script}");
        let text = fs::read_to_string(folder.path().join("out")).expect("it is there");
        assert!(text == format!("{before}{expected}"), "{script}: {} bytes", text.len());
    }
}

#[test]
fn an_interrupted_runs_output_is_written_too() {
    let script = "echo half; kill -TERM $PPID; sleep 1000";
    let ran = Test::bash(&["--stdout=final"], script).run();
    assert_eq!((ran.signal(), ran.stdout.as_str()), (Some(libc::SIGTERM), "half\n"));
    assert_eq!(ran.history().outcome, Some(Outcome::Interrupted));
}

#[test]
fn held_output_that_nobody_reads_is_a_broken_pipe() {
    let script =
        format!("set -o pipefail; {RETRYRUN} --stdout=final -- seq 1 100000 | true; echo $?");
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "141\n");
}

/// What a script prints on stdout and stderr that has a file system of its own in the folder `small`; says so where none may be mounted.
fn on_a_small_disk(mebibytes: u32, script: &str) -> Option<(String, String)> {
    let mount = format!("mkdir small && mount -t tmpfs -o size={mebibytes}m none small");
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new("unshare")
        .args(["-rm", "bash", "-c", &format!("{mount} || exit 77; {script}")])
        .current_dir(folder.path())
        .output()
        .expect("unshare runs");
    if output.status.code() == Some(77) || output.stdout.is_empty() {
        say("skipped: no mount may be made here");
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&output.stdout), text(&output.stderr)))
}

#[test]
fn a_disk_that_is_full_ends_the_attempt_with_a_reason() {
    let script = format!(
        "TMPDIR=$PWD/small {RETRYRUN} -n3 -d0 --stdout=final -- \
         bash -c 'head -c 8000000 /dev/zero; sleep 1000' >out; echo \"rc $?\""
    );
    let Some((stdout, stderr)) = on_a_small_disk(2, &script) else { return };
    assert_eq!(stdout, "rc 125\n", "{stderr}");
    assert!(stderr.contains("cannot hold stdout back: No space left on device"), "{stderr}");
    assert!(stderr.contains(": stopped (not judged)\n"), "{stderr}");
    assert!(stderr.contains("gave up after 1 attempt"), "{stderr}");
}

/// The files in the folder `logs` of a test, with their content.
fn logs(test: &std::path::Path) -> Vec<(String, String)> {
    let mut logs: Vec<(String, String)> = fs::read_dir(test)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned())
        })
        .collect();
    logs.sort();
    logs
}

#[test]
fn each_attempts_output_is_kept_in_files_and_passed_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs_folder = folder.path().join("a/b");
    let option = format!("--log-dir={}", logs_folder.display());
    let script = "echo out $RETRYRUN_ATTEMPT; echo err $RETRYRUN_ATTEMPT >&2; exit 3";
    let ran = Test::bash(&["-q", "-n1", "-d0", &option], script).run();
    assert_eq!(ran.stdout, "out 1\nout 2\n");
    let expected = [
        ("attempt-1.stderr.log", "err 1\n"),
        ("attempt-1.stdout.log", "out 1\n"),
        ("attempt-2.stderr.log", "err 2\n"),
        ("attempt-2.stdout.log", "out 2\n"),
    ];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(logs(&logs_folder), expected);
    let attempt = &ran.history().attempts[1];
    let path = |name| Some(logs_folder.join(name).display().to_string());
    assert_eq!(attempt.stdout_log, path("attempt-2.stdout.log"));
    assert_eq!(attempt.stderr_log, path("attempt-2.stderr.log"));
    assert_eq!(attempt.stderr_tail.as_deref(), Some("err 2\n"));

    // An earlier run's are removed, and nothing else.
    fs::write(logs_folder.join("mine"), "").expect("a file");
    Test::bash(&["-q", &option], "true").run();
    let names: Vec<String> = logs(&logs_folder).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["attempt-1.stderr.log", "attempt-1.stdout.log", "mine"]);
}

#[test]
fn two_runs_at_one_time_have_two_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    let option = format!("--log-dir={}", folder.path().display());
    let mut first = Test::bash(&[&option], "echo first; read x; true")
        .with(|command| {
            command.stdin(std::process::Stdio::piped());
        })
        .start();
    first.stdout_line();
    let second = Test::bash(&["-n0", &option], "echo second; exit 1").run();
    let id = second.history().run_id;
    assert_eq!(logs(&folder.path().join(&id))[1].1, "second\n");
    first.close_stdin();
    first.finish();
    assert_eq!(logs(folder.path())[1].1, "first\n");
}

#[test]
fn what_is_one_file_is_kept_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "{RETRYRUN} -q -n0 --log-dir={} -- bash -c 'for i in 1 2 3; do echo o$i; echo e$i >&2; done' 2>&1",
        folder.path().display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    let text = "o1\ne1\no2\ne2\no3\ne3\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), text);
    assert_eq!(logs(folder.path()), [("attempt-1.output.log".to_owned(), text.to_owned())]);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_before_anything_is_run() {
    let test = Test::bash(&["--log-dir", "file/logs"], "echo ran").file("file", "");
    let ran = test.run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""));
    assert!(ran.stderr.contains("--log-dir: cannot keep logs in file/logs: "), "{}", ran.stderr);
}

/// How often a run said that it cannot log, and the reason.
fn complaints(stderr: &str) -> Vec<&str> {
    let complaint = "retryrun: cannot log what the command writes: ";
    stderr.lines().filter_map(|line| line.strip_prefix(complaint)).collect()
}

#[test]
fn a_folder_that_vanished_is_said_once_and_costs_the_command_nothing() {
    let script = "rm -rf logs; echo out $RETRYRUN_ATTEMPT; [ $RETRYRUN_ATTEMPT = 3 ]";
    let ran = Test::bash(&["-n2", "-d0", "--log-dir=logs"], script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "out 1\nout 2\nout 3\n"));
    assert_eq!(complaints(&ran.stderr), ["No such file or directory"], "{}", ran.stderr);
}

#[test]
fn a_disk_that_is_full_is_said_once_and_costs_the_command_nothing() {
    let script = format!(
        "{RETRYRUN} -n1 -d0 --log-dir=small/logs -- bash -c 'head -c 3000000 /dev/zero; exit 3' | wc -c; \
         echo \"rc ${{PIPESTATUS[0]}}\"; wc -c <small/logs/attempt-1.stdout.log"
    );
    let Some((stdout, stderr)) = on_a_small_disk(1, &script) else { return };
    assert_eq!(stdout, "6000000\nrc 3\n1048576\n", "{stderr}");
    assert_eq!(complaints(&stderr), ["No space left on device"], "{stderr}");
}

#[test]
fn the_first_10_and_the_last_100_attempts_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let option = format!("--log-dir={}", folder.path().display());
    Test::new(["-q", "-n", "119", "-d0", &option, "false"]).run();
    let mut kept: Vec<u64> = logs(folder.path())
        .iter()
        .filter_map(|(name, _)| {
            name.strip_prefix("attempt-")?.strip_suffix(".stdout.log")?.parse().ok()
        })
        .collect();
    kept.sort_unstable();
    let expected: Vec<u64> = (1..=10).chain(21..=120).collect();
    assert_eq!(kept, expected);
}

#[test]
fn the_end_of_stderr_is_in_the_history_where_it_is_read() {
    let script = "seq 1 5000 >&2; exit 1";
    let tail = |options: &[&str]| {
        let options = [&["-n0", "-q"], options].concat();
        Test::bash(&options, script).run().history().attempts[0].stderr_tail.clone()
    };
    assert_eq!(tail(&[]), None, "nothing reads it");
    assert_eq!(tail(&["--tail", "10"]).as_deref(), Some("4999\n5000\n"));
    assert_eq!(tail(&["--tail", "3"]).as_deref(), Some("00\n"), "also within a word");
    assert_eq!(tail(&["--idle-timeout", "60"]).map(|text| text.len()), Some(4096));
    assert_eq!(tail(&["--idle-timeout", "60", "--tail", "0"]), None);
    let secret = Test::bash(&["-n0", "--tail=1KiB"], "echo token is tok-123456 >&2; exit 1");
    let ran = secret.env("MY_TOKEN", "tok-123456").run();
    assert_eq!(ran.history().attempts[0].stderr_tail.as_deref(), Some("token is ***\n"));
}

#[test]
fn an_outer_runs_folder_is_not_an_inner_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = format!("{RETRYRUN} -n0 sh -c 'echo inner'");
    let ran = Test::bash(&["-n0"], &inner).env("RETRYRUN_LOG_DIR", folder.path()).run();
    assert_eq!(ran.stdout, "inner\n");
    assert_eq!(logs(folder.path()).len(), 2);
}

#[test]
fn held_output_is_that_of_the_attempt_that_succeeded() {
    let ran =
        Test::bash(&["-d0", "-q", "--stdout=final"], &steps(&["echo wrong; exit 1", "echo right"]));
    assert_eq!(ran.run().stdout, "right\n");
}
