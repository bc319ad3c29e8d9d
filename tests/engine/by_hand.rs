//! What somebody asks of a run by hand: to stop, to go on at once, and to do something of their own before an attempt.

use retryrun::engine::event::{EndedBy, Event, Outcome, Trigger, Verdict};
use retryrun::engine::exit::Exit;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::Time;
use retryrun::engine::{Action, Answer, Input};

use crate::sim::{Happening, Reaction, Script, dies, exits, hangs, secs};

#[test]
fn a_stop_ends_a_wait_with_the_status_of_the_last_attempt() {
    let played = Script::new([exits(7)]).at(secs(2.1), Happening::Stop).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         2.100 < stop
         2.100 run stopped: stopped, status 7
         stopped after 1 attempt in 2.1s: exit 7 (unlisted)",
    );
    assert_eq!(played.history().waited, secs(2.0));
    let killed = Script::new([dies(Signal::KILL)]).at(secs(2.0), Happening::Stop).play();
    assert_eq!(killed.exit(), Exit::Signal(Signal::KILL));
}

#[test]
fn a_stop_in_a_wait_never_ends_with_0() {
    let polls = Script::new([exits(0)]).policy(|policy| {
        policy.consecutive = 2;
    });
    assert_eq!(polls.at(secs(2.0), Happening::Stop).play().exit(), Exit::Code(1));
}

#[test]
fn a_stop_ends_the_attempt() {
    let played = Script::new([hangs()]).at(secs(2.0), Happening::Stop).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         2.000 < stop
         2.000 attempt 1 cut: stop
         2.000 kill SIGTERM
         2.000 attempt 1 ended: stopped, not judged (no reason)
         2.000 run stopped: stopped, status 143
         stopped after 1 attempt in 2.0s: stopped",
    );
    // Which no rule makes a failure of the command's.
    let ruled = Script::new([hangs()]).rules([(Verdict::Transient, "any")]);
    let played = ruled.at(secs(2.0), Happening::Stop).play();
    assert_eq!(played.history().attempts[0].verdict, None);
    let deaf = hangs().on_signal(Reaction::Deaf);
    let played = Script::new([deaf]).at(secs(2.0), Happening::Stop).play();
    assert_eq!((played.exit(), played.history().elapsed), (Exit::Code(143), secs(7.0)));
    let handles = hangs().on_signal(Reaction::Exits(secs(0.1), 0));
    assert_eq!(Script::new([handles]).at(secs(2.0), Happening::Stop).play().exit().code(), 143);
}

#[test]
fn a_stop_can_have_a_status_of_its_own() {
    let script = Script::new([hangs()]).exit_codes(["stopped=42"]);
    assert_eq!(script.at(secs(2.0), Happening::Stop).play().exit(), Exit::Code(42));
    let script = Script::new([exits(0)]).exit_codes(["stopped=42"]);
    assert_eq!(script.at(secs(0.05), Happening::Stop).play().exit(), Exit::Code(42));
}

#[test]
fn what_is_done_before_an_attempt_is_waited_for() {
    let played = Script::new([exits(7), exits(0)]).preparing().play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 prepare 2 (retry)
         5.400 < prepared
         5.400 start 2 (retry)
         5.400 attempt 2 started
         5.500 attempt 2 ended: exit 0, success (success)
         5.500 run stopped: succeeded, status 0
         succeeded after 2 attempts in 5.5s",
    );
    assert_eq!(played.history().waited, secs(5.0), "the wait alone");
}

#[test]
fn what_is_done_before_an_attempt_can_be_interrupted() {
    let script = || Script::new([exits(7)]).preparing();
    script().signal(secs(5.2), Signal::TERM).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 prepare 2 (retry)
         5.200 < SIGTERM
         5.200 kill SIGTERM
         5.200 < prepared
         5.200 run stopped: interrupted, status 143
         interrupted by SIGTERM after 1 attempt in 5.2s: exit 7 (unlisted)",
    );
    let stopped = script().at(secs(5.2), Happening::Stop).play();
    assert_eq!(stopped.history().outcome, Some(Outcome::Stopped));
    assert_eq!(stopped.exit(), Exit::Code(7));
    let late = script().deadline(secs(5.3)).play();
    assert_eq!(late.history().outcome, Some(Outcome::Deadline), "nothing starts after it");
    assert_eq!(late.history().elapsed, secs(5.4));
}

#[test]
fn an_attempt_by_hand_is_prepared_too() {
    let played =
        Script::new([exits(7), exits(0)]).preparing().at(secs(1.0), Happening::RetryNow).play();
    let triggers: Vec<Trigger> =
        played.history().attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [Trigger::First, Trigger::Manual]);
    assert!(played.transcript.contains("1.000 prepare 2 (manual)"), "{}", played.transcript);
}

#[test]
fn a_stop_while_somebody_is_asked_ends_the_run() {
    let script = Script::new([exits(7)]).asking(Answer::Retry);
    let played = script.at(secs(0.05), Happening::Stop).play();
    assert_eq!(played.history().outcome, Some(Outcome::Stopped));
}

#[test]
fn a_stop_that_comes_as_an_attempt_starts_is_told_after_that() {
    let mut run = Script::new([hangs()]).run();
    let told = |actions: Vec<Action>| -> Vec<Event> {
        let event =
            |action| if let Action::Tell(record) = action { Some(record.event) } else { None };
        actions.into_iter().filter_map(event).collect()
    };
    assert!(matches!(told(run.handle(Time::default(), Input::Begin))[..], [Event::RunStarted(_)]));
    let stopped = run.handle(Time::default(), Input::Stop);
    assert!(stopped.contains(&Action::Kill(Signal::TERM)) && told(stopped).is_empty());
    let started = told(run.handle(Time::default(), Input::Started { pid: 7 }));
    let [Event::AttemptStarted(started), Event::AttemptCut(cut)] = &started[..] else {
        panic!("{started:?}");
    };
    assert_eq!((started.pid, cut.ended_by, cut.signal), (Some(7), EndedBy::Stop, Signal::TERM));
}

#[test]
fn a_run_can_begin_by_hand() {
    let mut run = Script::new([]).run().by_hand();
    let actions = run.handle(Time::default(), Input::Begin);
    let start = Action::Start { attempt: 1, trigger: Trigger::Manual };
    assert_eq!(actions.last(), Some(&start));
}
