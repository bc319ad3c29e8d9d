//! Our exit status: the ordinary one of each outcome, and what `--exit-code` puts in its place.

use std::time::Duration;

use retryrun::engine::event::{SpawnErrorKind, Verdict};
use retryrun::engine::exit::{Exit, ExitCode};
use retryrun::engine::signal::Signal;

use crate::sim::{Command, Reaction, Script, dies, exits, hangs, secs};

/// A run of each kind without replacements; those that fail use one attempt.
fn runs() -> Vec<(&'static str, Script)> {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let clean = hangs().on_signal(Reaction::Exits(Duration::ZERO, 0));
    let once = |command: &Command| Script::new([command.clone()]).retries(0);
    let timed = |command: &Command| once(command).timeout(secs(1.0));
    let stop_on = |code: i32| once(&exits(code)).rules([(Verdict::Permanent, "0-125")]);
    let lack = |kind| once(&Command::CannotStart(kind));
    vec![
        ("succeeded", once(&exits(0))),
        ("flaky", Script::new([exits(7), exits(0)])),
        ("exhausted", once(&exits(7))),
        ("killed", once(&dies(Signal::SEGV))),
        ("permanent", stop_on(2)),
        ("permanent 0", stop_on(0)),
        ("timed out", timed(&hangs())),
        ("timed out clean", timed(&clean)),
        ("late", once(&deaf).deadline(secs(1.0))),
        ("no time", once(&exits(7)).deadline(Duration::ZERO)),
        ("no time left", Script::new([exits(7)]).deadline(secs(5.0))),
        ("not found", lack(SpawnErrorKind::NotFound)),
        ("not executable", lack(SpawnErrorKind::NotExecutable)),
        ("no resources", lack(SpawnErrorKind::Resources)),
        ("no descriptors", lack(SpawnErrorKind::Descriptors)),
        ("told", once(&deaf).signal(secs(1.0), Signal::HUP)),
        ("told clean", once(&clean).signal(secs(1.0), Signal::HUP)),
        ("told in wait", Script::new([exits(7)]).signal(secs(1.0), Signal::HUP)),
    ]
}

/// What each of [`runs`] comes to.
fn exits_with<const N: usize>(codes: [&str; N]) -> Vec<(&'static str, Exit)> {
    let exit = |(name, script): (_, Script)| (name, script.exit_codes(codes).play().exit());
    runs().into_iter().map(exit).collect()
}

/// Fails unless exactly these runs end otherwise than without the replacements.
#[track_caller]
fn changes<const N: usize>(codes: [&str; N], expected: &[(&'static str, Exit)]) {
    let ordinary = exits_with([]);
    let mut replaced = exits_with(codes);
    replaced.retain(|run| !ordinary.contains(run));
    assert_eq!(replaced, expected, "{codes:?}");
}

#[test]
fn each_kind_of_run_has_its_exit_status() {
    let expected = [
        ("succeeded", Exit::Code(0)),
        ("flaky", Exit::Code(0)),
        ("exhausted", Exit::Code(7)),
        ("killed", Exit::Signal(Signal::SEGV)),
        ("permanent", Exit::Code(2)),
        ("permanent 0", Exit::Code(1)),
        ("timed out", Exit::Code(124)),
        ("timed out clean", Exit::Code(124)),
        ("late", Exit::Code(124)),
        ("no time", Exit::Code(124)),
        ("no time left", Exit::Code(7)),
        ("not found", Exit::Code(127)),
        ("not executable", Exit::Code(126)),
        ("no resources", Exit::Code(126)),
        ("no descriptors", Exit::Code(125)),
        ("told", Exit::Signal(Signal::HUP)),
        ("told clean", Exit::Code(0)),
        ("told in wait", Exit::Signal(Signal::HUP)),
    ];
    assert_eq!(exits_with([]), expected);
}

#[test]
fn a_replacement_holds_for_its_outcome() {
    changes(["flaky=80"], &[("flaky", Exit::Code(80))]);
    changes(["permanent=81"], &[("permanent", Exit::Code(81)), ("permanent 0", Exit::Code(81))]);
    changes(
        ["exhausted=82"],
        &[
            ("exhausted", Exit::Code(82)),
            ("killed", Exit::Code(82)),
            ("timed out", Exit::Code(82)),
            ("timed out clean", Exit::Code(82)),
            ("no resources", Exit::Code(82)),
            ("no descriptors", Exit::Code(82)),
        ],
    );
    changes(
        ["deadline=83"],
        &[("late", Exit::Code(83)), ("no time", Exit::Code(83)), ("no time left", Exit::Code(83))],
    );
    changes(
        ["not-started=84"],
        &[("not found", Exit::Code(84)), ("not executable", Exit::Code(84))],
    );
    changes(["interrupted=0"], &[("told", Exit::Code(0)), ("told in wait", Exit::Code(0))]);
}

#[test]
fn a_replacement_for_timeouts_holds_where_the_outcome_has_none() {
    changes(
        ["timeout=75"],
        &[
            ("timed out", Exit::Code(75)),
            ("timed out clean", Exit::Code(75)),
            ("late", Exit::Code(75)),
        ],
    );
    changes(
        ["deadline=0", "timeout=75"],
        &[
            ("timed out", Exit::Code(75)),
            ("timed out clean", Exit::Code(75)),
            ("late", Exit::Code(0)),
            ("no time", Exit::Code(0)),
            ("no time left", Exit::Code(0)),
        ],
    );
}

#[test]
fn same_is_what_the_command_really_left() {
    changes(
        ["timeout=same"],
        &[
            ("timed out", Exit::Signal(Signal::TERM)),
            ("timed out clean", Exit::Code(0)),
            ("late", Exit::Signal(Signal::KILL)),
        ],
    );
    changes(["permanent=same"], &[("permanent 0", Exit::Code(0))]);
    changes(
        ["interrupted=same"],
        &[("told", Exit::Signal(Signal::KILL)), ("told in wait", Exit::Code(7))],
    );
    changes(["not-started=same", "flaky=same"], &[]);
    // Nothing was run, so nothing was left.
    changes(["deadline=same"], &[("late", Exit::Signal(Signal::KILL))]);
}

#[test]
fn of_two_replacements_for_one_reason_the_last_counts() {
    changes(["flaky=1", "flaky=2"], &[("flaky", Exit::Code(2))]);
}

#[test]
fn a_bad_replacement_says_what_was_expected() {
    let error = |text: &str| text.parse::<ExitCode>().expect_err(text);
    assert_eq!(error("75"), "expected WHY=N, e.g. `timeout=75`, or WHY=same");
    for text in ["timeout=", "timeout=256", "timeout=-1", "timeout=+1", "timeout=Same"] {
        let expected = "expected a status from 0 to 255 or `same` after the `=`";
        assert_eq!(error(text), expected, "{text}");
    }
    assert!(error("timeuot=75").contains("; did you mean `timeout`?"));
    assert!("succeeded=3".parse::<ExitCode>().is_err());
    let shown = |text: &str| text.parse::<ExitCode>().map(|code| code.to_string());
    assert_eq!(shown("not-started=same"), Ok("not-started=same".to_owned()));
    assert_eq!(shown("timeout=075"), Ok("timeout=75".to_owned()));
}
