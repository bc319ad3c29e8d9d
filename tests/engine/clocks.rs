//! Transcripts of runs on a machine that sleeps, and what is due when.

use std::time::Duration;

use retryrun::engine::event::{Outcome, SpawnErrorKind};
use retryrun::engine::output::Matches;
use retryrun::engine::policy::Policy;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::Time;
use retryrun::engine::{Action, ExitStatus, Input, Sender, Why};

use crate::sim::{Happening, Reaction, Script, exited, exits, hangs, secs};

#[test]
fn a_machine_that_slept_retries_at_once() {
    let scripted = Script::new([exits(7), exits(0)]);
    let asleep = scripted.at(secs(1.0), Happening::Sleep(secs(3600.0)));
    asleep.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         1.000 < the machine sleeps for 1h
         3601.000 start 2 (retry)
         3601.000 attempt 2 started
         3601.100 attempt 2 ended: exit 0, success (success)
         3601.100 run stopped: succeeded, status 0
         succeeded after 2 attempts in 1h 1s",
    );
}

#[test]
fn a_deadline_that_passed_in_a_machines_sleep_ends_the_wait() {
    let scripted = Script::new([exits(7)]).deadline(secs(60.0));
    let asleep = scripted.at(secs(1.0), Happening::Sleep(secs(60.0)));
    let played = asleep.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         1.000 < the machine sleeps for 1m
         61.000 run stopped: deadline, status 7
         gave up after 1 attempt in 1m 1s: out of time, exit 7 (unlisted)",
    );
    assert_eq!(played.history().waited, secs(5.0), "not the sleep");
}

#[test]
fn timeout_and_grace_stand_still_in_a_machines_sleep_but_not_the_deadline() {
    let deaf = hangs().on_signal(Reaction::Deaf);
    let scripted = Script::new([deaf.clone()]).retries(0).timeout(secs(4.0));
    let asleep = scripted
        .at(secs(1.0), Happening::Sleep(secs(100.0)))
        .at(secs(105.0), Happening::Sleep(secs(100.0)));
    asleep.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < the machine sleeps for 1m 40s
         104.000 attempt 1 cut: timeout
         104.000 kill SIGTERM
         105.000 < the machine sleeps for 1m 40s
         209.000 kill SIGKILL
         209.000 attempt 1 ended: timed out, transient (timeout)
         209.000 run stopped: exhausted, status 124
         gave up after 1 attempt in 3m 29s: timed out (timeout)",
    );
    let scripted = Script::new([hangs()]).timeout(secs(4.0));
    let scripted = scripted.deadline(secs(60.0));
    let asleep = scripted.at(secs(1.0), Happening::Sleep(secs(100.0)));
    asleep.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 < the machine sleeps for 1m 40s
         101.000 attempt 1 cut: deadline
         101.000 kill SIGTERM
         101.000 attempt 1 ended: ended at the deadline, transient (timeout)
         101.000 run stopped: deadline, status 124
         gave up after 1 attempt in 1m 41s: out of time, ended at the deadline (timeout)",
    );
}

#[test]
fn the_timeout_of_an_attempt_after_a_machines_sleep_is_a_whole_one() {
    let scripted = Script::new([exits(7), hangs()]).retries(1);
    let asleep = scripted.at(secs(1.0), Happening::Sleep(secs(100.0)));
    asleep.timeout(secs(4.0)).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         1.000 < the machine sleeps for 1m 40s
         101.000 start 2 (retry)
         101.000 attempt 2 started
         105.000 attempt 2 cut: timeout
         105.000 kill SIGTERM
         105.000 attempt 2 ended: timed out, transient (timeout)
         105.000 run stopped: exhausted, status 124
         gave up after 2 attempts in 1m 45s: timed out (timeout)",
    );
}

#[test]
fn once_an_attempt_was_killed_only_its_death_is_waited_for() {
    let at = |seconds| Time::default().plus(secs(seconds));
    let term = || Input::Signal { signal: Signal::TERM, sender: Sender::Process };
    let mut run = Script::new([]).timeout(secs(60.0)).run();
    assert_eq!(run.wakeup(), None, "it has not begun");
    run.handle(Time::default(), Input::Begin);
    assert_eq!(run.wakeup(), Some((at(60.0), Why::Timeout)), "it may hang before it runs");
    run.handle(Time::default(), Input::Started { pid: 1 });
    assert_eq!(run.wakeup(), Some((at(60.0), Why::Timeout)));
    run.handle(at(1.0), term());
    assert_eq!(run.wakeup(), Some((at(6.0), Why::Grace)));
    run.handle(at(2.0), term());
    assert_eq!(run.wakeup(), Some((at(6.0), Why::Grace)));
    assert_eq!(run.handle(at(3.0), term()), [Action::Kill(Signal::KILL)]);
    assert_eq!(run.wakeup(), Some((at(8.0), Why::Unkillable)));
    assert_eq!(run.handle(at(7.9), Input::Tick), []);

    let scripted = Script::new([]).timeout(secs(60.0));
    let mut run = scripted.policy(|policy| policy.kill_after = Duration::ZERO).run();
    run.handle(Time::default(), Input::Begin);
    run.handle(Time::default(), Input::Started { pid: 1 });
    assert_eq!(run.handle(at(60.0), Input::Tick).len(), 2, "cut and kill");
    assert_eq!(run.wakeup(), Some((at(65.0), Why::Unkillable)));
}

#[test]
fn a_limit_holds_also_while_the_command_is_being_started() {
    let at = |seconds| Time::default().plus(secs(seconds));
    let mut run = Script::new([]).timeout(secs(60.0)).run();
    run.handle(Time::default(), Input::Begin);
    assert_eq!(run.handle(at(59.0), Input::Tick), []);
    let actions = run.handle(at(60.0), Input::Tick);
    assert_eq!(actions.last(), Some(&Action::Kill(Signal::TERM)));
    assert_eq!(actions.len(), 3, "it began, and was cut: {actions:?}");
    let error = "gone".to_owned();
    run.handle(at(61.0), Input::CannotStart { kind: SpawnErrorKind::Resources, error });
    assert_eq!(run.history().last_number(), 1);
    assert_eq!(run.wakeup(), Some((at(66.0), Why::Delay)));
}

#[test]
fn what_is_left_until_the_deadline_is_known() {
    let mut run = Script::new([]).deadline(secs(10.0)).run();
    run.handle(Time::default().plus(secs(4.0)), Input::Begin);
    assert_eq!(run.until_deadline(), Some(secs(6.0)));
    run.handle(Time::default().plus(secs(11.0)), Input::Output);
    assert_eq!(run.until_deadline(), Some(Duration::ZERO));
    assert_eq!(Script::new([]).run().until_deadline(), None);
}

#[test]
fn the_listening_after_a_commands_end_is_none_of_its_time() {
    let at = |seconds| Time::default().plus(secs(seconds));
    let healthy = |policy: &mut Policy| policy.healthy_after = Some(secs(1.0));
    let mut run = Script::new([]).retries(1).policy(healthy).run();
    run.handle(at(0.0), Input::Begin);
    run.handle(at(0.2), Input::Started { pid: 1 });
    run.handle(at(0.5), Input::Ended);
    run.handle(at(2.5), exited(ExitStatus::Code(3), 0, Matches::default()));
    let first = run.history().attempts[0].clone();
    // From the order to start it, as its limits are.
    assert_eq!(first.started_at, run.history().started_at);
    assert_eq!(first.elapsed, Some(secs(0.5)));
    run.handle(at(7.5), Input::Tick);
    run.handle(at(7.5), Input::Started { pid: 2 });
    run.handle(at(7.6), Input::Ended);
    run.handle(at(9.6), exited(ExitStatus::Code(3), 0, Matches::default()));
    assert_eq!(run.history().outcome, Some(Outcome::Exhausted), "neither was healthy");
    // What we end, we also wait for.
    let mut run = Script::new([]).retries(0).timeout(secs(1.0)).run();
    run.handle(at(0.0), Input::Begin);
    run.handle(at(0.0), Input::Started { pid: 1 });
    run.handle(at(1.0), Input::Tick);
    run.handle(at(1.5), Input::Ended);
    run.handle(at(2.5), exited(ExitStatus::Code(3), 0, Matches::default()));
    assert_eq!(run.history().attempts[0].elapsed, Some(secs(2.5)));
}
