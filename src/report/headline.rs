//! What is said of a run or an attempt before all else: how good that is, and a word for it.
//!
//! The one place that gives outcomes and verdicts their colour; which colours these are is each report's own.

use crate::engine::event::{Outcome, Verdict};
use crate::engine::history::{Attempt, History};
use crate::engine::time::human;

/// How good something is, which reports show as a colour and never as that alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not as it should be, and that may pass or has passed.
    Doubtful,
    /// A failure.
    Bad,
    /// Somebody's wish: neither good nor bad.
    Neutral,
    /// Not over.
    Running,
}

impl Tone {
    /// Of a run.
    #[must_use]
    pub fn of_run(history: &History) -> Tone {
        match history.outcome {
            None => Tone::Running,
            Some(Outcome::Succeeded) if history.flaky => Tone::Doubtful,
            Some(Outcome::Succeeded) => Tone::Good,
            Some(
                Outcome::Permanent
                | Outcome::Exhausted
                | Outcome::Deadline
                | Outcome::Budget
                | Outcome::RetryAfter
                | Outcome::NotStarted,
            ) => Tone::Bad,
            Some(Outcome::Stopped | Outcome::Interrupted) => Tone::Neutral,
        }
    }

    /// Of an attempt.
    #[must_use]
    pub fn of_attempt(attempt: &Attempt) -> Tone {
        match attempt.verdict {
            Some(Verdict::Success) => Tone::Good,
            Some(Verdict::Transient) => Tone::Doubtful,
            Some(Verdict::Permanent) => Tone::Bad,
            None if attempt.ended_by.is_none() => Tone::Running,
            None => Tone::Neutral,
        }
    }

    /// A sign for it, which says the same without a colour.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Tone::Good => "✓",
            Tone::Doubtful => "↻",
            Tone::Bad => "✕",
            Tone::Neutral => "■",
            Tone::Running => "…",
        }
    }
}

/// How a run ended, in one word or two.
#[must_use]
pub fn outcome(history: &History) -> &'static str {
    match history.outcome {
        None if is_waiting(history) => "waiting",
        None => "running",
        Some(Outcome::Succeeded) if history.flaky => "succeeded, flaky",
        Some(outcome) => outcome.name(),
    }
}

/// How a run ended, or where it stands, in a sentence.
#[must_use]
pub fn sentence(history: &History) -> String {
    if let Some(message) = &history.message {
        return message.clone();
    }
    match history.last_attempt() {
        None => "no attempt has begun".to_owned(),
        Some(last) if last.ended_by.is_none() => format!("attempt {} is running", last.attempt),
        Some(last) => match last.next_delay {
            Some(delay) => {
                let next = last.attempt.saturating_add(1);
                format!("waiting {} for attempt {next}", human(delay))
            }
            None => format!("attempt {} has ended: {}", last.attempt, last.ending()),
        },
    }
}

fn is_waiting(history: &History) -> bool {
    history.last_attempt().is_some_and(|last| last.next_delay.is_some())
}

/// What an ending was taken for; none while there is no ending.
#[must_use]
pub fn verdict(attempt: &Attempt) -> Option<&'static str> {
    attempt.ended_by?;
    Some(attempt.verdict.map_or("not judged", Verdict::name))
}

/// Why it was taken for that, where it is more than the same word.
#[must_use]
pub fn reason(attempt: &Attempt) -> Option<&str> {
    let reason = attempt.reason.as_deref()?;
    let is_more = Some(reason) != attempt.verdict.map(Verdict::name) && !reason.is_empty();
    is_more.then_some(reason)
}

/// How many attempts there were, e.g. `1 attempt`.
#[must_use]
pub fn attempts(count: u64) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}
