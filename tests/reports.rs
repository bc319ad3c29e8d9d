//! What programs read of a run, held against what it promises to be, by others than those who wrote it.

mod junit;

use std::fs;
use std::path::Path;

use retryrun::engine::event::{EndedBy, Line, Outcome};
use retryrun::engine::signal::Signal;

use crate::sim::{Played, Reaction, Script, dies, exits, hangs, secs};
use crate::test::{Ran, Test, steps};

/// Fails unless each line is valid by the schema that `--generate` prints, and no copy of it with a fault is.
#[track_caller]
pub fn validate(kind: &str, lines: &str) {
    let schema = Test::new(["--generate", kind]).run().stdout;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid.py");
    let words = [script.as_os_str(), "schema.json".as_ref(), "lines.ndjson".as_ref()];
    let test = Test::of("/usr/bin/python3", words);
    let ran = test.file("schema.json", &schema).file("lines.ndjson", lines).run();
    let valid = format!("{} valid\n", lines.lines().count());
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (valid.as_str(), ""));
}

/// A run with its history, whose last attempt and outcome are these.
fn history(test: Test, ended_by: EndedBy, outcome: Outcome) -> String {
    let ran = test.env("RETRYRUN_HISTORY", "always").run();
    let history = ran.history();
    let last = history.last_attempt().and_then(|attempt| attempt.ended_by);
    assert_eq!((last, history.outcome), (Some(ended_by), Some(outcome)), "{}", ran.stderr);
    last_line(&ran)
}

fn last_line(ran: &Ran) -> String {
    ran.stderr.lines().last().unwrap_or_default().to_owned() + "\n"
}

#[test]
fn the_history_of_every_ending_is_valid() {
    use Outcome::{
        Budget, Deadline, Exhausted, Interrupted, NotStarted, Permanent, RetryAfter, Succeeded,
    };
    let flaky = steps(&["exit 7", "exit 0"]);
    let bash = Test::bash;
    let missing = Test::new(["--", "./no-such-command"]);
    let masked = bash(&["-n0", "--tail=1KiB"], "echo secret-value >&2; exit 3");
    let histories = [
        history(bash(&[], "exit 0"), EndedBy::Exit, Succeeded),
        history(bash(&["-d0"], &flaky), EndedBy::Exit, Succeeded),
        history(bash(&["-d0", "--consecutive=2"], &flaky), EndedBy::Exit, Succeeded),
        history(bash(&["-n2", "--delays=0,0.01"], "exit 7"), EndedBy::Exit, Exhausted),
        history(bash(&["-n111", "-d0"], "exit 7"), EndedBy::Exit, Exhausted),
        history(bash(&["-n1", "-d0"], "kill -9 $$"), EndedBy::Signal, Exhausted),
        history(bash(&["-n0", "-t0.1"], "sleep 1000"), EndedBy::Timeout, Exhausted),
        history(
            bash(&["-n0", "--idle-timeout=0.1"], "sleep 1000"),
            EndedBy::IdleTimeout,
            Exhausted,
        ),
        history(bash(&["--deadline=0.1"], "sleep 1000"), EndedBy::Deadline, Deadline),
        history(missing, EndedBy::SpawnError, NotStarted),
        history(bash(&["--stop-on=any"], "exit 7"), EndedBy::Exit, Permanent),
        history(
            bash(&["--stop-on=gone: 7 & err/lost/"], "echo lost >&2; exit 7"),
            EndedBy::Exit,
            Permanent,
        ),
        history(
            bash(&["--delay-from=auto"], "echo retry in 600s; exit 7"),
            EndedBy::Exit,
            RetryAfter,
        ),
        history(bash(&[], "kill -TERM $PPID; sleep 1000"), EndedBy::Signal, Interrupted),
        history(
            bash(&["-n0", "--tail=10"], r"printf 'bytes \377\n' >&2; exit 7"),
            EndedBy::Exit,
            Exhausted,
        ),
        history(bash(&["-n1", "-d0", "--log-dir=logs"], "exit 7"), EndedBy::Exit, Exhausted),
        history(bash(&["-d0", "--budget=x=1/1h"], "exit 7"), EndedBy::Exit, Budget),
        history(masked.env("API_TOKEN", "secret-value"), EndedBy::Exit, Exhausted),
    ];
    let lines = histories.concat();
    assert_eq!(lines.matches("\"flaky\":true").count(), 2);
    assert_eq!(lines.matches("\"attempts_omitted\":2}").count(), 1);
    assert!(lines.contains("\"stderr_tail\":\"***\\n\"") && !lines.contains("secret-value"));
    validate("schema", &lines);
}

/// The records of a run as they leave us.
fn events(played: &Played) -> String {
    let lines = played.records.iter().map(|record| {
        serde_json::to_string(&Line::new(&played.history().run_id, record)).expect("it is JSON")
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn events_of_every_kind_are_valid() {
    use retryrun::engine::event::SpawnErrorKind::Resources;
    let scripts = [
        Script::new([exits(7), dies(Signal::SEGV), exits(0)]),
        Script::new([hangs().on_signal(Reaction::Deaf)]).timeout(secs(10.0)).retries(1),
        Script::new([crate::sim::Command::CannotStart(Resources)]).retries(1),
        Script::new([exits(0)]).policy(|policy| policy.consecutive = 2),
        Script::new([exits(7)]).signal(secs(3.0), Signal::TERM),
    ];
    let lines: String = scripts.into_iter().map(|script| events(&script.play())).collect();
    let kinds = [
        "run_started",
        "attempt_started",
        "attempt_cut",
        "attempt_ended",
        "retry_planned",
        "run_stopped",
    ];
    for kind in kinds {
        assert!(lines.contains(&format!("\"event\":\"{kind}\"")), "{kind} in {lines}");
    }
    validate("schema-events", &lines);
}

#[test]
fn the_event_that_the_users_command_reads_is_valid() {
    let script = steps(&["exit 7", "kill -SEGV $$", "sleep 1000", "exit 0"]);
    let options = ["-d0", "-t1", "--tail=1KiB", "--retry-if", "cat >>events"];
    let test = Test::bash(&options, &script);
    let events = test.path("events");
    let (ran, lines) = test.start().finish_with(|| fs::read_to_string(events));
    let lines = lines.expect("it was asked");
    let of_kind = |kind: &str| lines.matches(&format!("\"ended_by\":\"{kind}\"")).count();
    assert_eq!((ran.code(), lines.lines().count()), (Some(0), 3), "{lines}");
    assert_eq!((of_kind("exit"), of_kind("signal"), of_kind("timeout")), (1, 1, 1));
    validate("schema-events", &lines);
}
