//! Whole transcripts of the engine: every limit, and every way to stop but by a signal.

mod asking;
mod backoff;
mod budget;
mod by_hand;
mod clocks;
mod endings;
mod exit_codes;
mod history;
mod resumed;
mod rule_limits;
mod rules;
mod signals;

use std::time::Duration;

use retryrun::engine::event::{SpawnErrorKind, Verdict};
use retryrun::engine::signal::Signal;

use crate::sim::{Command, Reaction, Script, dies, exits, hangs, secs};

#[test]
fn success_at_once() {
    Script::new([exits(0)]).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 0, success (success)
         0.100 run stopped: succeeded, status 0
         succeeded after 1 attempt in 0.1s",
    );
}

#[test]
fn success_after_retries() {
    let played = Script::new([exits(7), dies(Signal::KILL), exits(0)]).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 start 2 (retry)
         5.100 attempt 2 started
         5.200 attempt 2 ended: SIGKILL, transient (signal)
         5.200 retry 2 in 10s
         15.200 start 3 (retry)
         15.200 attempt 3 started
         15.300 attempt 3 ended: exit 0, success (success)
         15.300 run stopped: succeeded, status 0
         succeeded after 3 attempts in 15.3s",
    );
    assert!(played.history().flaky);
}

#[test]
fn gives_up_when_no_retry_is_left() {
    let scripted = Script::new([exits(7).after(secs(0.05))]);
    scripted.rules([(Verdict::Transient, "connect: 7")]).play().shows(
        "0.000 run started
             0.000 start 1 (first)
             0.000 attempt 1 started
             0.050 attempt 1 ended: exit 7, transient (connect)
             0.050 retry 1 in 5s
             5.050 start 2 (retry)
             5.050 attempt 2 started
             5.100 attempt 2 ended: exit 7, transient (connect)
             5.100 retry 2 in 10s
             15.100 start 3 (retry)
             15.100 attempt 3 started
             15.150 attempt 3 ended: exit 7, transient (connect)
             15.150 retry 3 in 20s
             35.150 start 4 (retry)
             35.150 attempt 4 started
             35.200 attempt 4 ended: exit 7, transient (connect)
             35.200 run stopped: exhausted, status 7
             gave up after 4 attempts in 35.2s: exit 7 each time (connect)",
    );
}

#[test]
fn a_single_attempt_with_no_retries_allowed() {
    Script::new([dies(Signal::SEGV)]).retries(0).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: SIGSEGV, transient (crash)
         0.100 run stopped: exhausted, status 139
         gave up after 1 attempt in 0.1s: SIGSEGV (crash)",
    );
}

#[test]
fn a_permanent_failure_is_not_retried() {
    let scripted = Script::new([exits(7), exits(2)]);
    scripted.rules([(Verdict::Permanent, "2")]).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 start 2 (retry)
         5.100 attempt 2 started
         5.200 attempt 2 ended: exit 2, permanent (stop-on)
         5.200 run stopped: permanent, status 2
         gave up after 2 attempts in 5.2s: permanent failure, exit 2 (stop-on)",
    );
}

#[test]
fn a_run_that_did_not_succeed_never_exits_0() {
    let scripted = Script::new([exits(0)]);
    scripted.rules([(Verdict::Permanent, "0")]).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 0, permanent (stop-on)
         0.100 run stopped: permanent, status 1
         gave up after 1 attempt in 0.1s: permanent failure, exit 0 (stop-on)",
    );
}

#[test]
fn polls_until_the_code_that_means_success() {
    let scripted = Script::new([exits(0), exits(121)]);
    let rules = [(Verdict::Success, "121"), (Verdict::Transient, "0")];
    scripted.rules(rules).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 0, transient (retry-on)
         0.100 retry 1 in 5s
         5.100 start 2 (retry)
         5.100 attempt 2 started
         5.200 attempt 2 ended: exit 121, success (success-on)
         5.200 run stopped: succeeded, status 0
         succeeded after 2 attempts in 5.2s",
    );
}

#[test]
fn a_command_that_is_not_found_or_not_executable_is_not_retried() {
    let not_found = Script::new([Command::CannotStart(SpawnErrorKind::NotFound)]);
    not_found.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.000 attempt 1 ended: not found, permanent (not-found)
         0.000 run stopped: not-started, status 127
         gave up after 1 attempt in 0.0s: not found (not-found)",
    );
    let not_executable = Script::new([Command::CannotStart(SpawnErrorKind::NotExecutable)]);
    not_executable.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.000 attempt 1 ended: not executable, permanent (not-executable)
         0.000 run stopped: not-started, status 126
         gave up after 1 attempt in 0.0s: not executable (not-executable)",
    );
}

#[test]
fn a_lack_of_resources_at_the_start_is_retried() {
    let lack = Command::CannotStart(SpawnErrorKind::Resources);
    Script::new([lack.clone(), exits(0)]).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.000 attempt 1 ended: resources, transient (resources)
         0.000 retry 1 in 5s
         5.000 start 2 (retry)
         5.000 attempt 2 started
         5.100 attempt 2 ended: exit 0, success (success)
         5.100 run stopped: succeeded, status 0
         succeeded after 2 attempts in 5.1s",
    );
    Script::new([lack]).retries(1).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.000 attempt 1 ended: resources, transient (resources)
         0.000 retry 1 in 5s
         5.000 start 2 (retry)
         5.000 attempt 2 started
         5.000 attempt 2 ended: resources, transient (resources)
         5.000 run stopped: exhausted, status 126
         gave up after 2 attempts in 5.0s: resources each time (resources)",
    );
}

#[test]
fn a_timeout_and_its_grace_begin_anew_in_each_attempt() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let slow = hangs().on_signal(Reaction::Dies(secs(2.0)));
    let scripted = Script::new([deaf, slow]).retries(1);
    scripted.timeout(secs(30.0)).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         30.000 attempt 1 cut: timeout
         30.000 kill SIGTERM
         35.000 kill SIGKILL
         35.000 attempt 1 ended: timed out, transient (timeout)
         35.000 retry 1 in 5s
         40.000 start 2 (retry)
         40.000 attempt 2 started
         70.000 attempt 2 cut: timeout
         70.000 kill SIGTERM
         72.000 attempt 2 ended: timed out, transient (timeout)
         72.000 run stopped: exhausted, status 124
         gave up after 2 attempts in 1m 12s: timed out each time (timeout)",
    );
}

#[test]
fn an_attempt_that_ends_on_the_stop_signal_has_timed_out_whatever_it_leaves() {
    let clean = hangs().on_signal(Reaction::Exits(secs(1.0), 0));
    let scripted = Script::new([clean]).retries(0).timeout(secs(2.0));
    let scripted = scripted.policy(|policy| policy.stop_signal = Signal::INT);
    let played = scripted.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         2.000 attempt 1 cut: timeout
         2.000 kill SIGINT
         3.000 attempt 1 ended: timed out, transient (timeout)
         3.000 run stopped: exhausted, status 124
         gave up after 1 attempt in 3.0s: timed out (timeout)",
    );
    let last = played.history().last_attempt().expect("one was made");
    assert_eq!((last.exit_code, last.signal), (Some(0), None));
}

#[test]
fn without_a_grace_a_timeout_kills_at_once() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf]).retries(0).timeout(secs(2.0));
    let scripted = scripted.policy(|policy| policy.kill_after = Duration::ZERO);
    scripted.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         2.000 attempt 1 cut: timeout
         2.000 kill SIGKILL
         2.000 attempt 1 ended: timed out, transient (timeout)
         2.000 run stopped: exhausted, status 124
         gave up after 1 attempt in 2.0s: timed out (timeout)",
    );
}

#[test]
fn the_deadline_ends_an_attempt_like_a_timeout() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([exits(7), deaf]).deadline(secs(10.0));
    scripted.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 start 2 (retry)
         5.100 attempt 2 started
         10.000 attempt 2 cut: deadline
         10.000 kill SIGTERM
         15.000 kill SIGKILL
         15.000 attempt 2 ended: ended at the deadline, transient (timeout)
         15.000 run stopped: deadline, status 124
         gave up after 2 attempts in 15.0s: out of time, ended at the deadline (timeout)",
    );
}

#[test]
fn a_wait_that_would_end_at_the_deadline_or_past_it_is_not_begun() {
    for (deadline, delays) in [(5.05, 0), (5.1, 0), (5.101, 1)] {
        let scripted = Script::new([exits(7)]).deadline(secs(deadline));
        let played = scripted.play();
        assert_eq!(played.delays().len(), delays, "deadline {deadline}");
    }
    let scripted = Script::new([exits(7)]).deadline(secs(12.0));
    scripted.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 start 2 (retry)
         5.100 attempt 2 started
         5.200 attempt 2 ended: exit 7, transient (unlisted)
         5.200 run stopped: deadline, status 7
         gave up after 2 attempts in 5.2s: out of time, exit 7 each time (unlisted)",
    );
}

#[test]
fn nothing_is_run_when_the_deadline_has_passed() {
    let scripted = Script::new([exits(0)]).deadline(Duration::ZERO);
    scripted.play().shows(
        "0.000 run started
         0.000 run stopped: deadline, status 124
         gave up after 0 attempts in 0.0s: out of time, nothing was run",
    );
}

#[test]
fn a_limit_that_falls_into_the_grace_of_another_changes_nothing() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf.clone()]).timeout(secs(9.0));
    scripted.deadline(secs(10.0)).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         9.000 attempt 1 cut: timeout
         9.000 kill SIGTERM
         14.000 kill SIGKILL
         14.000 attempt 1 ended: timed out, transient (timeout)
         14.000 run stopped: deadline, status 124
         gave up after 1 attempt in 14.0s: out of time, timed out (timeout)",
    );
    let scripted = Script::new([deaf]).timeout(secs(10.0));
    scripted.deadline(secs(9.0)).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         9.000 attempt 1 cut: deadline
         9.000 kill SIGTERM
         14.000 kill SIGKILL
         14.000 attempt 1 ended: ended at the deadline, transient (timeout)
         14.000 run stopped: deadline, status 124
         gave up after 1 attempt in 14.0s: out of time, ended at the deadline (timeout)",
    );
}

#[test]
fn of_two_limits_at_one_moment_the_deadline_names_the_ending() {
    let scripted = Script::new([hangs()]).timeout(secs(2.0));
    scripted.deadline(secs(2.0)).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         2.000 attempt 1 cut: deadline
         2.000 kill SIGTERM
         2.000 attempt 1 ended: ended at the deadline, transient (timeout)
         2.000 run stopped: deadline, status 124
         gave up after 1 attempt in 2.0s: out of time, ended at the deadline (timeout)",
    );
}
