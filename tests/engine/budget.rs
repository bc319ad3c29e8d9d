//! Transcripts of runs whose retries are paid from a budget.

use retryrun::engine::Token::{Granted, Refused, Unreachable};
use retryrun::engine::event::{Outcome, Trigger, Verdict};
use retryrun::engine::exit::Exit;
use retryrun::engine::output::Matches;
use retryrun::engine::policy::Leftovers;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::Time;
use retryrun::engine::{Action, Answer, ExitStatus, Input, Refund};

use crate::sim::{Happening, Script, exited, exits, secs};

#[test]
fn a_retry_takes_a_token_before_its_wait() {
    Script::new([exits(7), exits(0)]).paying([Granted]).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 take a token
         0.300 < Granted
         0.300 retry 1 in 5s
         5.300 start 2 (retry)
         5.300 attempt 2 started
         5.400 attempt 2 ended: exit 0, success (success)
         5.400 run stopped: succeeded, status 0
         succeeded after 2 attempts in 5.4s",
    );
}

#[test]
fn a_budget_that_is_used_up_ends_the_run() {
    let played = Script::new([exits(7)]).paying([Granted, Refused]).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 take a token
         0.300 < Granted
         0.300 retry 1 in 5s
         5.300 start 2 (retry)
         5.300 attempt 2 started
         5.400 attempt 2 ended: exit 7, transient (unlisted)
         5.400 take a token
         5.600 < Refused
         5.600 run stopped: budget, status 7
         gave up after 2 attempts in 5.6s: the budget deploys is used up, exit 7 each time (unlisted)",
    );
    let replaced = Script::new([exits(7)]).paying([Refused]).exit_codes(["budget=75"]);
    assert_eq!(replaced.play().exit(), Exit::Code(75));
}

#[test]
fn a_budget_that_nobody_can_ask_is_named() {
    let played = Script::new([exits(7)]).paying([Unreachable]).play();
    assert_eq!(played.history().outcome, Some(Outcome::Budget));
    let message = "gave up after 1 attempt in 0.3s: the store of the budget deploys cannot be reached, exit 7 (unlisted)";
    assert_eq!(played.history().message.as_deref(), Some(message));
}

#[test]
fn nobody_pays_where_no_retry_follows() {
    for script in [
        Script::new([exits(7)]).retries(0),
        Script::new([exits(7)]).deadline(secs(5.0)),
        Script::new([exits(7)]).rules([(Verdict::Permanent, "7")]),
        Script::new([exits(7)]).asking(Answer::Stop),
        Script::new([exits(0)]).policy(|policy| policy.consecutive = 2),
    ] {
        let played = script.paying([Granted]).play();
        assert!(!played.transcript.contains("take a token"), "{}", played.transcript);
    }
}

#[test]
fn a_success_at_the_first_attempt_gives_something_back() {
    let gives = |script: Script| script.play().transcript.contains("put back: Share");
    assert!(gives(Script::new([exits(0)]).paying([Granted])));
    assert!(gives(
        Script::new([exits(0)]).paying([Granted]).policy(|policy| policy.consecutive = 2)
    ));
    assert!(!gives(Script::new([exits(7), exits(0)]).paying([Granted])));
    assert!(!gives(Script::new([exits(7)]).paying([Refused])));
    assert!(!gives(Script::new([exits(0)])));
    assert!(!gives(Script::new([exits(0), exits(7), exits(0)]).paying([Granted]).policy(
        |policy| {
            policy.consecutive = 2;
        }
    )));
}

#[test]
fn an_attempt_by_hand_takes_no_token() {
    let script = Script::new([exits(7), exits(0)]).paying([Granted]);
    let played = script.at(secs(1.0), Happening::RetryNow).play();
    played.shows(&format!(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 take a token
         0.300 < Granted
         0.300 retry 1 in 5s
         1.000 < retry now
         1.000 put back: {:?}
         1.000 start 2 (manual)
         1.000 attempt 2 started
         1.100 attempt 2 ended: exit 0, success (success)
         1.100 run stopped: succeeded, status 0
         succeeded after 2 attempts in 1.1s",
        Refund::Token
    ));
    assert_eq!(played.history().attempts[1].trigger, Trigger::Manual);
    let confirming =
        Script::new([exits(0)]).paying([Granted]).policy(|policy| policy.consecutive = 2);
    let confirmed = confirming.at(secs(1.0), Happening::RetryNow).play();
    assert!(!confirmed.transcript.contains("put back: Token"), "{}", confirmed.transcript);
}

#[test]
fn one_that_is_asked_for_twice_gives_one_token_back() {
    let left_behind = exits(7).leaving(1);
    let script = Script::new([left_behind, exits(0)]).paying([Granted]);
    let twice = script.at(secs(0.4), Happening::RetryNow).at(secs(0.5), Happening::RetryNow);
    let played = twice.play();
    assert_eq!(played.transcript.matches("put back: Token").count(), 1, "{}", played.transcript);
}

#[test]
fn a_signal_is_answered_while_the_budget_is_asked() {
    let script = Script::new([exits(7)]).paying([Granted]).signal(secs(0.2), Signal::TERM);
    script.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 take a token
         0.200 < SIGTERM
         0.200 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 0.2s: exit 7 (unlisted)",
    );
}

#[test]
fn what_is_left_behind_is_ended_first_where_nothing_is_to_stay() {
    let left_behind = Script::new([exits(7).leaving(1)]).policy(|policy| {
        policy.leftovers = Leftovers::Kill;
    });
    for (script, outcome) in [
        (left_behind.clone().paying([Refused]), Outcome::Budget),
        (
            left_behind.clone().paying([Granted]).signal(secs(0.2), Signal::TERM),
            Outcome::Interrupted,
        ),
        (left_behind.paying([Granted]).at(secs(0.2), Happening::Stop), Outcome::Stopped),
    ] {
        let played = script.play();
        assert_eq!(played.history().outcome, Some(outcome));
        assert!(played.transcript.contains("sweep All"), "{}", played.transcript);
    }
}

#[test]
fn the_deadline_comes_while_the_budget_is_asked() {
    // The wait of 5 seconds could be begun at 0.1, and not any more at 0.25.
    let script = Script::new([exits(7)]).paying([Granted]).deadline(secs(5.25));
    let played = script.fidgety().play();
    assert_eq!(played.history().outcome, Some(Outcome::Deadline));
    assert_eq!(played.history().elapsed, secs(0.25));
    assert!(!played.transcript.contains("Granted"), "{}", played.transcript);
}

#[test]
fn a_token_that_comes_too_late_for_the_wait_is_not_used() {
    let outcome = |answered: f64| {
        let mut run = Script::new([]).paying([Granted]).deadline(secs(6.0)).run();
        run.handle(Time::default(), Input::Begin);
        run.handle(Time::default(), Input::Started { pid: 1 });
        let actions =
            run.handle(Time::default(), exited(ExitStatus::Code(7), 0, Matches::default()));
        assert_eq!(actions.last(), Some(&Action::TakeToken));
        run.handle(Time::default().plus(secs(answered)), Input::Token(Granted));
        run.history().outcome
    };
    // A wait of 5 seconds has to end before the deadline.
    assert_eq!(outcome(0.999), None);
    assert_eq!(outcome(1.0), Some(Outcome::Deadline));
}
