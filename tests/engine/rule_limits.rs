//! Rules with a limit and a delay of their own.

use std::time::Duration;

use retryrun::engine::backoff::Jitter;
use retryrun::engine::classify::{PlacedRule, Rules};
use retryrun::engine::event::{Outcome, Verdict};

use crate::sim::{Command, Happening, Script, exits, rule, secs};

const THROTTLED: &str = "throttled: 22 & /429/";

/// Exit 22 with the line by which it is throttled.
fn throttled() -> Command {
    exits(22).writing(THROTTLED, "error: 429")
}

/// A script under a rule for what is throttled.
fn script(commands: &[Command], limit: Option<u64>, delay: Option<Duration>) -> Script {
    let placed = PlacedRule { limit, delay, ..rule(Verdict::Transient, THROTTLED) };
    let rules = Rules::new(vec![placed, rule(Verdict::Transient, "connect: 7")]);
    Script::new(commands.to_vec()).policy(|policy| policy.rules = rules)
}

#[test]
fn the_delay_of_a_rule_is_the_wait_after_what_it_decided() {
    let commands = [throttled(), exits(7), throttled(), exits(0)];
    script(&commands, None, Some(secs(30.0))).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 22, transient (throttled)
         0.100 retry 1 in 30s
         30.100 start 2 (retry)
         30.100 attempt 2 started
         30.200 attempt 2 ended: exit 7, transient (connect)
         30.200 retry 2 in 10s
         40.200 start 3 (retry)
         40.200 attempt 3 started
         40.300 attempt 3 ended: exit 22, transient (throttled)
         40.300 retry 3 in 30s
         70.300 start 4 (retry)
         70.300 attempt 4 started
         70.400 attempt 4 ended: exit 0, success (success)
         70.400 run stopped: succeeded, status 0
         succeeded after 4 attempts in 1m 10s",
    );
}

#[test]
fn the_delay_of_a_rule_is_capped_and_knows_no_jitter() {
    let scripted = script(&[throttled()], None, Some(secs(600.0))).retries(2);
    let scripted = scripted.policy(|policy| policy.backoff.jitter = Jitter::Full);
    assert_eq!(scripted.play().delays(), [secs(300.0), secs(300.0)]);
}

#[test]
fn a_rule_that_has_used_up_its_retries_ends_the_run() {
    let played = script(&[throttled()], Some(1), Some(secs(1.0))).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 22, transient (throttled)
         0.100 retry 1 in 1s
         1.100 start 2 (retry)
         1.100 attempt 2 started
         1.200 attempt 2 ended: exit 22, transient (throttled)
         1.200 run stopped: exhausted, status 22
         gave up after 2 attempts in 1.2s: exit 22 each time (throttled)",
    );
    let last = played.history().last_attempt().expect("two were made");
    assert_eq!(last.evidence.as_deref(), Some("error: 429"));
    let none_allowed = script(&[throttled()], Some(0), None).play();
    assert_eq!(none_allowed.history().outcome, Some(Outcome::Exhausted));
    assert_eq!(none_allowed.delays(), []);
}

#[test]
fn all_retries_of_a_rule_count_against_it() {
    let commands = [throttled(), exits(7), throttled(), exits(7), throttled(), exits(7)];
    for (limit, expected) in [
        (1, vec!["throttled", "connect", "throttled"]),
        (2, vec!["throttled", "connect", "throttled", "connect", "throttled"]),
    ] {
        let played = script(&commands, Some(limit), None).retries(9).play();
        let reasons = played.history().attempts.iter().map(|attempt| attempt.reason.as_deref());
        let reasons: Vec<&str> = reasons.flatten().collect();
        assert_eq!(reasons, expected);
        assert_eq!(played.history().outcome, Some(Outcome::Exhausted));
    }
}

#[test]
fn an_attempt_that_was_healthy_sets_the_count_of_its_rule_to_zero() {
    let commands = [throttled(), throttled().after(secs(60.0)), throttled()];
    let scripted = script(&commands, Some(1), None);
    let scripted = scripted.policy(|policy| policy.healthy_after = Some(secs(60.0)));
    let played = scripted.play();
    assert_eq!(played.delays(), [secs(5.0), secs(5.0)]);
    assert_eq!(played.history().attempts.len(), 3);
    // The two that it may order from there on.
    let commands = [throttled(), throttled().after(secs(60.0)), throttled()];
    let scripted = script(&commands, Some(2), None).retries(9);
    let scripted = scripted.policy(|policy| policy.healthy_after = Some(secs(60.0)));
    assert_eq!(scripted.play().history().attempts.len(), 4);
}

#[test]
fn an_attempt_by_hand_does_not_count_against_a_rule() {
    let scripted = script(&[throttled()], Some(1), None);
    let played = scripted.at(secs(2.0), Happening::RetryNow).play();
    assert_eq!(played.history().attempts.len(), 3);
    assert_eq!(played.history().retry_count, 1);
}
