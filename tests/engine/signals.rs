//! Transcripts of what comes from outside: signals to us, and the wish for the next attempt now.

use std::time::Duration;

use retryrun::engine::event::{Outcome, SpawnErrorKind, Trigger};
use retryrun::engine::exit::Exit;
use retryrun::engine::signal::Signal;

use crate::sim::{Command, Happening, Reaction, Script, exits, hangs, secs};

#[test]
fn a_signal_is_passed_on_and_when_the_command_dies_of_it_so_do_we() {
    let played = Script::new([hangs()]).signal(secs(3.0), Signal::TERM).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         3.000 < SIGTERM
         3.000 kill SIGTERM
         3.000 attempt 1 ended: SIGTERM, permanent (stopped)
         3.000 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 3.0s: SIGTERM (stopped)",
    );
    assert_eq!(played.exit(), Exit::Signal(Signal::TERM));
}

#[test]
fn a_command_that_exits_by_itself_on_a_signal_gives_us_its_code() {
    for (code, judged) in [(0, "success (success)"), (3, "transient (unlisted)")] {
        let command = hangs().on_signal(Reaction::Exits(secs(1.0), code));
        let played = Script::new([command]).signal(secs(3.0), Signal::INT).play();
        let (_, reason) = judged.split_once(' ').expect("a verdict and its reason");
        played.shows(&format!(
            "0.000 run started
             0.000 start 1 (first)
             0.000 attempt 1 started
             3.000 < SIGINT
             3.000 kill SIGINT
             4.000 attempt 1 ended: exit {code}, {judged}
             4.000 run stopped: interrupted, status {code}
             interrupted by SIGINT after 1 attempt in 4.0s: exit {code} {reason}",
        ));
    }
}

#[test]
fn a_command_that_does_not_die_of_a_signal_is_killed_after_the_grace() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let played = Script::new([deaf]).signal(secs(3.0), Signal::QUIT).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         3.000 < SIGQUIT
         3.000 kill SIGQUIT
         8.000 kill SIGKILL
         8.000 attempt 1 ended: SIGKILL, transient (signal)
         8.000 run stopped: interrupted, status 131
         interrupted by SIGQUIT after 1 attempt in 8.0s: SIGKILL (signal)",
    );
    assert_eq!(played.exit(), Exit::Signal(Signal::QUIT), "not of KILL");
}

#[test]
fn without_a_grace_a_signal_kills_at_once() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf]).policy(|policy| policy.kill_after = Duration::ZERO);
    scripted.signal(secs(3.0), Signal::TERM).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         3.000 < SIGTERM
         3.000 kill SIGKILL
         3.000 attempt 1 ended: SIGKILL, transient (signal)
         3.000 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 3.0s: SIGKILL (signal)",
    );
}

#[test]
fn a_second_signal_is_passed_on_within_the_grace_of_the_first_and_the_third_kills() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf.clone()]).signal(secs(1.0), Signal::TERM);
    let twice = scripted.signal(secs(4.0), Signal::INT);
    twice.clone().play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < SIGTERM
         1.000 kill SIGTERM
         4.000 < SIGINT
         4.000 kill SIGINT
         6.000 kill SIGKILL
         6.000 attempt 1 ended: SIGKILL, transient (signal)
         6.000 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 6.0s: SIGKILL (signal)",
    );
    twice.signal(secs(5.0), Signal::TERM).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < SIGTERM
         1.000 kill SIGTERM
         4.000 < SIGINT
         4.000 kill SIGINT
         5.000 < SIGTERM
         5.000 kill SIGKILL
         5.000 attempt 1 ended: SIGKILL, transient (signal)
         5.000 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 5.0s: SIGKILL (signal)",
    );
}

#[test]
fn ctrl_c_is_left_to_the_command_but_no_retry_follows() {
    // As a pager does: it takes Ctrl-C, however often, and goes on.
    let pager = exits(3).after(secs(60.0)).on_signal(Reaction::Deaf);
    let scripted = Script::new([pager]).key(secs(1.0), Signal::INT);
    let thrice = scripted.key(secs(2.0), Signal::INT).key(secs(3.0), Signal::QUIT);
    thrice.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < SIGINT from the keyboard
         2.000 < SIGINT from the keyboard
         3.000 < SIGQUIT from the keyboard
         60.000 attempt 1 ended: exit 3, transient (unlisted)
         60.000 run stopped: interrupted, status 3
         interrupted by SIGINT after 1 attempt in 1m: exit 3 (unlisted)",
    );
    let played = Script::new([hangs()]).key(secs(1.0), Signal::INT).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < SIGINT from the keyboard
         1.000 attempt 1 ended: SIGINT, permanent (stopped)
         1.000 run stopped: interrupted, status 130
         interrupted by SIGINT after 1 attempt in 1.0s: SIGINT (stopped)",
    );
}

#[test]
fn a_timeout_still_holds_after_ctrl_c() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf]).timeout(secs(4.0));
    scripted.key(secs(1.0), Signal::INT).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < SIGINT from the keyboard
         4.000 attempt 1 cut: timeout
         4.000 kill SIGTERM
         9.000 kill SIGKILL
         9.000 attempt 1 ended: timed out, transient (timeout)
         9.000 run stopped: interrupted, status 130
         interrupted by SIGINT after 1 attempt in 9.0s: timed out (timeout)",
    );
}

#[test]
fn keys_do_not_count_towards_the_third_signal() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf]).key(secs(1.0), Signal::INT).key(secs(2.0), Signal::INT);
    scripted.signal(secs(3.0), Signal::TERM).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < SIGINT from the keyboard
         2.000 < SIGINT from the keyboard
         3.000 < SIGTERM
         3.000 kill SIGTERM
         8.000 kill SIGKILL
         8.000 attempt 1 ended: SIGKILL, transient (signal)
         8.000 run stopped: interrupted, status 130
         interrupted by SIGINT after 1 attempt in 8.0s: SIGKILL (signal)",
    );
}

#[test]
fn a_terminal_that_goes_away_starts_the_grace() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf]).key(secs(1.0), Signal::HUP);
    scripted.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < SIGHUP from the keyboard
         6.000 kill SIGKILL
         6.000 attempt 1 ended: SIGKILL, transient (signal)
         6.000 run stopped: interrupted, status 129
         interrupted by SIGHUP after 1 attempt in 6.0s: SIGKILL (signal)",
    );
}

#[test]
fn a_signal_in_a_wait_ends_the_run_at_once() {
    let scripted = Script::new([exits(7)]);
    let signalled = scripted.clone().signal(secs(2.1), Signal::TERM);
    let keyed = scripted.key(secs(2.1), Signal::INT);
    let played = signalled.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         2.100 < SIGTERM
         2.100 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 2.1s: exit 7 (unlisted)",
    );
    assert_eq!(played.exit(), Exit::Signal(Signal::TERM));
    assert_eq!(played.history().waited, secs(2.0));
    assert_eq!(keyed.play().exit(), Exit::Signal(Signal::INT));
}

#[test]
fn a_signal_in_the_grace_of_a_timeout_is_passed_on_and_does_not_lengthen_it() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf]).timeout(secs(2.0));
    let played = scripted.signal(secs(4.0), Signal::INT).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         2.000 attempt 1 cut: timeout
         2.000 kill SIGTERM
         4.000 < SIGINT
         4.000 kill SIGINT
         7.000 kill SIGKILL
         7.000 attempt 1 ended: timed out, transient (timeout)
         7.000 run stopped: interrupted, status 130
         interrupted by SIGINT after 1 attempt in 7.0s: timed out (timeout)",
    );
    assert_eq!(played.exit(), Exit::Signal(Signal::INT));
}

#[test]
fn a_limit_that_falls_into_the_grace_of_a_signal_does_not_name_the_ending() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf]).timeout(secs(4.0)).deadline(secs(5.0));
    scripted.signal(secs(2.0), Signal::TERM).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         2.000 < SIGTERM
         2.000 kill SIGTERM
         7.000 kill SIGKILL
         7.000 attempt 1 ended: SIGKILL, transient (signal)
         7.000 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 7.0s: SIGKILL (signal)",
    );
}

#[test]
fn a_signal_counts_although_the_command_cannot_be_started() {
    // The signal comes between the order to start the second attempt and the answer to it.
    let lack = Command::CannotStart(SpawnErrorKind::Resources);
    let scripted = Script::new([exits(7), lack]);
    let played = scripted.told_at_start(2).play();
    assert_eq!(played.history().outcome, Some(Outcome::Interrupted));
    assert_eq!(played.exit(), Exit::Signal(Signal::TERM));
}

#[test]
fn an_attempt_by_hand_does_not_count_against_the_limit() {
    let scripted = Script::new([exits(7)]).retries(1);
    let hastened = scripted.at(secs(2.1), Happening::RetryNow);
    let played = hastened.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         2.100 < retry now
         2.100 start 2 (manual)
         2.100 attempt 2 started
         2.200 attempt 2 ended: exit 7, transient (unlisted)
         2.200 retry 1 in 5s
         7.200 start 3 (retry)
         7.200 attempt 3 started
         7.300 attempt 3 ended: exit 7, transient (unlisted)
         7.300 run stopped: exhausted, status 7
         gave up after 3 attempts in 7.3s: exit 7 each time (unlisted)",
    );
    let history = played.history();
    assert_eq!((history.retry_count, history.waited), (1, secs(7.0)));
    let triggers: Vec<Trigger> = history.attempts.iter().map(|each| each.trigger).collect();
    assert_eq!(triggers, [Trigger::First, Trigger::Manual, Trigger::Retry]);
}

#[test]
fn a_wish_for_the_next_attempt_means_nothing_outside_a_wait() {
    let scripted = Script::new([hangs()]).retries(0).timeout(secs(2.0));
    let hastened = scripted.at(secs(1.0), Happening::RetryNow);
    hastened.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < retry now
         2.000 attempt 1 cut: timeout
         2.000 kill SIGTERM
         2.000 attempt 1 ended: timed out, transient (timeout)
         2.000 run stopped: exhausted, status 124
         gave up after 1 attempt in 2.0s: timed out (timeout)",
    );
}

#[test]
fn it_is_known_whether_the_last_attempt_ended_by_what_we_sent() {
    let obedient = || hangs().on_signal(Reaction::Exits(secs(1.0), 0));
    let pager = exits(3).after(secs(60.0)).on_signal(Reaction::Deaf);
    for (scripted, has_ended_it) in [
        (Script::new([obedient()]).signal(secs(3.0), Signal::TERM), true),
        (Script::new([obedient()]).timeout(secs(3.0)).retries(0), true),
        (Script::new([exits(3)]).retries(0), false),
        (Script::new([pager]).key(secs(1.0), Signal::INT), false),
        (Script::new([obedient(), exits(0)]).timeout(secs(3.0)), false),
    ] {
        let played = scripted.play();
        assert_eq!(played.run.has_ended_the_last_attempt(), has_ended_it, "{}", played.transcript);
    }
}
