//! Transcripts of what others say of a failure: the user's own command, and the command itself.

use std::time::Duration;

use retryrun::engine::classify::Hint;
use retryrun::engine::event::{Event, Outcome, Verdict};
use retryrun::engine::exit::Exit;
use retryrun::engine::output::Matches;
use retryrun::engine::time::Time;
use retryrun::engine::{Action, Answer, ExitStatus, Input, Run};

use crate::sim::{Script, exited, exits, secs};

#[test]
fn the_users_command_is_asked_only_where_a_retry_would_follow() {
    let scripted = Script::new([exits(7)]).retries(1).asking(Answer::Retry);
    scripted.play().shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 ask
         0.100 attempt 1 ended: exit 7, transient (unlisted)
         0.100 retry 1 in 5s
         5.100 start 2 (retry)
         5.100 attempt 2 started
         5.200 attempt 2 ended: exit 7, transient (unlisted)
         5.200 run stopped: exhausted, status 7
         gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)",
    );
    let permanent = Script::new([exits(7)]).rules([(Verdict::Permanent, "7")]);
    assert!(!permanent.asking(Answer::Stop).play().transcript.contains("ask"));
    assert!(!Script::new([exits(0)]).asking(Answer::Stop).play().transcript.contains("ask"));
}

#[test]
fn its_no_is_permanent() {
    let played = Script::new([exits(7)]).asking(Answer::Stop).play();
    played.shows(
        "0.000 run started
         0.000 start 1 (first)
         0.000 attempt 1 started
         0.100 ask
         0.100 attempt 1 ended: exit 7, permanent (retry-if)
         0.100 run stopped: permanent, status 7
         gave up after 1 attempt in 0.1s: permanent failure, exit 7 (retry-if)",
    );
    let origin = played.history().attempts[0].rule_origin.as_deref();
    assert_eq!(origin, Some("flag --retry-if"));
}

/// A run whose first attempt ends with a code and a hint, and what it then does.
fn hinted(script: &Script, code: i32, hint: Hint) -> (Run, Vec<Action>) {
    let mut run = script.run();
    run.handle(Time::default(), Input::Begin);
    run.handle(Time::default(), Input::Started { pid: 1 });
    let mut input = exited(ExitStatus::Code(code), 0, Matches::default());
    if let Input::Exited { hint: given, .. } = &mut input {
        *given = hint;
    }
    let actions = run.handle(Time::default(), input);
    (run, actions)
}

fn verdict(verdict: Verdict) -> Hint {
    Hint { verdict: Some(verdict), ..Hint::default() }
}

fn after(seconds: f64) -> Hint {
    Hint { retry_after: Some(secs(seconds)), ..Hint::default() }
}

#[test]
fn a_hint_wins_over_what_is_built_in_and_over_nothing_else() {
    let plain = Script::new([]);
    let (run, _) = hinted(&plain, 7, verdict(Verdict::Permanent));
    assert_eq!(run.exit(), Some(Exit::Code(7)));
    let attempt = &run.history().attempts[0];
    let said = (attempt.reason.as_deref(), attempt.rule_origin.as_deref());
    assert_eq!(said, (Some("hint"), Some("hint")));
    let (run, _) = hinted(&plain, 7, verdict(Verdict::Success));
    assert_eq!(run.exit(), Some(Exit::Code(0)));
    let (run, _) = hinted(&plain, 0, verdict(Verdict::Transient));
    assert_eq!(run.exit(), None, "it is retried");
    let ruled = Script::new([]).rules([(Verdict::Transient, "7")]);
    let (run, _) = hinted(&ruled, 7, verdict(Verdict::Permanent));
    assert_eq!(run.exit(), None, "a rule of the user's wins");
    let reason = Hint { reason: Some("the reason".to_owned()), ..Hint::default() };
    let (run, _) = hinted(&plain, 7, reason);
    assert_eq!(run.history().attempts[0].reason.as_deref(), Some("the reason"));
}

#[test]
fn a_wait_that_is_asked_for_is_the_least() {
    let delay = |hint| {
        let (_, actions) = hinted(&Script::new([]), 7, hint);
        actions.into_iter().find_map(|action| match action {
            Action::Tell(record) => match record.event {
                Event::RetryPlanned(event) => Some(event.delay),
                _ => None,
            },
            _ => None,
        })
    };
    assert_eq!(delay(after(30.0)), Some(secs(30.0)));
    assert_eq!(delay(after(2.0)), Some(secs(5.0)));
    assert_eq!(delay(after(0.0)), Some(secs(5.0)));
    assert_eq!(delay(after(300.0)), Some(Duration::from_secs(300)));
    assert_eq!(delay(after(300.1)), None);
}

#[test]
fn a_wait_that_is_longer_than_any_may_be_ends_the_run() {
    let (run, _) = hinted(&Script::new([]), 7, after(301.0));
    let outcome = run.history().outcome.map(Outcome::name);
    assert_eq!((outcome, run.exit()), (Some("retry-after"), Some(Exit::Code(7))));
    let replaced = Script::new([]).exit_codes(["retry-after=75"]);
    assert_eq!(hinted(&replaced, 7, after(301.0)).0.exit(), Some(Exit::Code(75)));
}

#[test]
fn nobody_is_asked_where_the_wait_could_not_be_begun() {
    let scripted = Script::new([exits(7)]).deadline(secs(3.0)).asking(Answer::Stop);
    let played = scripted.play();
    assert!(!played.transcript.contains("ask"), "{}", played.transcript);
    assert_eq!(played.history().outcome, Some(Outcome::Deadline));
}

#[test]
fn without_its_input_no_failure_passes_and_no_success_is_confirmed() {
    for (code, consecutive, verdict, reason, rule, origin) in [
        (7, 1, Verdict::Permanent, "input-lost", None, "input"),
        (127, 1, Verdict::Permanent, "not-found", Some("127"), "built in"),
        (0, 1, Verdict::Success, "success", Some("0"), "built in"),
        (0, 2, Verdict::Permanent, "input-lost", None, "input"),
    ] {
        let mut run = Script::new([]).policy(|policy| policy.consecutive = consecutive).run();
        run.handle(Time::default(), Input::Begin);
        run.handle(Time::default(), Input::Started { pid: 1 });
        run.handle(Time::default(), Input::InputLost);
        run.handle(Time::default(), exited(ExitStatus::Code(code), 0, Matches::default()));
        let attempt = &run.history().attempts[0];
        let said = (attempt.verdict, attempt.reason.as_deref());
        assert_eq!(said, (Some(verdict), Some(reason)), "{code}");
        let by = (attempt.rule.as_deref(), attempt.rule_origin.as_deref());
        assert_eq!(by, (rule, Some(origin)), "{code}");
        assert!(run.exit().is_some(), "no other attempt can be made");
    }
}
