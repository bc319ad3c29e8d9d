//! Who goes on with a run: two at once are refused, what has changed is said, and the options of earlier calls hold.

use std::fs;

use retryrun::engine::event::{Outcome, Trigger};

use super::{Home, attempts, kill};
use crate::test::Test;

/// A run named `x` that has died in a wait.
fn dead(home: &Home, options: &[&str]) {
    let options = [&["-d1000", "--max-delay=1000"], options].concat();
    let running = home.run(&options, "exit 3").start();
    home.wait_for("x", "waiting");
    kill(running);
    home.comes_due("x");
}

#[test]
fn two_at_once_are_refused_with_the_pid_of_the_owner() {
    let home = Home::new();
    let running = home.run(&["-d1000", "--max-delay=1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    let pid = running.pid().as_raw_nonzero();
    let said = format!("retryrun: --job: the run x goes on already, as process {pid}\n");
    for options in [&[][..], &["--fresh"]] {
        let ran = home.run(options, "echo ran").run();
        assert_eq!((ran.code(), ran.stdout, ran.stderr), (Some(125), String::new(), said.clone()));
    }
    let ran = home.ask("--rerun-job", "x");
    assert_eq!(ran.stderr, said.replace("--job", "--rerun-job"));
    assert_eq!(ran.code(), Some(125));
    assert_eq!(home.standing("x"), "waiting", "it is not disturbed");
    // Another name is another run.
    assert_eq!(home.named("y", &[], "exit 0").run().code(), Some(0));
    kill(running);
    assert_eq!(home.run(&["--fresh"], "exit 0").run().code(), Some(0));
}

#[test]
fn of_many_at_once_one_goes_on() {
    let home = Home::new();
    let script = "echo $RETRYRUN_RUN_ID >>ran; exec sleep 1000";
    let running: Vec<_> = (0..10).map(|_| home.run(&[], script).start()).collect();
    home.wait_for("x", "running");
    let (mut refused, mut owner) = (0, None);
    let pid = home.listed("x").get("pid").and_then(serde_json::Value::as_i64);
    for run in running {
        if Some(i64::from(run.pid().as_raw_nonzero().get())) == pid {
            owner = Some(run);
        } else {
            let ran = run.finish();
            assert!(ran.stderr.contains("goes on already, as process "), "{}", ran.stderr);
            refused += usize::from(ran.code() == Some(125));
        }
    }
    assert_eq!(refused, 9);
    kill(owner.expect("one of them has it"));
    let ran = fs::read_to_string(home.file("ran")).expect("it ran");
    assert_eq!(ran.lines().count(), 1);
}

#[test]
fn whoever_looks_keeps_nobody_from_starting() {
    let home = Home::new();
    let look = format!("for i in 1 2 3 4 5 6 7 8; do '{}' --jobs; done", crate::test::RETRYRUN);
    let looking = Test::of("bash", ["-c", &look]).env("XDG_STATE_HOME", home.file(".")).start();
    for _ in 0..8 {
        let ran = home.run(&["-n0"], "exit 4").run();
        assert_eq!(ran.code(), Some(4), "{}", ran.stderr);
    }
    looking.finish();
}

#[test]
fn what_has_changed_is_said() {
    let cases: [(&[&str], &str, &str); 6] = [
        (&["-d1000", "--max-delay=1000"], "exit 3", ""),
        (&["-d1000", "--max-delay=1000"], "exit 4", "; changed: command"),
        (&["-t9"], "exit 3", "; changed: policy"),
        // Also what is not in the summary of the history; but not what only we say.
        (&["--stop-on=9"], "exit 3", "; changed: policy"),
        (&["--exit-code=exhausted=3"], "exit 3", "; changed: policy"),
        (&["--history=always", "-n1"], "exit 3", ""),
    ];
    for (options, script, changed) in cases {
        let home = Home::new();
        dead(&home, &["-n1"]);
        let id = home.show("x").run_id;
        let ran = home.run(options, script).run();
        let first = ran.lines().first().copied().unwrap_or_default().to_owned();
        let expected = format!("retryrun: goes on with run {id} of ");
        assert!(first.starts_with(&expected), "{first}");
        assert!(first.ends_with(&format!(" after 1 attempt{changed}")), "{first}");
        assert_eq!(ran.history().run_id, id);
    }
    let home = Home::new();
    dead(&home, &["-n1"]);
    fs::create_dir(home.file("elsewhere")).expect("a folder");
    let test = home.run(&[], "exit 5").with(|command| {
        command.current_dir(home.file("elsewhere"));
    });
    let ran = test.run();
    assert!(ran.stderr.contains("; changed: command, cwd\n"), "{}", ran.stderr);
    assert!(ran.history().cwd.is_some_and(|cwd| cwd.ends_with("/elsewhere")));
}

#[test]
fn options_of_earlier_calls_hold_where_this_one_says_nothing() {
    let home = Home::new();
    let running = home
        .run(&["-d1000", "-n5", "--stop-on=9"], "exit 3")
        .env("RETRYRUN_TIMEOUT", "77s")
        .env("RETRYRUN_MAX_DELAY", "1000s")
        .start();
    home.wait_for("x", "waiting");
    kill(running);
    // The second call says less, and something else.
    let mut running = home.run(&["--idle-timeout=88", "-n6"], "exit 3").start();
    running.stderr_with("goes on with run");
    kill(running);
    // And the third nothing at all.
    home.comes_due("x");
    let ran = home.run(&[], "exit 9").run();
    let history = ran.history();
    assert_eq!((history.outcome, ran.code()), (Some(Outcome::Permanent), Some(9)));
    let policy = history.policy;
    let seconds = |duration: Option<std::time::Duration>| duration.map(|it| it.as_secs());
    assert_eq!(
        (
            policy.retries,
            seconds(policy.delay),
            seconds(policy.timeout),
            seconds(policy.idle_timeout)
        ),
        (Some(6), Some(1000), Some(77), Some(88))
    );
    let origin = &history.attempts.last().expect("there was one").rule_origin;
    assert_eq!(origin.as_deref(), Some("earlier call --stop-on"));
    // A new run does not know of them.
    let ran = home.run(&["-n0"], "exit 9").run();
    assert_eq!(ran.history().policy.timeout, None);
}

#[test]
fn paths_of_an_earlier_call_are_seen_from_its_folder() {
    let home = Home::new();
    let other = tempfile::tempdir().expect("a folder");
    dead(&home, &["-n1", "--log-dir=logs", "--report=said.json"]);
    let ran = home
        .run(&["--history=always"], "echo $PWD; exit 0")
        .with(|command| {
            command.current_dir(other.path());
        })
        .run();
    assert_eq!(ran.stdout, format!("{}\n", other.path().display()), "{}", ran.stderr);
    assert!(home.file("said.json").exists() && home.file("logs/attempt-2.stdout.log").exists());
    assert_eq!(fs::read_dir(other.path()).expect("it is there").count(), 0);
}

#[test]
fn a_call_that_is_refused_says_nothing() {
    let home = Home::new();
    dead(&home, &["-n2"]);
    for refused in ["--cgroup=/tmp", "--log-dir=/proc/x", "--budget=x=99999999999/1ns"] {
        let ran = home.run(&[refused], "exit 0").run();
        assert_eq!(ran.code(), Some(125), "{refused}: {}", ran.stderr);
    }
    home.comes_due("x");
    let ran = home.run(&["--history=always"], "exit 0").run();
    assert_eq!(
        (ran.code(), attempts(&ran.history())),
        (Some(0), "first exit 3, resumed exit 0".into())
    );
}

#[test]
fn the_configuration_of_an_earlier_call_holds() {
    let home = Home::new();
    fs::write(home.file("own.toml"), "idle_timeout = \"55s\"\n").expect("a file");
    dead(&home, &["-n1", "--config=own.toml"]);
    let test = home.run(&[], "exit 3").with(|command| {
        command.current_dir("/");
    });
    let idle_timeout = test.run().history().policy.idle_timeout;
    assert_eq!(idle_timeout.map(|it| it.as_secs()), Some(55));
    let home = Home::new();
    fs::write(home.file("own.toml"), "idle_timeout = \"55s\"\n").expect("a file");
    dead(&home, &["-n1", "--config=own.toml"]);
    assert_eq!(home.run(&["--no-config"], "exit 3").run().history().policy.idle_timeout, None);
}

#[test]
fn a_fresh_run_forgets_the_unended_one() {
    let home = Home::new();
    dead(&home, &["-n5"]);
    let before = home.show("x").run_id;
    let ran = home.run(&["--fresh", "-n0"], "exit 4").run();
    assert_eq!(attempts(&ran.history()), "first exit 4");
    assert_ne!(ran.history().run_id, before);
    assert_eq!(ran.history().policy.delay.map(|it| it.as_secs()), Some(5), "nor its options");
    // Of one that has ended, nothing is gone on with anyway.
    let ran = home.run(&["-n0"], "exit 4").run();
    assert_eq!(attempts(&ran.history()), "first exit 4");
    let ran = home.call(["--fresh", "true"]).run();
    assert_eq!(ran.code(), Some(0), "without a name there is nothing to forget");
}

#[test]
fn a_run_goes_on_with_the_same_jitter() {
    let home = Home::new();
    dead(&home, &["-n9", "--jitter=full"]);
    let seed = home.show("x").policy.seed;
    let ran = home.run(&["--delays=0", "-n1"], "exit 3").run();
    assert_eq!(ran.history().policy.seed, seed);
}

#[test]
fn the_logs_of_attempts_before_are_kept() {
    let home = Home::new();
    let script = "echo $RETRYRUN_ATTEMPT; exit 3";
    let running = home.run(&["-n1", "-d1000", "--log-dir=logs"], script).start();
    home.wait_for("x", "waiting");
    kill(running);
    home.comes_due("x");
    home.run(&[], script).run();
    let log = |number| {
        let path = home.file(&format!("logs/attempt-{number}.stdout.log"));
        fs::read_to_string(path).unwrap_or_default()
    };
    assert_eq!([log(1), log(2)], ["1\n", "2\n"]);
    home.run(&["-n0", "--log-dir=logs"], script).run();
    assert_eq!([log(1), log(2)], ["1\n", ""], "those of another run are not");
}

#[test]
fn reports_in_files_have_the_whole_run() {
    let home = Home::new();
    let options =
        ["-n2", "-d1000", "--report=events.ndjson", "--report=bundle:all", "--report=ndjson:-"];
    let running = home.run(&options, "exit 3").start();
    home.wait_for("x", "waiting");
    kill(running);
    home.comes_due("x");
    let ran = home.run(&["--delays=0"], "exit 0").run();
    let events = |text: String| -> Vec<String> {
        let event =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("an object");
        text.lines()
            .map(|line| event(line)["event"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let since = ["run_resumed", "attempt_started", "attempt_ended", "run_stopped"];
    let whole = ["run_started", "attempt_started", "attempt_ended", "retry_planned"];
    let whole: Vec<&str> = whole.into_iter().chain(since).collect();
    for file in ["events.ndjson", "all/events.ndjson"] {
        assert_eq!(
            events(fs::read_to_string(home.file(file)).expect("it is there")),
            whole,
            "{file}"
        );
    }
    assert_eq!(events(ran.stdout), since, "whoever reads it has had the rest");
}

#[test]
fn input_is_read_from_its_start() {
    let home = Home::new();
    dead(&home, &["-n2"]);
    let script = "cat; exit 3";
    let mut running = home
        .run(&["-n2", "--delays=0"], script)
        .with(|command| {
            command.stdin(std::process::Stdio::piped());
        })
        .start();
    running.write_stdin("input\n");
    running.close_stdin();
    assert_eq!(running.finish().stdout, "input\ninput\n");
}

#[test]
fn a_name_may_come_from_the_environment_or_a_file_and_is_not_inherited() {
    let home = Home::new();
    let inner = format!("exec '{}' -n0 -- bash -c 'exit 4'", crate::test::RETRYRUN);
    let test = home.call(["-n0", "--", "bash", "-c", &inner]);
    let ran = test.env("RETRYRUN_JOB", "outer").env("RETRYRUN_FRESH", "yes").run();
    assert_eq!(ran.code(), Some(4), "{}", ran.stderr);
    let jobs: Vec<_> = ran.lines().into_iter().map(str::to_owned).collect();
    assert!(!jobs.concat().contains("goes on already"), "{}", ran.stderr);
    assert_eq!(ran.history().job.as_deref(), Some("outer"));
    assert_eq!(home.list().len(), 1);
    let config = "job = \"of-a-file\"\nkeep_runs = 5\n";
    let test = home.call(["--config=c.toml", "true"]).file("c.toml", config);
    assert_eq!(test.run().code(), Some(0));
    assert_eq!(home.standing("of-a-file"), "ended");
    // Whoever asks for the policy takes no run.
    let ran = home.call(["--job=asked", "--explain", "true"]).run();
    assert_eq!((ran.code(), home.standing("asked").as_str()), (Some(0), ""));
    assert!(ran.stdout.contains("asked"), "{}", ran.stdout);
}

#[test]
fn an_outer_deadline_is_kept() {
    let home = Home::new();
    dead(&home, &["-n9"]);
    // The run began a day ago; a minute is left.
    let journal = fs::read_to_string(home.state("x", "journal")).expect("it is there");
    let began = home.show("x").started_at;
    let day = std::time::Duration::from_secs(86_400);
    let earlier = retryrun::engine::time::Timestamp::since_epoch(began.as_duration() - day);
    home.put("x", &journal.replace(&began.to_string(), &earlier.to_string()));
    let left = began.as_duration().as_secs() + 60;
    let test = home.run(&["--history=always", "--delays=0"], "exit 0");
    let ran = test.env("RETRYRUN_DEADLINE_AT", left.to_string()).run();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let triggers: Vec<_> = ran.history().attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [Trigger::First, Trigger::Resumed]);
}
