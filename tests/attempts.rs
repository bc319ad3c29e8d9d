//! Attempts, verdicts and waits of the real program: what is run, how often, and what comes out.

use retryrun::engine::event::{EndedBy, Outcome, Trigger, Verdict};

use crate::test::{Ran, Test, steps};

/// Our lines with measured times as `_`.
fn lines(ran: &Ran) -> Vec<String> {
    let mask = |line: &&str| {
        let words = line.split(' ').map(|word| {
            let bare = word.trim_end_matches([':', ',']);
            // Tenths of a second: only what was measured has exactly one digit behind the point.
            let is_measured = bare
                .strip_suffix('s')
                .and_then(|number| number.split_once('.'))
                .is_some_and(|(_, tenths)| tenths.len() == 1);
            if is_measured { word.replace(bare, "_") } else { word.to_owned() }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    ran.lines().iter().map(mask).collect()
}

#[test]
fn a_success_at_once_says_nothing() {
    let ran = Test::bash(&[], "echo out; echo err >&2").run();
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "out\n", "err\n"));
}

#[test]
fn a_failure_is_retried_until_it_passes() {
    let script = steps(&["exit 7", "echo half; exit 8", "echo whole"]);
    let ran = Test::bash(&["-d", "0", "--history", "always"], &script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "half\nwhole\n"));
    assert_eq!(
        lines(&ran),
        [
            "retryrun: attempt 1/4 failed after _: exit 7 (transient: unlisted); next in 0s",
            "retryrun: attempt 2/4 failed after _: exit 8 (transient: unlisted); next in 0s",
            "retryrun: succeeded after 3 attempts in _",
        ]
    );
    let history = ran.history();
    assert_eq!(history.outcome, Some(Outcome::Succeeded));
    assert!(history.flaky);
    assert_eq!((history.retry_count, history.exit_code), (2, Some(0)));
    let triggers: Vec<Trigger> = history.attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [Trigger::First, Trigger::Retry, Trigger::Retry]);
}

#[test]
fn giving_up_says_why_and_ends_with_the_history() {
    let ran = Test::bash(&["-n", "2", "-d", "0.01"], "exit 7").run();
    assert_eq!(ran.code(), Some(7));
    assert_eq!(
        lines(&ran),
        [
            "retryrun: attempt 1/3 failed after _: exit 7 (transient: unlisted); next in 0.01s",
            "retryrun: attempt 2/3 failed after _: exit 7 (transient: unlisted); next in 0.02s",
            "retryrun: attempt 3/3 failed after _: exit 7 (transient: unlisted)",
            "retryrun: gave up after 3 attempts in _: exit 7 each time (unlisted)",
        ]
    );
    let history = ran.history();
    assert_eq!(history.outcome, Some(Outcome::Exhausted));
    assert_eq!((history.attempts.len(), history.retry_count, history.max_retries), (3, 2, Some(2)));
    assert!((history.waited.as_secs_f64() - 0.03).abs() < 1e-9);
    assert_eq!(history.command, ["bash", "-c", "exit 7"]);
}

#[test]
fn without_retries_the_command_runs_once() {
    for options in [["-n", "0"], ["--attempts", "1"], ["--retries=0", "--delay=1h"]] {
        let ran = Test::bash(&options, "echo x; exit 9").run();
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(9), "x\n"));
        assert!(lines(&ran)[0].starts_with("retryrun: attempt 1/1 failed"), "{}", ran.stderr);
    }
}

#[test]
fn unlimited_retries_have_no_number() {
    let script = steps(&["exit 1", "exit 1", "exit 1", "exit 1", "exit 1", "exit 0"]);
    for word in ["unlimited", "inf"] {
        let ran = Test::bash(&["-n", word, "-d", "0", "--history=always"], &script).run();
        assert_eq!(ran.code(), Some(0));
        assert!(lines(&ran)[4].starts_with("retryrun: attempt 5 failed"), "{}", ran.stderr);
        assert_eq!(ran.history().max_retries, None);
    }
}

#[test]
fn a_success_never_hides_behind_a_failure() {
    let ran = Test::bash(&["--stop-on", "0"], "exit 0").run();
    assert_eq!(ran.code(), Some(1));
    assert_eq!(ran.history().outcome, Some(Outcome::Permanent));
    assert_eq!(ran.history().exit_code, Some(1));
}

#[test]
fn rules_decide_in_their_order() {
    type Case<'a> = (&'a [&'a str], &'a str, Option<i32>, Outcome, &'a str);
    let cases: [Case; 9] = [
        (&["--success-on", "fine: 3,5-7"], "exit 6", Some(0), Outcome::Succeeded, "fine"),
        (&["--stop-on", "bad: 2,64-78"], "exit 65", Some(65), Outcome::Permanent, "bad"),
        (
            &["--success-on", "3", "--stop-on", "3"],
            "exit 3",
            Some(0),
            Outcome::Succeeded,
            "success-on",
        ),
        (&["--stop-on", "3", "--retry-on", "3"], "exit 3", Some(3), Outcome::Permanent, "stop-on"),
        (&["--retry-on", "busy: 75"], "exit 75", Some(75), Outcome::Exhausted, "busy"),
        (&["--retry-on", "75"], "exit 1", Some(1), Outcome::Permanent, "unlisted"),
        (
            &["--retry-on", "75", "--otherwise", "retry"],
            "exit 1",
            Some(1),
            Outcome::Exhausted,
            "otherwise",
        ),
        (&["--otherwise", "stop"], "exit 1", Some(1), Outcome::Permanent, "otherwise"),
        (&["--stop-on", "nonzero & !3"], "exit 3", Some(3), Outcome::Exhausted, "unlisted"),
    ];
    for (options, script, code, outcome, reason) in cases {
        let options = [&["-n1", "-d0", "--history=always"], options].concat();
        let ran = Test::bash(&options, script).run();
        let history = ran.history();
        assert_eq!((ran.code(), history.outcome), (code, Some(outcome)), "{options:?}");
        assert_eq!(history.attempts[0].reason.as_deref(), Some(reason), "{options:?}");
    }
}

#[test]
fn polling_until_a_command_fails() {
    let options = ["-d0", "--success-on", "121", "--retry-on", "0", "--history=always"];
    let ran = Test::bash(&options, &steps(&["exit 0", "exit 0", "exit 121"])).run();
    assert_eq!((ran.code(), ran.history().attempts.len()), (Some(0), 3));
}

#[test]
fn a_timeout_ends_the_whole_tree() {
    // The output ends only when everything that holds it has ended.
    let script =
        "sleep 1000 & setsid sleep 1000 & (trap '' TERM; sleep 1000; :) & echo started; sleep 1000";
    let ran = Test::bash(&["-n0", "-t0.5", "-k0.25"], script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(124), "started\n"));
    let history = ran.history();
    assert_eq!(history.attempts[0].ended_by, Some(EndedBy::Timeout));
    assert_eq!(history.attempts[0].reason.as_deref(), Some("timeout"));
    assert_eq!(
        lines(&ran)[..2],
        [
            "retryrun: attempt 1/1 reached its timeout after _: sending SIGTERM, SIGKILL in 0.25s",
            "retryrun: attempt 1/1 failed after _: timed out (transient: timeout)",
        ]
    );
    assert!(!ran.stderr.contains("after 0.4s"), "no limit is reached early: {}", ran.stderr);
}

#[test]
fn no_sigkill_is_announced_after_a_sigkill() {
    for options in [&["--stop-signal=KILL"][..], &["-k0"]] {
        let options = [&["-n0", "-t0.1"], options].concat();
        let ran = Test::bash(&options, "sleep 1000").run();
        let line = "retryrun: attempt 1/1 reached its timeout after _: sending SIGKILL";
        assert_eq!(lines(&ran)[0], line);
    }
}

#[test]
fn a_command_deaf_to_the_stop_signal_is_killed() {
    let ran = Test::bash(
        &["-n0", "-t0.3", "-k0.2"],
        "trap '' TERM; while :; do read -t1 <>/dev/null; done",
    )
    .run();
    assert_eq!(ran.code(), Some(124));
    assert_eq!(
        ran.history().attempts[0].signal.map(|signal| signal.to_string()),
        Some("SIGKILL".into())
    );
}

#[test]
fn the_stop_signal_can_be_chosen_and_answered() {
    let script = "trap 'echo asked; exit 0' USR2; echo up; while :; do sleep 0.05; done";
    let ran = Test::bash(&["-n0", "-t0.5", "--stop-signal", "usr2"], script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(124), "up\nasked\n"));
    assert_eq!(ran.history().attempts[0].exit_code, Some(0));
}

#[test]
fn no_grace_is_sigkill_at_once() {
    let ran = Test::bash(&["-n0", "-t0.3", "-k0"], "trap 'echo asked' TERM; sleep 1000").run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(124), ""));
    assert!(lines(&ran)[0].ends_with("after _: sending SIGKILL"), "{}", ran.stderr);
}

#[test]
fn a_timed_out_attempt_is_retried() {
    let ran = Test::bash(&["-d0", "-t0.5"], &steps(&["sleep 1000", "echo done"])).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "done\n"));
}

#[test]
fn the_deadline_ends_the_attempt_and_the_run() {
    let ran = Test::bash(&["--deadline", "0.4"], "sleep 1000").run();
    let history = ran.history();
    assert_eq!((ran.code(), history.outcome), (Some(124), Some(Outcome::Deadline)));
    assert_eq!(history.attempts[0].ended_by, Some(EndedBy::Deadline));
}

#[test]
fn a_wait_past_the_deadline_is_not_begun() {
    let ran = Test::bash(&["--deadline", "1h", "-d", "2h", "--max-delay", "3h"], "exit 5").run();
    let history = ran.history();
    assert_eq!((ran.code(), history.outcome), (Some(5), Some(Outcome::Deadline)));
    assert_eq!((history.attempts.len(), history.attempts[0].next_delay), (1, None));
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_be_executed_126() {
    let text = "#!/nowhere/interpreter\n";
    let make_executable = "chmod +x script";
    let cases: [(&[&str], i32, &str, &str); 4] = [
        (&["no-such-command"], 127, "not-found", "cannot run `no-such-command`: command not found"),
        (&["./nothing"], 127, "not-found", "cannot run `./nothing`: No such file or directory"),
        (&["./plain"], 126, "not-executable", "cannot run `./plain`: Permission denied"),
        (
            &["./script"],
            126,
            "not-executable",
            "cannot run `./script`: its interpreter `/nowhere/interpreter` is missing",
        ),
    ];
    for (command, code, reason, error) in cases {
        let test = Test::new(command).file("plain", "echo").file("script", text);
        let chmod = std::process::Command::new("sh")
            .args(["-c", make_executable])
            .current_dir(test.path("."))
            .status();
        assert!(chmod.expect("sh runs").success());
        let ran = test.run();
        let history = ran.history();
        assert_eq!(
            (ran.code(), history.outcome),
            (Some(code), Some(Outcome::NotStarted)),
            "{command:?}"
        );
        let attempt = &history.attempts[0];
        assert_eq!(
            (attempt.ended_by, attempt.exit_code, attempt.pid),
            (Some(EndedBy::SpawnError), None, None)
        );
        assert_eq!(
            (attempt.reason.as_deref(), attempt.error.as_deref()),
            (Some(reason), Some(error))
        );
    }
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_sh() {
    let test = Test::new(["./script", "a b"]).file("script", "echo \"got $1\"\n");
    let chmod = std::process::Command::new("chmod").arg("+x").arg(test.path("script")).status();
    assert!(chmod.expect("chmod runs").success());
    let ran = test.run();
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "got a b\n", ""));
}

#[test]
fn we_die_of_the_signal_that_the_last_attempt_died_of() {
    for (signal, verdict) in [
        (libc::SIGKILL, Verdict::Transient),
        (libc::SIGSEGV, Verdict::Transient),
        (libc::SIGABRT, Verdict::Transient),
        (libc::SIGTERM, Verdict::Permanent),
        (libc::SIGILL, Verdict::Permanent),
        (libc::SIGRTMIN() + 2, Verdict::Transient),
    ] {
        let ran = Test::bash(&["-n1", "-d0"], &format!("kill -{signal} $$")).run();
        assert_eq!((ran.code(), ran.signal()), (None, Some(signal)));
        let history = ran.history();
        assert_eq!(history.attempts[0].verdict, Some(verdict), "{signal}");
        assert_eq!(history.exit_code, Some(128 + signal));
        let attempts = if verdict == Verdict::Transient { 2 } else { 1 };
        assert_eq!(history.attempts.len(), attempts, "{signal}");
    }
}

#[test]
fn a_status_of_the_users_own_replaces_the_ordinary_one() {
    let cases: [(&[&str], &str, i32); 7] = [
        (&["--exit-code", "exhausted=75"], "exit 1", 75),
        (&["--exit-code", "permanent=76", "--stop-on", "1"], "exit 1", 76),
        (&["--exit-code", "not-started=77"], "exec no-such-command", 127),
        (&["--exit-code", "timeout=78", "-t0.3"], "sleep 1000", 78),
        (&["--exit-code", "timeout=78", "--exit-code", "exhausted=79", "-t0.3"], "sleep 1000", 79),
        (&["--exit-code", "flaky=80"], &steps(&["exit 1", "exit 0"]), 80),
        (&["--exit-code", "flaky=same", "--success-on", "24"], &steps(&["exit 1", "exit 24"]), 24),
    ];
    for (options, script, code) in cases {
        let options = [&["-n1", "-d0", "--history=always"], options].concat();
        let ran = Test::bash(&options, script).run();
        assert_eq!((ran.code(), ran.history().exit_code), (Some(code), Some(code)), "{options:?}");
    }
    let ran = Test::new(["--exit-code", "not-started=77", "no-such-command"]).run();
    assert_eq!(ran.code(), Some(77));
}

#[test]
fn the_last_line_is_the_history_also_after_an_unfinished_one() {
    for options in [&["-q"][..], &["-n0"], &["-q", "--log-format=json"]] {
        let options = [&["-n1", "-d0"], options].concat();
        let ran = Test::bash(&options, "printf unfinished >&2; exit 1").run();
        assert_eq!(ran.history().outcome, Some(Outcome::Exhausted), "{options:?}");
    }
}

#[test]
fn quiet_leaves_errors_and_the_history() {
    let ran = Test::bash(&["-q", "-n1", "-d0"], "exit 3").run();
    assert_eq!(ran.history().exit_code, Some(3));
    assert!(ran.lines().concat().is_empty(), "{}", ran.stderr);
    let ran = Test::bash(&["-q", "-n1", "-d0", "--history=never"], "exit 3").run();
    assert_eq!(ran.stderr, "");
    let ran = Test::new(["-q", "--history=never", "no-such-command"]).run();
    assert!(ran.stderr.contains("cannot run `no-such-command`"), "{}", ran.stderr);
    let ran = Test::new(["-q", "-n0", "--history=never", "--report=json:/dev/full", "true"]).run();
    assert_eq!(
        ran.stderr,
        "retryrun: cannot write the report json:/dev/full: No space left on device\n"
    );
    let options = ["-q", "-n1", "-d0", "--history=never", "--retry-if=exit 9", "--on-retry=exit 9"];
    assert_eq!(Test::bash(&options, "exit 3").run().stderr, "");
}

#[test]
fn verbose_tells_of_the_start_and_of_a_success_at_once() {
    let ran = Test::bash(&["-v"], "exit 0").run();
    let starts = [
        "retryrun: run ",
        "retryrun: attempt 1/4 started: pid ",
        "retryrun: attempt 1/4 succeeded",
        "retryrun: succeeded",
    ];
    assert_eq!(ran.lines().len(), starts.len());
    for (line, start) in ran.lines().iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn json_lines_have_a_field_for_each_fact() {
    let ran =
        Test::bash(&["--log-format", "json", "-n1", "-d0", "--history=never"], "exit 3").run();
    let lines: Vec<serde_json::Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["event"], "attempt_ended");
    assert_eq!(lines[0]["level"], "WARN");
    assert_eq!((&lines[0]["attempt"], &lines[0]["max_attempts"]), (&1.into(), &2.into()));
    assert_eq!((&lines[0]["exit_code"], &lines[0]["verdict"]), (&3.into(), &"transient".into()));
    assert_eq!(lines[0]["next_delay"], 0.0);
    assert_eq!(
        (&lines[2]["event"], &lines[2]["outcome"]),
        (&"run_stopped".into(), &"exhausted".into())
    );
    assert!(
        lines[2]["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("gave up after 2 attempts"))
    );
}

#[test]
fn colours_only_where_they_are_wanted() {
    let stderr = |options: &[&str], env: &[(&str, &str)]| {
        let options = [&["-n0", "--history=never"], options].concat();
        let test = Test::bash(&options, "exit 1");
        env.iter().fold(test, |test, (name, value)| test.env(name, value)).run().stderr
    };
    assert!(!stderr(&[], &[]).contains('\u{1b}'));
    assert!(stderr(&["--color=always"], &[]).contains('\u{1b}'));
    assert!(stderr(&[], &[("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
    assert!(!stderr(&[], &[("CLICOLOR_FORCE", "0")]).contains('\u{1b}'));
    assert!(!stderr(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(stderr(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")]).contains('\u{1b}'));
    assert!(stderr(&["--color=always"], &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!stderr(&["--color=never"], &[("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
}

#[test]
fn secrets_are_masked_and_the_command_is_not_changed() {
    let ran = Test::new([
        "-n0",
        "-v",
        "--redact",
        "hush[0-9]",
        "--",
        "sh",
        "-c",
        "echo $0 $1 $2; exit 4",
        "tok-123456",
        "hush7",
    ])
    .env("MY_TOKEN", "tok-123456")
    .run();
    assert_eq!(ran.stdout, "tok-123456 hush7\n");
    assert!(!ran.stderr.contains("tok-123456") && !ran.stderr.contains("hush7"), "{}", ran.stderr);
    assert_eq!(ran.history().command[3..], ["***", "***"]);
    let ran = Test::new(["-n0", "--redact", "[0-9a-z]+", "false"]).run();
    assert_eq!(
        (ran.history().exit_code, ran.history().outcome),
        (Some(1), Some(Outcome::Exhausted))
    );
    assert!(ran.lines()[0].starts_with("retryrun: attempt 1/1 failed after"), "{}", ran.stderr);
}

#[test]
fn the_history_cannot_command_a_terminal_or_a_ci() {
    let words = [
        "-n0",
        "--",
        "false",
        "\u{1b}[31m",
        "\u{9b}2J",
        "##vso[task.complete]",
        "\n::error::x",
        "section_start:1:a",
    ];
    let ran = Test::new(words).run();
    let raw = ran.stderr.trim_end_matches('\n');
    assert!(!raw.chars().any(|c| c.is_control() && c != '\n'), "{raw:?}");
    assert!(
        !raw.contains("##") && !raw.contains("section_start:") && !raw.contains("\n::"),
        "{raw}"
    );
    assert_eq!(ran.history().command, words[2..]);
}

#[test]
fn our_lines_cannot_command_a_terminal_or_a_ci() {
    let content =
        "[policy.\"##[error]\\u009b\\u2028\"]\ncommands = ['false']\nrules = [{ stop_on = '1' }]\n";
    for form in ["text", "json"] {
        let options = ["-v", "--history=never", "--config=c.toml", "--log-format", form, "false"];
        let ran = Test::new(options).file("c.toml", content).run();
        let is_control = |c: char| (c.is_control() && c != '\n') || c == '\u{2028}';
        assert!(!ran.stderr.contains(is_control), "{:?}", ran.stderr);
        assert!(!ran.stderr.contains("##["), "{}", ran.stderr);
    }
}

#[test]
fn an_attempt_shows_what_it_used() {
    let ran = Test::bash(&["-n0"], "for ((i = 0; i < 200000; i++)); do :; done; exit 1").run();
    let attempt = &ran.history().attempts[0];
    assert!(attempt.cpu_user.is_some_and(|user| !user.is_zero()), "{attempt:?}");
    assert!(attempt.cpu_system.is_some());
    assert!(attempt.max_rss.is_some_and(|bytes| bytes > 500_000), "{attempt:?}");
}

#[test]
fn a_long_history_stays_bounded() {
    let ran = Test::new(["-n", "199", "-d0", "-q", "false"]).run();
    let history = ran.history();
    assert_eq!(
        (history.attempts.len(), history.attempts_omitted, history.retry_count),
        (110, 90, 199)
    );
    assert_eq!((history.attempts[9].attempt, history.attempts[10].attempt), (10, 101));
}
