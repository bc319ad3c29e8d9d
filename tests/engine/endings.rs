//! Transcripts of what an attempt leaves, how long it was silent or healthy, and of what does not die.

use std::time::Duration;

use retryrun::engine::event::Outcome;
use retryrun::engine::exit::Exit;
use retryrun::engine::output::Matches;
use retryrun::engine::policy::Leftovers;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::Time;
use retryrun::engine::{Action, ExitStatus, Input, Sender, Why};

use crate::sim::{Happening, Reaction, Script, exited, exits, hangs, secs};

#[test]
fn a_silent_attempt_is_ended() {
    let scripted = Script::new([hangs()]).retries(0).policy(|policy| {
        policy.idle_timeout = Some(secs(3.0));
    });
    scripted.at(secs(1.0), Happening::Output).at(secs(2.5), Happening::Output).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         5.500 attempt 1 cut: idle-timeout
         5.500 kill SIGTERM
         5.500 attempt 1 ended: silent for too long, transient (idle-timeout)
         5.500 run stopped: exhausted, status 124
         gave up after 1 attempt in 5.5s: silent for too long (idle-timeout)",
    );
}

#[test]
fn silence_is_not_counted_while_nobody_takes_the_output() {
    let scripted = Script::new([hangs()]).retries(0).policy(|policy| {
        policy.idle_timeout = Some(secs(3.0));
    });
    let stalled = scripted.at(secs(1.0), Happening::OutputStalled);
    stalled.at(secs(60.0), Happening::Output).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         63.000 attempt 1 cut: idle-timeout
         63.000 kill SIGTERM
         63.000 attempt 1 ended: silent for too long, transient (idle-timeout)
         63.000 run stopped: exhausted, status 124
         gave up after 1 attempt in 1m 3s: silent for too long (idle-timeout)",
    );
}

#[test]
fn no_limit_cuts_a_command_that_has_ended() {
    let mut run = Script::new([]).timeout(secs(2.0)).run();
    run.handle(Time::default(), Input::Begin);
    run.handle(Time::default(), Input::Started { pid: 1 });
    run.handle(Time::default(), Input::Ended);
    assert_eq!(run.wakeup(), None);
    assert_eq!(run.handle(Time::default().plus(secs(3.0)), Input::Tick), []);
}

#[test]
fn the_deadline_ends_the_wait_for_who_reads_a_command_that_has_ended() {
    let at = |seconds| Time::default().plus(secs(seconds));
    let mut run = Script::new([]).timeout(secs(1.0)).deadline(secs(2.0)).run();
    run.handle(at(0.0), Input::Begin);
    run.handle(at(0.0), Input::Started { pid: 1 });
    run.handle(at(0.0), Input::Ended);
    assert_eq!(run.wakeup(), Some((at(2.0), Why::Deadline)));
    assert_eq!(run.handle(at(1.5), Input::Tick), []);
    assert_eq!(run.handle(at(2.0), Input::Tick), [Action::Hurry]);
    assert_eq!((run.wakeup(), run.handle(at(3.0), Input::Tick)), (None, vec![]), "once");
    run.handle(at(4.0), exited(ExitStatus::Code(0), 0, Matches::default()));
    assert_eq!(run.exit(), Some(Exit::Code(0)), "it is not cut");
}

#[test]
fn a_healthy_attempt_sets_the_count_and_the_backoff_to_zero() {
    let commands = [exits(1), exits(1), exits(1).after(secs(60.0)), exits(1)];
    let scripted = Script::new(commands).retries(2).policy(|policy| {
        policy.healthy_after = Some(secs(60.0));
    });
    let played = scripted.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 1, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 start 2 (retry)
         5.100 attempt 2 started
         5.200 attempt 2 ended: exit 1, transient (unlisted)
         5.200 retry 2 in 10s
         15.200 start 3 (retry)
         15.200 attempt 3 started
         75.200 attempt 3 ended: exit 1, transient (unlisted)
         75.200 retry 1 in 5s
         80.200 start 4 (retry)
         80.200 attempt 4 started
         80.300 attempt 4 ended: exit 1, transient (unlisted)
         80.300 retry 2 in 10s
         90.300 start 5 (retry)
         90.300 attempt 5 started
         90.400 attempt 5 ended: exit 1, transient (unlisted)
         90.400 run stopped: exhausted, status 1
         gave up after 5 attempts in 1m 30s: exit 1 each time (unlisted)",
    );
    assert_eq!(played.history().retry_count, 4, "all of the run");
    assert_eq!(played.history().max_attempts(), Some(5));
}

#[test]
fn successes_have_to_come_in_a_row() {
    let commands = [exits(0), exits(1), exits(0), exits(0), exits(0)];
    let scripted = Script::new(commands).retries(1).policy(|policy| policy.consecutive = 3);
    let played = scripted.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 0, success (success)
         0.100 retry 1 in 5s
         5.100 start 2 (consecutive)
         5.100 attempt 2 started
         5.200 attempt 2 ended: exit 1, transient (unlisted)
         5.200 retry 1 in 5s
         10.200 start 3 (retry)
         10.200 attempt 3 started
         10.300 attempt 3 ended: exit 0, success (success)
         10.300 retry 1 in 5s
         15.300 start 4 (consecutive)
         15.300 attempt 4 started
         15.400 attempt 4 ended: exit 0, success (success)
         15.400 retry 2 in 5s
         20.400 start 5 (consecutive)
         20.400 attempt 5 started
         20.500 attempt 5 ended: exit 0, success (success)
         20.500 run stopped: succeeded, status 0
         succeeded after 5 attempts in 20.5s",
    );
    assert!(played.history().flaky);
    assert_eq!(played.history().retry_count, 1);
    let steady = Script::new([exits(0)]).policy(|policy| policy.consecutive = 2).play();
    assert!(!steady.history().flaky, "it succeeded at once, and again");
}

#[test]
fn what_is_left_behind_is_ended_before_the_next_attempt_and_not_after_the_last() {
    let scripted = Script::new([exits(1).leaving(2)]).retries(1).policy(|policy| {
        policy.backoff.max_delay = secs(0.1);
    });
    let played = scripted.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 attempt 1 ended: exit 1, transient (unlisted)
         0.100 retry 1 in 0.1s
         0.100 sweep Session with SIGTERM
         0.600 < swept
         0.600 start 2 (retry)
         0.600 attempt 2 started
         0.700 attempt 2 ended: exit 1, transient (unlisted)
         0.700 run stopped: exhausted, status 1
         gave up after 2 attempts in 0.7s: exit 1 each time (unlisted)",
    );
    assert_eq!(played.history().attempts.iter().map(|attempt| attempt.leftovers).sum::<u64>(), 4);
}

#[test]
fn all_leftovers_or_none() {
    let with = |leftovers| {
        let scripted = Script::new([exits(1).leaving(1)]).retries(1);
        scripted.policy(|policy| policy.leftovers = leftovers).play().transcript
    };
    assert!(!with(Leftovers::Keep).contains("sweep"));
    let killed = with(Leftovers::Kill);
    assert_eq!(killed.matches("sweep All with SIGTERM").count(), 2, "{killed}");
    assert!(killed.contains("5.700 < swept\n5.700 run stopped: exhausted"), "{killed}");
    let nothing = Script::new([exits(1)]).policy(|policy| policy.leftovers = Leftovers::Kill);
    assert!(!nothing.play().transcript.contains("sweep"));
}

#[test]
fn no_attempt_is_made_on_top_of_what_does_not_die() {
    let scripted = Script::new([hangs().on_signal(Reaction::Immortal)]).timeout(secs(1.0));
    let played = scripted.play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         1.000 attempt 1 cut: timeout
         1.000 kill SIGTERM
         6.000 kill SIGKILL
         11.000 abandon
         11.000 attempt 1 ended: timed out, transient (timeout)
         11.000 run stopped: permanent, status 125
         gave up after 1 attempt in 11.0s: permanent failure, timed out (timeout); a process cannot be killed: \
         it sits in an uninterruptible wait, or belongs to somebody else",
    );
    assert_eq!(played.exit(), Exit::FAILED);
    assert_eq!(played.history().attempts[0].leftovers, 1);
    let leftover = Script::new([exits(1).leaving(1)]).surviving().exit_codes(["permanent=3"]);
    let played = leftover.play();
    assert_eq!((played.exit(), played.history().last_number()), (Exit::FAILED, 1));
}

#[test]
fn a_signal_that_the_whole_group_may_have_got_is_held_back() {
    let slow = hangs().on_signal(Reaction::Exits(secs(1.0), 7));
    let term = Happening::Signal(Signal::TERM, Sender::ProcessToGroup);
    Script::new([slow]).at(secs(3.0), term).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         3.000 < SIGTERM
         3.050 kill SIGTERM
         4.050 attempt 1 ended: exit 7, transient (unlisted)
         4.050 run stopped: interrupted, status 7
         interrupted by SIGTERM after 1 attempt in 4.0s: exit 7 (unlisted)",
    );
    let quick = exits(7).after(secs(3.02));
    let scripted = Script::new([quick]).at(secs(3.0), term);
    let transcript = scripted.play().transcript;
    assert!(!transcript.contains("kill"), "it had got it by itself: {transcript}");
}

#[test]
fn each_signal_that_is_held_back_is_passed_on_once() {
    let group = |signal| Happening::Signal(signal, Sender::ProcessToGroup);
    let sent = |second| {
        let slow = hangs().on_signal(Reaction::Exits(secs(1.0), 7));
        let scripted = Script::new([slow]).at(secs(3.0), group(Signal::TERM));
        let played = scripted.at(secs(3.02), group(second)).play();
        let kills = played.transcript.lines().filter(|line| line.contains("kill"));
        kills.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(sent(Signal::TERM), ["3.050 kill SIGTERM"]);
    assert_eq!(sent(Signal::HUP), ["3.050 kill SIGTERM", "3.070 kill SIGHUP"]);
}

#[test]
fn what_is_being_ended_is_not_ended_again() {
    let deaf = || Script::new([hangs().on_signal(Reaction::Deaf)]).timeout(secs(2.0));
    deaf().at(secs(3.0), Happening::Stop).play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         2.000 attempt 1 cut: timeout
         2.000 kill SIGTERM
         3.000 < stop
         7.000 kill SIGKILL
         7.000 attempt 1 ended: timed out, transient (timeout)
         7.000 run stopped: stopped, status 124
         stopped after 1 attempt in 7.0s: timed out (timeout)",
    );
    let at_once = deaf().policy(|policy| policy.kill_after = Duration::ZERO);
    let mut run = at_once.run();
    let at = |seconds| Time::default().plus(secs(seconds));
    run.handle(at(0.0), Input::Begin);
    run.handle(at(0.0), Input::Started { pid: 1 });
    assert_eq!(run.handle(at(2.0), Input::Tick).len(), 2, "cut and kill");
    assert_eq!(run.handle(at(3.0), Input::Stop), []);
}

#[test]
fn a_command_whose_reader_went_away_ends_us_as_it() {
    let exit = |status| {
        let mut run = Script::new([]).run();
        run.handle(Time::default(), Input::Begin);
        run.handle(Time::default(), Input::Started { pid: 1 });
        let mut input = exited(status, 0, Matches::default());
        if let Input::Exited { stdout_closed, .. } = &mut input {
            *stdout_closed = true;
        }
        run.handle(Time::default(), input);
        assert_eq!(run.history().outcome, Some(Outcome::Interrupted));
        run.exit()
    };
    let died = ExitStatus::Signal { signal: Signal::PIPE, core_dumped: false };
    assert_eq!(exit(died), Some(Exit::Signal(Signal::PIPE)));
    assert_eq!(exit(ExitStatus::Code(3)), Some(Exit::Signal(Signal::PIPE)));
}

#[test]
fn a_wait_is_over_when_the_sweep_is() {
    let at = |seconds| Time::default().plus(secs(seconds));
    let mut run = Script::new([]).policy(|policy| policy.backoff.max_delay = secs(1.0)).run();
    run.handle(at(0.0), Input::Begin);
    run.handle(at(0.0), Input::Started { pid: 1 });
    let status = ExitStatus::Code(1);
    run.handle(at(0.0), exited(status, 1, Matches::default()));
    assert_eq!(run.wakeup(), Some((at(1.0), Why::Delay)));
    assert_eq!(run.handle(at(1.0), Input::Tick), []);
    assert_eq!(run.wakeup(), None, "only the sweep is waited for");
    let started = run.handle(at(1.5), Input::Swept { survives: false });
    assert!(matches!(started.as_slice(), [Action::Start { attempt: 2, .. }]), "{started:?}");
}

#[test]
fn what_we_fail_in_ends_the_attempt_and_the_run() {
    let mut run = Script::new([]).run();
    run.handle(Time::default(), Input::Begin);
    run.handle(Time::default(), Input::Started { pid: 1 });
    let actions = run.handle(Time::default(), Input::Failed("the disk is full".to_owned()));
    assert_eq!(actions.last(), Some(&Action::Kill(Signal::TERM)));
    let again = run.handle(Time::default(), Input::Failed("so is the other".to_owned()));
    assert_eq!(again, []);
    run.handle(Time::default(), exited(ExitStatus::Code(0), 0, Matches::default()));
    assert_eq!(run.exit(), Some(Exit::FAILED));
    let message = run.history().message.as_deref().unwrap_or_default();
    assert!(message.ends_with("; the disk is full"), "{message}");
}

#[test]
fn an_attempt_whose_output_is_lost_is_no_success() {
    let ended = |code| {
        let mut run = Script::new([]).policy(|policy| policy.consecutive = 2).run();
        run.handle(Time::default(), Input::Begin);
        run.handle(Time::default(), Input::Started { pid: 1 });
        let lost = Input::OutputLost("the disk is full".to_owned());
        assert_eq!(run.handle(Time::default(), lost), [], "the command finds out by itself");
        run.handle(Time::default(), exited(ExitStatus::Code(code), 0, Matches::default()));
        run
    };
    let run = ended(0);
    assert_eq!(run.exit(), Some(Exit::FAILED));
    let attempt = &run.history().attempts[0];
    assert_eq!(attempt.reason.as_deref(), Some("output-lost"));
    let message = run.history().message.as_deref().unwrap_or_default();
    assert!(message.ends_with("exit 0 (output-lost); the disk is full"), "{message}");
    assert_eq!(ended(1).exit(), None, "a failure may pass, with what is lost");
}
