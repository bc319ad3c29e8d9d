//! What others say of a failure: `--retry-if`, `--hints`; and the locale in which rules on text hold.

use std::fs;
use std::path::Path;

use retryrun::engine::event::Outcome;
use rustix::process::Signal;

use crate::test::Test;

#[test]
fn the_users_command_is_asked_with_the_facts_and_the_event() {
    let asked = "cat >event.json; env | grep ^RETRYRUN_ | sort >facts; echo seen; exit 1";
    let test = Test::bash(&["--retry-if", asked], "exit 7");
    let folder = test.path(".");
    let read = move |name: &str| fs::read_to_string(folder.join(name)).expect("it was written");
    let running = test.start();
    let (ran, (event, facts)) = running.finish_with(|| (read("event.json"), read("facts")));
    let history = ran.history();
    assert_eq!((ran.code(), history.outcome), (Some(7), Some(Outcome::Permanent)));
    assert_eq!((ran.stdout.as_str(), ran.stderr.contains("seen\n")), ("", true));
    let attempt = &history.attempts[0];
    assert_eq!(attempt.reason.as_deref(), Some("retry-if"));
    assert_eq!(attempt.rule_origin.as_deref(), Some("flag --retry-if"));
    let event: serde_json::Value = serde_json::from_str(&event).expect("an event");
    assert_eq!((&event["v"], &event["event"]), (&1.into(), &"attempt_ended".into()));
    assert_eq!((&event["run"], &event["exit_code"]), (&history.run_id.into(), &7.into()));
    assert_eq!(event["verdict"], "transient");
    for fact in ["RETRYRUN_ATTEMPT=1\n", "RETRYRUN_LAST_EXIT_CODE=7\n", "RETRYRUN_MAX_ATTEMPTS=4\n"]
    {
        assert!(facts.contains(fact), "{facts}");
    }
}

#[test]
fn its_exit_status_is_the_answer() {
    for (command, attempts, warned) in [
        ("exit 0", 2, false),
        ("exit 1", 1, false),
        ("exit 125", 1, false),
        ("exit 2", 2, true),
        ("kill -9 $$", 2, true),
        ("no-such-command-anywhere", 2, true),
        ("sleep 1000 & sleep 1000", 2, true),
        // The command's words and output never become part of the text.
        ("test \"$RETRYRUN_LAST_REASON\" = unlisted", 2, false),
    ] {
        let options = ["-n1", "-d0", "--hook-timeout", "0.5", "--retry-if", command];
        let ran = Test::bash(&options, "exit 3").run();
        assert_eq!(ran.history().attempts.len(), attempts, "{command}: {}", ran.stderr);
        assert_eq!(ran.stderr.contains("--retry-if failed"), warned, "{command}: {}", ran.stderr);
    }
}

#[test]
fn a_signal_ends_the_question_and_the_run() {
    let mut running = Test::bash(&["--retry-if", "echo asked; sleep 1000"], "exit 3").start();
    running.stderr_with("asked");
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!((ran.code(), ran.signal()), (None, Some(libc::SIGTERM)));
    assert_eq!(ran.history().outcome, Some(Outcome::Interrupted));
    assert!(!ran.stderr.contains("and it is retried"), "nothing is: {}", ran.stderr);
}

#[test]
fn other_signals_are_passed_on_to_the_users_command() {
    let asked = "trap 'exit 1' USR1; echo asked; while :; do sleep 0.05; done";
    let mut running = Test::bash(&["-d0", "--retry-if", asked], "exit 3").start();
    running.stderr_with("asked");
    running.signal(Signal::USR1);
    let history = running.finish().history();
    assert_eq!((history.outcome, history.attempts.len()), (Some(Outcome::Permanent), 1));
}

#[test]
fn the_question_ends_at_the_deadline() {
    let options = ["-d0", "--deadline", "0.5", "--retry-if", "sleep 1000"];
    let history = Test::bash(&options, "exit 3").run().history();
    assert_eq!((history.outcome, history.attempts.len()), (Some(Outcome::Deadline), 1));
    assert!(history.elapsed.as_secs() < 20, "{:?}", history.elapsed);
}

#[test]
fn the_command_can_say_what_it_knows() {
    let run = |options: &[&str], said: &str| {
        let options = [&["-n1", "-d0", "--hints", "--history=always"], options].concat();
        let script =
            format!("echo $RETRYRUN_HINT_FILE; printf '{said}' >$RETRYRUN_HINT_FILE; exit 3");
        let ran = Test::bash(&options, &script).run();
        for file in ran.stdout.lines() {
            assert!(!Path::new(file).exists(), "{file} is removed");
        }
        let history = ran.history();
        let reason = history.attempts[0].reason.clone().unwrap_or_default();
        (ran.code(), history.attempts.len(), reason)
    };
    assert_eq!(run(&[], "verdict=permanent\\nreason=no quota\\n"), (Some(3), 1, "no quota".into()));
    assert_eq!(run(&[], "verdict=success\\n"), (Some(0), 1, "hint".into()));
    assert_eq!(run(&["--stop-on", "9"], ""), (Some(3), 2, "unlisted".into()));
    assert_eq!(run(&["--stop-on", "3"], "verdict=transient\\n"), (Some(3), 1, "stop-on".into()));
    assert_eq!(run(&[], "retry-after=10m\\n"), (Some(3), 1, "unlisted".into()));
    assert_eq!(run(&[], "\\0\\377 nonsense"), (Some(3), 2, "unlisted".into()));
}

#[test]
fn a_line_that_cannot_be_read_is_said_once_in_an_attempt() {
    let script =
        "printf 'verdict=s3cr3t-word\\033\\nretry-after=xx\\n' >$RETRYRUN_HINT_FILE; exit 3";
    let options = ["--hints", "-n1", "-d0", "--redact=s3cr3t", "--history=never"];
    let ran = Test::bash(&options, script).run();
    let warning = "retryrun: --hints: the line `verdict=***-word` counts for nothing: expected `success`, `transient` \
                   or `permanent`\n";
    assert_eq!(ran.stderr.matches(warning).count(), 2, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("--hints").count(), 2, "{}", ran.stderr);
}

#[test]
fn that_there_is_no_place_for_the_file_is_not_the_commands_fault() {
    let ran = Test::bash(&["--hints"], "exit 0").env("TMPDIR", "/no/such/folder").run();
    assert_eq!(ran.code(), Some(125));
    let why = "--hints: cannot make files in /no/such/folder: No such file or directory\n";
    assert_eq!(ran.stderr, format!("retryrun: {why}"));
    let script = "rm -r $TMPDIR; exit 3";
    let test = Test::bash(&["--hints", "-d0"], script);
    let folder = test.path("temporary");
    std::fs::create_dir(&folder).expect("a folder");
    let ran = test.env("TMPDIR", folder).run();
    let history = ran.history();
    assert_eq!((ran.code(), history.attempts.len()), (Some(125), 2), "{}", ran.stderr);
    let message = history.message.expect("it is over");
    assert!(message.contains("cannot make a file for --hints: No such file"), "{message}");
}

#[test]
fn without_hints_there_is_no_file() {
    let script = "echo \"<$RETRYRUN_HINT_FILE>\"";
    let ran = Test::bash(&[], script).env("RETRYRUN_HINT_FILE", "/an/outer/one").run();
    assert_eq!(ran.stdout, "<>\n");
}

#[test]
fn the_locale_is_changed_on_demand_alone() {
    let script = "env | grep -c ^LC_ALL=; echo $LC_ALL";
    let with =
        |options: &[&str]| Test::bash(options, script).env("LC_ALL", "de_DE.UTF-8").run().stdout;
    assert_eq!(with(&[]), "1\nde_DE.UTF-8\n");
    assert_eq!(with(&["--c-locale"]), "1\nC.UTF-8\n");
    let language = |languages: &str| {
        let test = Test::bash(&["--c-locale"], "env | grep ^LANGUAGE || true");
        test.env("LANGUAGE", languages).run().stdout
    };
    assert_eq!(language("de:fr"), "LANGUAGE=\n", "it comes before the locale");
    let test = Test::bash(&["--c-locale"], "env | grep ^LANGUAGE || true");
    assert_eq!(test.run().stdout, "", "nothing that is not needed");
}

#[test]
fn a_wait_that_the_output_asks_for_is_the_least() {
    let delay = |options: &[&str], said: &str| {
        let options = [&["-n1", "-d0", "-q"], options].concat();
        let script = format!("[ $RETRYRUN_ATTEMPT = 2 ] || printf '{said}' >&2; exit 3");
        let ran = Test::bash(&options, &script).run();
        let history = ran.history();
        (history.outcome, history.attempts[0].next_delay.map(|delay| delay.as_secs_f64()))
    };
    let retried = Some(Outcome::Exhausted);
    let auto = ["--delay-from", "auto"];
    assert_eq!(delay(&auto, "Retry-After: 0.2\\n"), (retried, Some(0.2)));
    assert_eq!(delay(&auto, "retry in 1s, no: retry in 250ms"), (retried, Some(0.25)));
    assert_eq!(delay(&auto, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\\n"), (retried, Some(0.0)));
    assert_eq!(delay(&auto, "nothing"), (retried, Some(0.0)));
    let own = ["--delay-from", "again ([0-9.]+) s"];
    assert_eq!(delay(&own, "\\033[1magain 0.3 s\\033[0m"), (retried, Some(0.3)));
    let too_long = (Some(Outcome::RetryAfter), None);
    assert_eq!(delay(&auto, "Retry-After: 3600\\n"), too_long);
    assert_eq!(delay(&[auto[0], auto[1], "--max-delay", "1s"], "retry in 2s"), too_long);
    assert_eq!(delay(&auto, "retry in 99999999999999999999s"), too_long);
    assert_eq!(delay(&["--delay-from=wait ([0-9]+)"], "wait 99999999999999999999"), too_long);
    assert_eq!(delay(&auto, "Retry-After: Fri Nov 26 09:57:55 2286"), too_long);
    assert_eq!(delay(&auto, "Retry-After: 2026-11-26T09:57:56Z"), (retried, Some(0.0)));
    assert_eq!(delay(&auto, "quota used up, retry in 2 Days"), too_long);
    assert_eq!(delay(&auto, "retry in 5 to 10 minutes"), too_long);
}

#[test]
fn a_pattern_without_a_group_is_refused() {
    let ran = Test::new(["--delay-from", "retry", "true"]).run();
    assert_eq!(ran.code(), Some(125));
    assert!(
        ran.stderr.contains("--delay-from <REGEX>: invalid value `retry`: expected a group"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_reason_that_the_command_gives_commands_no_ci_and_no_terminal() {
    let script = r#"printf 'verdict=transient\nreason=##vso[task.x]a ##[error]b section_start:1:c \342\200\256d\n' >$RETRYRUN_HINT_FILE; exit 3"#;
    for format in ["text", "json"] {
        let options = ["-n1", "-d0", "--hints", "--log-format", format, "--history=always"];
        let ran = Test::bash(&options, script).run();
        assert!(ran.stderr.contains("task.x"), "{}", ran.stderr);
        for command in ["##vso[", "##[", "section_start:", "\u{202e}"] {
            assert!(!ran.stderr.contains(command), "{command}: {}", ran.stderr);
        }
    }
}
