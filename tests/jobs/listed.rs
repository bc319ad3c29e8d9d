//! The list of named runs, the history of one, and how many ended ones are kept.

use std::fs;

use retryrun::engine::history::History;
use serde_json::{Value, json};

use super::{Home, kill};
use crate::session::Session;
use crate::test::RETRYRUN;

#[test]
fn the_list_says_where_each_run_stands() {
    let home = Home::new();
    let heading = "NAME  STATE  ATTEMPT  RETRIES  LAST  NEXT  AGE  COMMAND\n";
    assert_eq!(home.call(["--jobs"]).run().stdout, heading);
    home.named("ended", &["-n1", "-d0"], "exit 3").run();
    home.named("killed", &["-n0"], "kill -9 $$").run();
    home.named("ok", &[], "exit 0").run();
    let waiting =
        home.named("waiting", &["-nunlimited", "-d1h", "--max-delay=1h"], "exit 3").start();
    let running = home.named("running", &[], "exec sleep 1000").start();
    let dead = home.named("dead", &[], "exec sleep 1000").start();
    home.wait_for("waiting", "waiting");
    home.wait_for("running", "running");
    home.wait_for("dead", "running");
    kill(dead);
    let ran = home.call(["--jobs"]).run();
    let rows: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        // Ages are of this moment.
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| [&row[..5], &row[7..]].concat()).collect();
    assert_eq!(
        cells,
        [
            ["NAME", "STATE", "ATTEMPT", "RETRIES", "LAST", "COMMAND"],
            ["dead", "dead", "1/4", "0", "-", "bash -c 'exec sleep 1000'"],
            ["ended", "exhausted", "2/2", "1", "exit 3 (unlisted)", "bash -c 'exit 3'"],
            ["killed", "exhausted", "1/1", "0", "SIGKILL (signal)", "bash -c 'kill -9 $$'"],
            ["ok", "succeeded", "1/4", "0", "exit 0", "bash -c 'exit 0'"],
            ["running", "running", "1/4", "0", "-", "bash -c 'exec sleep 1000'"],
            ["waiting", "waiting", "1", "0", "exit 3 (unlisted)", "bash -c 'exit 3'"],
        ]
    );
    assert!(
        rows.last().is_some_and(|row| row[5] == "in 1h" || row[5].starts_with("in 59m ")),
        "{rows:?}"
    );
    kill(waiting);
    kill(running);
}

#[test]
fn the_list_for_programs_has_all_fields() {
    let home = Home::new();
    assert_eq!(home.call(["--jobs", "--json"]).run().stdout, "[]\n");
    let waiting = home.named("waiting", &["-n1", "-d1000", "--max-delay=1000"], "exit 3").start();
    home.wait_for("waiting", "waiting");
    home.named("x", &["-n0"], "kill -9 $$").run();
    let mut list = home.list();
    let fields = [
        "job",
        "run_id",
        "state",
        "outcome",
        "attempt",
        "max_attempts",
        "retry_count",
        "last_exit_code",
        "last_signal",
        "last_reason",
        "last_retry_at",
        "next_attempt_at",
        "started_at",
        "pid",
        "command",
        "cwd",
    ];
    for run in &list {
        let names: Vec<&str> =
            run.as_object().expect("an object").keys().map(String::as_str).collect();
        let (mut names, mut fields) = (names, fields.to_vec());
        names.sort_unstable();
        fields.sort_unstable();
        assert_eq!(names, fields);
    }
    let history = home.show("x");
    let killed = list.pop().expect("there are two");
    assert_eq!(
        killed,
        json!({
            "job": "x", "run_id": history.run_id, "state": "ended", "outcome": "exhausted", "attempt": 1,
            "max_attempts": 1, "retry_count": 0, "last_exit_code": null, "last_signal": "SIGKILL",
            "last_reason": "signal", "last_retry_at": null, "next_attempt_at": null,
            "started_at": history.started_at, "pid": history.pid, "command": ["bash", "-c", "kill -9 $$"],
            "cwd": history.cwd,
        })
    );
    let waits = list.pop().expect("there are two");
    let field = |name| waits.get(name).cloned().unwrap_or_default();
    assert_eq!([field("state"), field("outcome")], ["waiting".into(), Value::Null]);
    assert_eq!(
        [field("last_exit_code"), field("pid")],
        [json!(3), waiting.pid().as_raw_nonzero().get().into()]
    );
    let ended = home.show("waiting").attempts[0].started_at;
    assert!(field("next_attempt_at").as_str() > Some(&ended.to_string()), "{waits}");
    kill(waiting);
}

#[test]
fn the_history_of_a_run_that_goes_on_is_shown() {
    let home = Home::new();
    let running = home.run(&["-d1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    let history: History = home.show("x");
    assert_eq!((history.outcome, history.last_number()), (None, 1));
    assert_eq!(history.job.as_deref(), Some("x"));
    kill(running);
    // What is kept of an ended one is what it printed.
    let ran = home.run(&["--fresh", "-n1", "-d0"], "exit 3").run();
    assert_eq!(home.show("x"), History { ..home.show("x") });
    let mut shown = home.show("x");
    shown.retries_used = 0;
    assert_eq!(serde_json::to_string(&shown).ok(), serde_json::to_string(&ran.history()).ok());
}

#[test]
fn on_a_terminal_the_history_is_a_timeline() {
    let home = Home::new();
    home.run(&["-n1", "-d0"], "exit 3").run();
    let state = home.file(".").display().to_string();
    let script = format!("XDG_STATE_HOME='{state}' '{RETRYRUN}' --show-job x");
    let (status, screen) = Session::script(&script).finish();
    assert_eq!(status.code(), Some(0));
    let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
    assert!(
        lines.first().is_some_and(|line| line.starts_with("exhausted: gave up after 2 attempts")),
        "{screen}"
    );
    assert!(lines.contains(&"bash -c 'exit 3'"), "{screen}");
    assert_eq!(lines.iter().filter(|line| line.ends_with(" exit 3")).count(), 2, "{screen}");
}

#[test]
fn only_so_many_ended_runs_are_kept() {
    let home = Home::new();
    let waiting = home.named("waiting", &["-d1000"], "exit 3").start();
    home.wait_for("waiting", "waiting");
    let dead = home.named("dead", &["-d1000"], "exit 3").start();
    home.wait_for("dead", "waiting");
    kill(dead);
    for name in ["e", "d", "c", "b", "a"] {
        home.named(name, &[], "exit 0").run();
    }
    let names = || -> Vec<String> {
        let name = |run: Value| run.get("job").and_then(Value::as_str).map(str::to_owned);
        home.list().into_iter().filter_map(name).collect()
    };
    assert_eq!(names(), ["a", "b", "c", "d", "dead", "e", "waiting"]);
    home.named("f", &["--keep-runs=3"], "exit 0").run();
    // The latest, whatever they are called; and never one that has not ended.
    assert_eq!(names(), ["a", "b", "dead", "f", "waiting"]);
    home.named("f", &["--keep-runs=1"], "exit 0").run();
    assert_eq!(names(), ["dead", "f", "waiting"]);
    home.named("g", &["--keep-runs=0"], "exit 0").run();
    assert_eq!(names(), ["dead", "waiting"]);
    assert!(!home.state("a", ".").exists());
    kill(waiting);
}

#[test]
fn ended_runs_are_kept_for_a_while() {
    let home = Home::new();
    home.put("old", include_str!("../data/journals/ended"));
    home.named("x", &["--keep-for=100000d"], "exit 0").run();
    assert_eq!(home.standing("old"), "ended");
    // Its end counts also where something that is not whole stands behind it.
    home.put("old", &format!("{}\0\0", include_str!("../data/journals/ended")));
    // What never began is nobody's.
    fs::create_dir(home.file("retryrun/jobs/never")).expect("a folder");
    let touched = std::process::Command::new("touch")
        .args(["-d", "2 hours ago"])
        .arg(home.state("never", "."))
        .status();
    assert!(touched.expect("touch runs").success());
    fs::create_dir(home.file("retryrun/jobs/about-to")).expect("a folder");
    home.named("x", &[], "exit 0").run();
    assert!(home.state("about-to", ".").exists());
    assert_eq!((home.standing("old").as_str(), home.standing("x").as_str()), ("", "ended"));
    assert!(!home.state("never", ".").exists());
}
