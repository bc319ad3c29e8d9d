//! `-vv`: what we do, for whoever looks for a fault in retryrun.

use rustix::process::Signal;
use serde_json::Value;

use crate::test::{Test, steps};

/// The lines that only `-vv` prints, with pids made equal.
fn traced(stderr: &str, prefix: &str) -> Vec<String> {
    let ours = stderr.lines().filter_map(|line| line.strip_prefix(prefix));
    let words = |line: &str| {
        let is_number = |word: &str| word.parse::<u32>().is_ok_and(|number| number > 300);
        let words = line.split(' ').map(|word| if is_number(word) { "PID" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    ours.map(words).collect()
}

#[test]
fn all_that_we_do_is_told_in_order() {
    let hooks = ["--retry-if", "exit 0", "--before-attempt", "exit 0", "--on-success", "exit 3"];
    let options = ["-vv", "-n1", "-d0", "--history=never", "--leftovers=kill", "--tail=1KiB"];
    let script = steps(&["(sleep 1000 >/dev/null 2>&1 &); exit 7", "exit 0"]);
    let ran = Test::bash(&[&options[..], &hooks].concat(), &script).run();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let lines = traced(&ran.stderr, "retryrun: ");
    let wanted = |line: &&String| {
        let starts = ["order: ", "process PID", "stdin "];
        starts.iter().any(|start| line.starts_with(start))
    };
    let told: Vec<&str> = lines.iter().filter(wanted).map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "order: start attempt 1 (first)",
            "stdin is inherited, stdout is inherited, stderr is read",
            "process PID is to run attempt 1",
            "process PID is reaped: exit 7",
            "order: ask --retry-if",
            "process PID is to run --retry-if",
            "process PID of --retry-if is reaped: well",
            "order: end all that was left behind, first with SIGTERM",
            "order: prepare attempt 2 (retry)",
            "process PID is to run --before-attempt",
            "process PID of --before-attempt is reaped: well",
            "order: start attempt 2 (retry)",
            "stdin is inherited, stdout is inherited, stderr is read",
            "process PID is to run attempt 2",
            "process PID is reaped: exit 0",
            "process PID is to run --on-success",
            "process PID of --on-success is reaped: exit 3",
        ],
        "{}",
        ran.stderr
    );
    assert!(lines[0].starts_with("no terminal controls us (session "), "{lines:?}");
    assert!(lines[0].ends_with("): the command gets a process group of its own"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "SIGCHLD came from the kernel"), "{lines:?}");
}

#[test]
fn signals_are_told_with_who_sent_them() {
    let mut running = Test::bash(&["-vv"], "echo up; exec sleep 1000").start();
    running.stdout_line();
    running.signal(Signal::TERM);
    let ran = running.finish();
    let lines = traced(&ran.stderr, "retryrun: ");
    let at = |wanted: &str| lines.iter().position(|line| line == wanted);
    let (came, sent) = (at("SIGTERM came from a process"), at("order: send SIGTERM to what runs"));
    assert!(came.is_some() && came < sent, "{lines:?}");
    assert!(sent < at("process PID is reaped: SIGTERM"), "{lines:?}");
}

#[test]
fn in_json_they_are_events_of_their_own() {
    let ran = Test::bash(&["-vv", "--log-format=json"], "exit 0").run();
    let lines: Vec<Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let traced: Vec<&Value> = lines.iter().filter(|line| line["event"] == "trace").collect();
    assert!(traced.len() > 3 && traced.iter().all(|line| line["level"] == "TRACE"), "{lines:?}");
}

#[test]
fn with_less_there_are_none() {
    for options in [&["-v"][..], &["-vv", "-q"], &[]] {
        let ran = Test::bash(options, "exit 0").run();
        assert!(
            !ran.stderr.contains("order: ") && !ran.stderr.contains("process "),
            "{}",
            ran.stderr
        );
    }
}
