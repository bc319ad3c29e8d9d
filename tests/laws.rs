//! Laws of the engine that hold for every policy, every command and whatever comes from outside.

mod arbitrary;
mod jitter;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::sample::Index;
use proptest::{prop_assert, prop_assert_eq, prop_assume, proptest};

use retryrun::engine::classify::PlacedRule;
use retryrun::engine::event::{
    AttemptStarted, EndedBy, Event, Judgement, Outcome, Record, SpawnErrorKind, Trigger,
};
use retryrun::engine::exit::Exit;
use retryrun::engine::history::History;
use retryrun::engine::output::Matches;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::Time;
use retryrun::engine::{Action, Answer, ExitStatus, Input, Sender, Token};

use crate::sim::{Played, SWEEP, Script, exited};

/// A case that fails is to become a test of its own, so none is written to a file.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The attempts that began, each with its time.
fn starts(played: &Played) -> Vec<(Duration, AttemptStarted)> {
    let start = |record: &Record| match &record.event {
        Event::AttemptStarted(event) => Some((record.t, event.clone())),
        Event::RunStarted(_)
        | Event::RunResumed(_)
        | Event::AttemptCut(_)
        | Event::AttemptEnded(_)
        | Event::RetryPlanned(_)
        | Event::RunStopped(_) => None,
    };
    played.records.iter().filter_map(start).collect()
}

/// Every input there is.
fn inputs() -> [Input; 18] {
    let error = String::new();
    let kind = SpawnErrorKind::Resources;
    let status = ExitStatus::Code(1);
    let (signal, sender) = (Signal::TERM, Sender::Process);
    [
        Input::Begin,
        Input::Started { pid: 1 },
        Input::CannotStart { kind, error },
        Input::Ended,
        exited(status, 1, Matches::default()),
        Input::Answered(Answer::Stop),
        Input::Token(Token::Granted),
        Input::Token(Token::Refused),
        Input::InputLost,
        Input::CannotPrepare("no file".to_owned()),
        Input::OutputLost("the disk is full".to_owned()),
        Input::Failed("it cannot be done".to_owned()),
        Input::Output,
        Input::OutputStalled,
        Input::Swept { survives: false },
        Input::Signal { signal, sender },
        Input::RetryNow,
        Input::Tick,
    ]
}

/// The records by their kind: what may follow what.
fn letters(records: &[Record]) -> String {
    let letter = |record: &Record| match &record.event {
        Event::RunStarted(_) => '(',
        Event::RunResumed(_) => 'r',
        Event::AttemptStarted(_) => 's',
        Event::AttemptCut(_) => 'c',
        Event::AttemptEnded(_) => 'e',
        Event::RetryPlanned(_) => 'w',
        Event::RunStopped(_) => ')',
    };
    records.iter().map(letter).collect()
}

/// What a JSON line makes of a record.
fn through_json(record: &Record) -> Record {
    let line = serde_json::to_string(record).expect("plain data");
    serde_json::from_str(&line).expect("what was written can be read")
}

/// The most automatic retries that began without the count being set to zero in between, as the first retry of a count shows.
fn longest_count(records: &[Record]) -> u64 {
    let (mut count, mut planned, mut longest) = (0, 0, 0);
    for record in records {
        match &record.event {
            Event::RetryPlanned(event) if event.trigger == Trigger::Retry => {
                count = if event.retry == 1 { 0 } else { count };
                planned = event.retry;
            }
            Event::AttemptStarted(event) if event.trigger == Trigger::Retry => {
                count += 1;
                assert_eq!(count, planned, "retries are counted one by one");
                longest = longest.max(count);
            }
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptStarted(_)
            | Event::AttemptCut(_)
            | Event::AttemptEnded(_)
            | Event::RetryPlanned(_)
            | Event::RunStopped(_) => {}
        }
    }
    longest
}

/// Whether a rule is the one that decided; the first for which that is so did.
fn decides(placed: &PlacedRule, judgement: &Judgement) -> bool {
    judgement.rule.as_deref() == Some(placed.rule.text())
        && judgement.rule_origin.as_deref() == Some(&*placed.origin)
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn no_rule_orders_more_retries_than_it_may(script in arbitrary::script()) {
        let rules = script.policy.rules.clone();
        let (mut last, mut ordered) = (None, BTreeMap::new());
        for record in script.play().records {
            match &record.event {
                Event::AttemptEnded(event) => {
                    last = rules.iter().position(|placed| decides(placed, &event.judgement));
                }
                Event::RetryPlanned(event) if event.trigger == Trigger::Retry => {
                    if event.retry == 1 {
                        ordered.clear();
                    }
                    let limit = last.and_then(|index| rules.iter().nth(index)?.limit);
                    let used = ordered.get(&last).copied().unwrap_or(0);
                    prop_assert!(limit.is_none_or(|limit| used < limit));
                }
                Event::AttemptStarted(event) if event.trigger == Trigger::Retry => {
                    *ordered.entry(last).or_insert(0) += 1;
                }
                Event::RunStarted(_)
                | Event::RunResumed(_)
                | Event::AttemptStarted(_)
                | Event::AttemptCut(_)
                | Event::RetryPlanned(_)
                | Event::RunStopped(_) => {}
            }
        }
    }

    #[test]
    fn a_run_ends_exactly_once(script in arbitrary::script()) {
        let mut played = script.play();
        let rest = letters(&played.records).replace("sce", "se").replace("sew", "");
        prop_assert!(["()", "(se)"].contains(&rest.as_str()), "{}", rest);
        let times: Vec<Duration> = played.records.iter().map(|record| record.t).collect();
        prop_assert!(times.is_sorted());
        prop_assert_eq!(played.run.wakeup(), None);
        let history = played.history().clone();
        let later = Time::default().plus(Duration::MAX);
        for input in inputs() {
            prop_assert_eq!(played.run.handle(later, input), []);
        }
        prop_assert_eq!(played.history(), &history);
    }

    #[test]
    fn attempts_are_numbered_and_automatic_ones_stay_within_the_limit(
        script in arbitrary::script(),
    ) {
        let limit = script.policy.retries.limit().unwrap_or(u64::MAX);
        let played = script.play();
        let starts = starts(&played);
        let numbers = starts.iter().map(|(_, start)| start.attempt);
        prop_assert!(numbers.eq(1..=starts.len() as u64));
        let count = |trigger| starts.iter().filter(|(_, start)| start.trigger == trigger).count();
        prop_assert!(longest_count(&played.records) <= limit);
        prop_assert!(count(Trigger::First) <= 1);
        let history = played.history();
        prop_assert_eq!(history.retry_count, count(Trigger::Retry) as u64);
        let all = history.attempts.len() as u64 + history.attempts_omitted;
        prop_assert_eq!(all, starts.len() as u64);
        prop_assert!(history.attempts.len() <= 110);
    }

    #[test]
    fn a_run_that_did_not_succeed_never_exits_0(script in arbitrary::script()) {
        let played = script.exit_codes([]).play();
        let history = played.history();
        let clean = history.last_attempt().is_some_and(|last| {
            last.ended_by == Some(EndedBy::Exit) && last.exit_code == Some(0)
        });
        let lawful = match history.outcome {
            Some(Outcome::Succeeded) => true,
            Some(Outcome::Interrupted) => clean,
            _ => false,
        };
        prop_assert!(lawful || played.exit() != Exit::Code(0), "{}", played.transcript);
        prop_assert_eq!(history.exit_code, Some(played.exit().code()));
    }

    #[test]
    fn nothing_begins_at_the_deadline_or_past_it(script in arbitrary::script()) {
        let deadline = script.policy.deadline;
        let is_early = |moment| deadline.is_none_or(|deadline| moment < deadline);
        let played = script.play();
        for record in &played.records {
            match &record.event {
                Event::AttemptStarted(_) => prop_assert!(is_early(record.t)),
                Event::RetryPlanned(event) => {
                    prop_assert!(is_early(record.t.saturating_add(event.delay)));
                }
                Event::RunStarted(_)
                | Event::RunResumed(_)
                | Event::AttemptCut(_)
                | Event::AttemptEnded(_)
                | Event::RunStopped(_) => {}
            }
        }
    }

    #[test]
    fn no_attempt_outlives_its_limits_and_the_grace(script in arbitrary::wakeful_script()) {
        let policy = script.policy.clone();
        let played = script.play();
        // What does not even die of SIGKILL is given up after five seconds more.
        let to_the_death = policy.kill_after.saturating_add(Duration::from_secs(5));
        for attempt in &played.history().attempts {
            let lasted = attempt.elapsed.expect("all have ended");
            let limit = policy.timeout.unwrap_or(Duration::MAX).saturating_add(to_the_death);
            prop_assert!(lasted <= limit, "{}", played.transcript);
        }
        // And what it left behind is ended.
        let to_the_end = to_the_death.saturating_add(SWEEP);
        let latest = policy.deadline.unwrap_or(Duration::MAX).saturating_add(to_the_end);
        prop_assert!(played.history().elapsed <= latest, "{}", played.transcript);
    }

    #[test]
    fn the_records_give_back_the_history(script in arbitrary::script()) {
        let played = script.play();
        let history = Some(played.history().clone());
        prop_assert_eq!(History::of(&played.records), history.clone());
        let read: Vec<Record> = played.records.iter().map(through_json).collect();
        prop_assert_eq!(&read, &played.records);
        prop_assert_eq!(History::of(&read), history.clone());
        let json = serde_json::to_string(&history).expect("plain data");
        let read: Option<History> = serde_json::from_str(&json).expect("it was just written");
        prop_assert_eq!(serde_json::to_string(&read).expect("plain data"), json);
    }

    #[test]
    fn a_run_that_dies_anywhere_is_gone_on_with(
        script in arbitrary::script(),
        death in any::<Index>(),
        elapsed in arbitrary::duration(),
    ) {
        let mut told = script.clone().play().records;
        // The last one ends it.
        told.truncate(1 + death.index(told.len() - 1));
        let limit = script.policy.retries.limit().unwrap_or(u64::MAX);
        let played = script.go_on(&told, elapsed);
        let before = told.len();
        told.extend(played.records.iter().cloned());
        prop_assert_eq!(History::of(&told), Some(played.history().clone()));
        prop_assert_eq!(letters(&told).matches(')').count(), 1);
        prop_assert!(told.iter().map(|record| record.t).is_sorted());
        let attempts = letters(&told).matches('s').count() as u64;
        prop_assert_eq!(played.history().last_number(), attempts, "none is forgotten");
        prop_assert!(played.history().retries_used <= limit, "{}", played.transcript);
        let resumed = matches!(told.get(before).map(|record| &record.event), Some(Event::RunResumed(_)));
        prop_assert!(resumed);
    }

    #[test]
    fn early_and_double_ticks_change_nothing(script in arbitrary::script()) {
        let calm = script.clone().play();
        // At the end of all time everything is due at once.
        prop_assume!(calm.history().elapsed < Duration::from_secs(1 << 48));
        let fidgety = script.fidgety().play();
        prop_assert_eq!(calm.transcript, fidgety.transcript);
        prop_assert_eq!(calm.records, fidgety.records);
    }

    #[test]
    fn inputs_in_any_order_do_no_harm(
        policy in arbitrary::policy(),
        order in vec((0_u64..9_000, any::<Index>()), 0..60),
    ) {
        let mut run = Script::new([]).policy(|default| *default = policy).run();
        let mut actions = run.handle(Time::default(), Input::Begin);
        for (moment, index) in order {
            // Moments may go back.
            let now = Time::default().plus(Duration::from_millis(moment));
            actions.extend(run.handle(now, index.get(&inputs()).clone()));
        }
        let record = |action| match action {
            Action::Tell(record) => Some(record),
            Action::Start { .. }
            | Action::Kill(_)
            | Action::Hurry
            | Action::Ask(_)
            | Action::Prepare { .. }
            | Action::TakeToken
            | Action::PutBack(_)
            | Action::Sweep { .. }
            | Action::Abandon => None,
        };
        let records: Vec<Record> = actions.into_iter().filter_map(record).collect();
        prop_assert_eq!(History::of(&records), Some(run.history().clone()));
        let letters = letters(&records);
        prop_assert_eq!(letters.matches(')').count(), usize::from(run.exit().is_some()));
        // Only an attempt of which it was told that it has started is cut.
        let cut_after = |pair: &[u8]| pair.ends_with(b"c") && !pair.starts_with(b"s");
        prop_assert!(!letters.as_bytes().windows(2).any(cut_after), "{}", letters);
    }
}
