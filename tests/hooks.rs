//! The user's own commands beside the attempts: what they are told, where what they print goes, and that they end with the run.

mod endings;
mod recipes;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use retryrun::engine::event::Outcome;
use serde_json::Value;

use crate::reports::validate;
use crate::test::{RETRYRUN, Ran, Test, now, steps};

/// The options of hooks that are no question.
const HOOKS: [&str; 4] = ["--on-retry", "--before-attempt", "--on-success", "--on-give-up"];

/// A hook that writes down its facts and what it reads, each time into a file of its name and number.
const NOTE: &str = "env | grep ^RETRYRUN_ | sort >$RETRYRUN_HOOK.$RETRYRUN_ATTEMPT; cat >$RETRYRUN_HOOK.$RETRYRUN_ATTEMPT.json";

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs with all hooks noting, and gives what one of them noted: its facts but for the run's id, and what it read.
fn noted(options: &[&str], script: &str, names: &[&str]) -> (Ran, Vec<(String, Value)>) {
    let hooks = HOOKS.iter().flat_map(|hook| [*hook, NOTE]);
    let words: Vec<&str> = options.iter().copied().chain(hooks).collect();
    // What runs beside an attempt ends with the run at the latest, and a run may be short.
    let wait = "last=$((RETRYRUN_ATTEMPT - 1)); until [ $last = 0 ] || [ -s on-retry.$last.json ]; do sleep 0.01; done";
    let (ran, noted) = Test::bash(&words, &format!("{wait}; {script}")).run_with(|folder| {
        let read = |name: &&str| {
            let facts = read(folder.join(name));
            let json = read(folder.join(format!("{name}.json")));
            let is_id = |line: &&str| line.starts_with("RETRYRUN_RUN_ID=");
            assert_eq!(facts.lines().filter(is_id).count(), 1, "{facts}");
            let facts: Vec<&str> = facts.lines().filter(|line| !is_id(line)).collect();
            (facts.join("\n"), serde_json::from_str(&json).expect("JSON"))
        };
        names.iter().map(read).collect()
    });
    (ran, noted)
}

#[test]
fn every_hook_is_told_the_facts_and_what_happened() {
    let script = steps(&["exit 7", "kill -SEGV $$", "exit 0"]);
    let names =
        ["on-retry.1", "before-attempt.2", "on-retry.2", "before-attempt.3", "on-success.3"];
    let options = ["--delays=0.25,0.5", "--retry-on=busy: 7", "--retry-on=crash", "--deadline=100"];
    let (ran, noted) = noted(&options, &script, &names);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let deadline = noted[0].0.lines().find(|fact| fact.starts_with("RETRYRUN_DEADLINE_AT="));
    let deadline = deadline.expect("there is one").to_owned();
    let expected = [
        "RETRYRUN_ATTEMPT=1\nDEADLINE\nRETRYRUN_HOOK=on-retry\nRETRYRUN_LAST_EXIT_CODE=7\nRETRYRUN_LAST_REASON=busy\n\
         RETRYRUN_LAST_SIGNAL=\nRETRYRUN_MAX_ATTEMPTS=4\nRETRYRUN_NEXT_DELAY=0.25",
        "RETRYRUN_ATTEMPT=2\nDEADLINE\nRETRYRUN_HOOK=before-attempt\nRETRYRUN_LAST_EXIT_CODE=7\n\
         RETRYRUN_LAST_REASON=busy\nRETRYRUN_LAST_SIGNAL=\nRETRYRUN_MAX_ATTEMPTS=4",
        "RETRYRUN_ATTEMPT=2\nDEADLINE\nRETRYRUN_HOOK=on-retry\nRETRYRUN_LAST_EXIT_CODE=\n\
         RETRYRUN_LAST_REASON=retry-on\nRETRYRUN_LAST_SIGNAL=SIGSEGV\nRETRYRUN_MAX_ATTEMPTS=4\nRETRYRUN_NEXT_DELAY=0.5",
        "RETRYRUN_ATTEMPT=3\nDEADLINE\nRETRYRUN_HOOK=before-attempt\nRETRYRUN_LAST_EXIT_CODE=\n\
         RETRYRUN_LAST_REASON=retry-on\nRETRYRUN_LAST_SIGNAL=SIGSEGV\nRETRYRUN_MAX_ATTEMPTS=4",
        "RETRYRUN_ATTEMPT=3\nDEADLINE\nRETRYRUN_HOOK=on-success\nRETRYRUN_LAST_EXIT_CODE=0\n\
         RETRYRUN_LAST_REASON=success\nRETRYRUN_LAST_SIGNAL=\nRETRYRUN_MAX_ATTEMPTS=4\nRETRYRUN_MESSAGE=MESSAGE\n\
         RETRYRUN_OUTCOME=succeeded",
    ];
    let message = noted[4].1["message"].as_str().expect("a sentence");
    assert!(message.starts_with("succeeded after 3 attempts in "), "{message}");
    for ((facts, _), expected) in noted.iter().zip(expected) {
        let expected = expected.replace("DEADLINE\n", &format!("{deadline}\n"));
        assert_eq!(*facts, expected.replace("MESSAGE=MESSAGE", &format!("MESSAGE={message}")));
    }
    let events: Vec<(&Value, &Value, &Value)> = noted[..4]
        .iter()
        .map(|(_, event)| (&event["event"], &event["attempt"], &event["delay"]))
        .collect();
    let planned = Value::from("retry_planned");
    let (one, two) = ((1.into(), 0.25.into()), (2.into(), 0.5.into()));
    let expected = [&one, &one, &two, &two].map(|(attempt, delay)| (&planned, attempt, delay));
    assert_eq!(events, expected);
    let lines: String = noted[..4].iter().map(|(_, event)| format!("{event}\n")).collect();
    validate("schema-events", &lines);
    assert_eq!(
        (&noted[4].1["schema"], &noted[4].1["flaky"]),
        (&"retryrun.history/1".into(), &true.into())
    );
    validate_closing(&noted[4].1);
}

/// Fails unless it is the event with which a run ends and the history of the run in one object.
#[track_caller]
fn validate_closing(closing: &Value) {
    const EVENT: [&str; 10] =
        ["v", "run", "at", "t", "event", "outcome", "signal", "message", "exit_code", "waited"];
    let facts = closing.as_object().expect("an object").clone();
    let (mut event, mut history) = (facts.clone(), facts);
    event.retain(|name, _| EVENT.contains(&name.as_str()));
    let is_shared = |name: &str| EVENT.iter().position(|fact| *fact == name);
    history.retain(|name, _| is_shared(name).is_none_or(|at| at > 4 && name != "signal"));
    validate("schema-events", &format!("{}\n", Value::Object(event)));
    validate("schema", &format!("{}\n", Value::Object(history)));
}

#[test]
fn what_a_hook_reads_is_a_line() {
    for hook in HOOKS {
        let script = steps(&["exit 7", if hook == "--on-give-up" { "exit 7" } else { "exit 0" }]);
        let read = "IFS= read -r line && echo \"$line\" >line";
        let options = ["-n1", "-d0.3", hook, read];
        let (ran, line) = Test::bash(&options, &script)
            .run_with(|folder| crate::hooks::read(folder.join("line")));
        assert!(!ran.stderr.contains("failed: exit 1"), "{hook}: {}", ran.stderr);
        assert!(line.starts_with('{') && line.ends_with("}\n"), "{hook}: {line}");
    }
}

#[test]
fn giving_up_is_told_with_the_outcome() {
    for (options, script, outcome) in [
        (&["-n0"][..], "exit 7", "exhausted"),
        (&["--stop-on=7"], "exit 7", "permanent"),
        (&["--deadline=1"], "exit 7", "deadline"),
        (&["--delay-from=auto"], "echo retry in 600s; exit 7", "retry-after"),
        (&[], "kill -TERM $PPID; sleep 1000", "interrupted"),
    ] {
        let (ran, noted) = noted(options, script, &["on-give-up.1"]);
        let (facts, history) = &noted[0];
        assert_eq!(history["outcome"], outcome);
        assert!(facts.contains(&format!("RETRYRUN_OUTCOME={outcome}")), "{facts}");
        let message = history["message"].as_str().expect("a sentence");
        assert!(facts.contains(&format!("RETRYRUN_MESSAGE={message}")), "{facts}");
        assert_eq!(ran.history().message.as_deref(), Some(message));
        assert_eq!(history["exit_code"], ran.history().exit_code.expect("a status"));
        validate_closing(history);
    }
    let words = ["--on-give-up", NOTE, "./missing"];
    let (ran, facts) = Test::new(words).run_with(|folder| read(folder.join("on-give-up.1")));
    assert_eq!(ran.code(), Some(127));
    assert!(facts.contains("RETRYRUN_OUTCOME=not-started\n"), "{facts}");
    assert!(facts.contains("RETRYRUN_MAX_ATTEMPTS=4\n"), "{facts}");
}

#[test]
fn between_successes_that_have_to_come_in_a_row_there_are_hooks_too() {
    let names = ["on-retry.1", "before-attempt.2", "on-success.2"];
    let (_, noted) = noted(&["-d0", "--consecutive=2"], "exit 0", &names);
    assert_eq!(noted[0].1["trigger"], "consecutive");
    assert!(noted[1].0.contains("RETRYRUN_LAST_EXIT_CODE=0\n"), "{}", noted[1].0);
}

#[test]
fn our_stdin_stays_the_commands_and_our_stdout_gets_nothing() {
    let hooks = HOOKS.iter().flat_map(|hook| match *hook {
        "--on-retry" => [*hook, "cat >/dev/null; echo of the hook; touch told"],
        _ => [*hook, "cat >/dev/null; echo of the hook"],
    });
    let options = ["-d0", "--stdin=inherit", "--retry-if", "cat >/dev/null; echo of the hook"];
    let words: Vec<&str> = options.into_iter().chain(hooks).collect();
    // What runs beside an attempt ends with the run at the latest.
    let second = "until [ -e told ]; do sleep 0.01; done; read line; echo $line; exit 0";
    let script = steps(&["read line; echo $line; exit 7", second]);
    let test = Test::bash(&words, &script).with(|command| {
        command.stdin(Stdio::piped());
    });
    let mut running = test.start();
    running.write_stdin("one\ntwo\n");
    let ran = running.finish();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "one\ntwo\n"));
    assert_eq!(ran.stderr.matches("of the hook\n").count(), 4, "{}", ran.stderr);
}

#[test]
fn what_a_hook_prints_goes_nowhere_where_we_have_no_stderr() {
    let script = "$R -n1 -d0 --retry-if 'echo a; echo b >&2' --on-give-up 'echo c' false 2>&-";
    let ran = Test::shell(script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(1), ""));
}

#[test]
fn words_of_others_are_never_run() {
    let words =
        "$(touch made) `touch made` ; touch made; ' \" \n touch made \\ * ${IFS}touch${IFS}made";
    let show =
        "printf '%s\\n' \"$RETRYRUN_MESSAGE\" \"$RETRYRUN_LAST_REASON\" >seen; cat >seen.json";
    let script =
        "printf 'reason=%s\\n' '$(touch made)`touch made`;touch made' >$RETRYRUN_HINT_FILE; exit 7";
    let words = ["-n0", "--hints", "--on-give-up", show, "--", "bash", "-c", script, words];
    let (ran, (names, seen, json)) = Test::new(words).run_with(|folder| {
        (folder.join("made").exists(), read(folder.join("seen")), read(folder.join("seen.json")))
    });
    assert_eq!((ran.code(), names), (Some(7), false), "{}", ran.stderr);
    assert!(seen.contains("$(touch made)`touch made`;touch made"), "{seen}");
    let history: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(history["command"][3], words[8]);
}

#[test]
fn a_failing_hook_is_a_warning_and_changes_nothing_else() {
    for (command, failure) in [
        ("exit 3", "exit 3"),
        ("kill -SEGV $$", "SIGSEGV"),
        ("no-such-command-anywhere", "exit 127"),
        ("if", "exit 2"),
        ("sleep 1000", "timed out"),
        ("trap '' TERM; while :; do sleep 0.01; done", "timed out"),
        ("trap 'exit 0' TERM; while :; do sleep 0.01; done", "timed out"),
    ] {
        let options = ["-n1", "-d0", "--hook-timeout=0.2", "--before-attempt", command];
        let ran = Test::bash(&[&options[..], &["--on-give-up", command]].concat(), "exit 7").run();
        assert_eq!((ran.code(), ran.history().attempts.len()), (Some(7), 2), "{command}");
        for hook in ["before-attempt", "on-give-up"] {
            let warning = format!("retryrun: --{hook} failed: {failure}\n");
            assert_eq!(ran.stderr.matches(&warning).count(), 1, "{command}: {}", ran.stderr);
        }
        let lines = ran.lines();
        let place = |text: &str| lines.iter().position(|line| line.contains(text));
        let given_up = place("gave up after 2 attempts").expect("it is said");
        assert!(place("attempt 2/2 failed") < Some(given_up), "{command}: {}", ran.stderr);
        assert!(Some(given_up) < place("--on-give-up failed"), "{command}: {}", ran.stderr);
        let options = ["--hook-timeout=0.2", "--on-success", command];
        let ran = Test::bash(&options, "exit 0").run();
        let warning = format!("retryrun: --on-success failed: {failure}\n");
        assert_eq!(ran.code(), Some(0), "{command}");
        assert!(ran.stderr.ends_with(&warning), "{command}: {}", ran.stderr);
    }
    // One that runs beside the attempts is heard of when it ends.
    let options = ["-n1", "-d0.5", "--on-retry", "exit 3"];
    let ran = Test::bash(&options, "exit 7").run();
    assert_eq!(
        ran.stderr.matches("retryrun: --on-retry failed: exit 3\n").count(),
        1,
        "{}",
        ran.stderr
    );
}

#[test]
fn quiet_leaves_out_that_a_hook_failed_and_json_lines_stay_json() {
    let options = ["-n0", "-q", "--on-give-up", "exit 3"];
    let ran = Test::bash(&options, "exit 7").run();
    assert!(!ran.stderr.contains("failed"), "{}", ran.stderr);
    let options = ["-n0", "--log-format=json", "--on-give-up", "exit 3"];
    let ran = Test::bash(&options, "exit 7").run();
    for line in ran.stderr.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.is_object());
    }
    assert!(ran.stderr.contains("\"event\":\"warning\""), "{}", ran.stderr);
}

#[test]
fn the_history_is_behind_all_that_hooks_print() {
    let hook = "printf 'half a line'; sleep 0.1; printf ' and more' >&2";
    for options in [&["-n0"][..], &["-n0", "-q"], &["-n0", "--log-format=json"]] {
        let options = [options, &["--on-give-up", hook]].concat();
        let ran = Test::bash(&options, "exit 7").run();
        assert_eq!(ran.history().outcome, Some(Outcome::Exhausted), "{}", ran.stderr);
        let before = ran.stderr.find("half a line and more").expect("it is heard");
        assert!(Some(before) < ran.stderr.find("\"schema\""), "{}", ran.stderr);
    }
}

#[test]
fn before_an_attempt_there_is_time_for_its_hook_and_none_for_a_hook_beside() {
    let before = "sleep 0.2; echo done >done";
    let script = "[ $RETRYRUN_ATTEMPT = 1 ] && exit 7; cat done";
    let begun = now();
    let options = ["-d0", "--before-attempt", before, "--on-retry", "sleep 1000"];
    let ran = Test::bash(&options, script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "done\n"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // It is no part of the attempt, nor of the wait.
    let options = ["-n1", "-d0", "-t", "0.15", "--before-attempt", "sleep 0.3"];
    let history = Test::bash(&options, "exit 7").run().history();
    assert_eq!(history.outcome, Some(Outcome::Exhausted));
    assert!(history.waited < Duration::from_millis(200), "{:?}", history.waited);
}

#[test]
fn the_deadline_ends_a_hook_that_is_waited_for() {
    let options = ["-d0", "--deadline", "0.5", "--before-attempt", "sleep 1000"];
    let ran = Test::bash(&options, "exit 3").run();
    let history = ran.history();
    assert_eq!((history.outcome, history.attempts.len()), (Some(Outcome::Deadline), 1));
    assert!(history.elapsed.as_secs() < 20, "{:?}", history.elapsed);
}

#[test]
fn hooks_come_from_files_and_the_environment() {
    let config = "on_success = \"echo of the file\"\nhook_timeout = \"1s\"\n";
    let ran = Test::new(["--config=c", "true"]).file("c", config).run();
    assert_eq!(ran.stderr, "of the file\n");
    let test = Test::new(["--config=c", "true"]).file("c", config);
    let ran = test.env("RETRYRUN_ON_SUCCESS", "echo of the environment").run();
    assert_eq!(ran.stderr, "of the environment\n");
}

#[test]
fn a_run_inside_another_one_has_hooks_of_its_own_alone() {
    let show = "env | grep -c ^RETRYRUN_; exit 7";
    let script = format!(
        "$R -n0 --history=never bash -c '{show}'; $R -n0 -q --history=never --on-give-up 'echo inner' false; exit 8"
    );
    let mut test =
        Test::bash(&["-n0", "--history=never", "-q", "--on-give-up", "echo outer"], &script)
            .env("R", RETRYRUN);
    for hook in ["ON_RETRY", "BEFORE_ATTEMPT", "ON_SUCCESS", "ON_GIVE_UP", "RETRY_IF"] {
        test = test.env(&format!("RETRYRUN_{hook}"), "echo of the environment");
    }
    let ran = test.run();
    // ATTEMPT, MAX_ATTEMPTS and RUN_ID, and the five settings that the outer run was given.
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(8), "8\n"));
    let lines: Vec<&str> =
        ran.stderr.lines().filter(|line| !line.starts_with("retryrun: ")).collect();
    assert_eq!(lines, ["inner", "outer"], "{}", ran.stderr);
}

#[test]
fn a_run_in_a_hook_knows_nothing_of_the_outer_one() {
    let inner = "$R -n0 -q --history=never sh -c 'env | grep ^RETRYRUN_ | sort'";
    let ran = Test::bash(&["-n0", "-q", "--history=never", "--on-give-up", inner], "exit 7")
        .env("R", RETRYRUN)
        .run();
    let names: Vec<&str> =
        ran.stderr.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert_eq!(
        names,
        ["RETRYRUN_ATTEMPT", "RETRYRUN_MAX_ATTEMPTS", "RETRYRUN_RUN_ID"],
        "{}",
        ran.stderr
    );
}

#[test]
fn two_hundred_attempts_without_a_wait_have_their_hooks() {
    let options =
        ["-n199", "-d0", "--policy=none", "-q", "--history=never", "--on-retry", "echo >>retries"];
    let (ran, count) = Test::bash(&options, "exit 7")
        .run_with(|folder| read(folder.join("retries")).lines().count());
    assert_eq!(ran.code(), Some(7), "{}", ran.stderr);
    // The last of them may be ended with the run, and of very many some wait for none.
    assert!(count > 20, "{count}: {}", ran.stderr);
    assert!(ran.stderr.lines().count() <= 1, "{}", ran.stderr);
}

#[test]
fn hooks_that_run_beside_leave_the_attempts_enough_descriptors() {
    let script = "ulimit -n 45; $R -n12 -d0 --policy none --on-retry 'sleep 1000' --idle-timeout 100 sh -c 'exit 7'";
    let ran = Test::shell(script).run();
    assert_eq!(ran.code(), Some(7), "{}", ran.stderr);
    let history = ran.history();
    assert!(history.attempts.iter().all(|attempt| attempt.exit_code == Some(7)), "{}", ran.stderr);
    let message = "retryrun: --on-retry failed: too many of them still run\n";
    assert_eq!(ran.stderr.matches(message).count(), 1, "{}", ran.stderr);
}

#[test]
fn that_too_many_run_beside_is_said_once() {
    let options = [
        "-n99",
        "-d0",
        "--policy=none",
        "--history=never",
        "--on-retry",
        "echo >>begun; sleep 1000",
    ];
    let begun = now();
    let ran = Test::bash(&options, "exit 7").run();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(ran.code(), Some(7));
    let said = ran.stderr.matches("retryrun: --on-retry failed: too many of them still run\n");
    assert_eq!(said.count(), 1, "{}", ran.stderr);
}
