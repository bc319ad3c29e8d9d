//! Where a run stands, between two inputs.

use std::time::Duration;

use super::Why;
use super::attempt::Attempt;
use super::event::{Outcome, Trigger};
use super::exit::Exit;
use super::judged::Judged;
use super::time::{Time, to_micros};

/// What is waited for.
#[derive(Clone, Debug)]
pub enum State {
    /// Nothing has happened yet.
    Ready,
    /// An attempt was ordered; nobody has said that it runs.
    Starting {
        /// The attempt.
        attempt: Attempt,
        /// What begins it.
        trigger: Trigger,
        /// The wait before it.
        waited: Duration,
    },
    /// It runs.
    Attempting(Attempt),
    /// It has ended, and the user's own command is asked whether to retry.
    Asking(Box<Judged>),
    /// It has ended and is to be retried, and the budget is asked for a token.
    TakingToken(Planned),
    /// Until the next attempt, on the elapsed clock.
    Waiting(Wait),
    /// Something of the user's is done before the next attempt.
    Preparing {
        /// What begins the attempt.
        trigger: Trigger,
        /// The wait before it.
        waited: Duration,
    },
    /// Until what the last attempt left behind has ended; then the run stops.
    Sweeping(Outcome),
    /// It stopped.
    Over(Exit),
}

/// A wait that is planned and not begun.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// What begins the next attempt.
    pub trigger: Trigger,
    /// The number of the retry, or of the successes so far.
    pub retry: u64,
    /// How long it is.
    pub delay: Duration,
    /// Processes that the last attempt left behind.
    pub leftovers: u64,
    /// When it would end past the deadline, should it not have begun before, on the elapsed clock.
    pub too_late: Option<Duration>,
}

/// A wait between two attempts.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// When it began.
    pub since: Duration,
    /// When it ends.
    pub until: Duration,
    /// What begins the next attempt.
    pub trigger: Trigger,
    /// What the last attempt left behind is still being ended.
    pub sweeping: bool,
}

impl State {
    /// How long until something is due, and what; none if only the world can go on.
    #[must_use]
    pub fn wakeup(&self, now: Time) -> Option<(Duration, Why)> {
        match self {
            State::Starting { attempt, .. } | State::Attempting(attempt) => attempt.wakeup(now),
            State::Waiting(wait) => {
                let remaining = wait.until.saturating_sub(now.elapsed);
                // A wait that is over goes on until the sweep is, too.
                let is_due = !(wait.sweeping && remaining.is_zero());
                is_due.then_some((remaining, Why::Delay))
            }
            State::TakingToken(planned) => {
                let too_late = planned.too_late?;
                Some((too_late.saturating_sub(now.elapsed), Why::Deadline))
            }
            State::Ready
            | State::Asking(_)
            | State::Preparing { .. }
            | State::Sweeping(_)
            | State::Over(_) => None,
        }
    }

    /// How much of a wait is spent.
    #[must_use]
    pub fn waited(&self, now: Time) -> Duration {
        match self {
            State::Waiting(Wait { since, until, .. }) => {
                to_micros(now.elapsed.min(*until) - *since)
            }
            State::Ready
            | State::Starting { .. }
            | State::Attempting(_)
            | State::Asking(_)
            | State::TakingToken(_)
            | State::Sweeping(_)
            | State::Over(_) => Duration::ZERO,
            State::Preparing { waited, .. } => *waited,
        }
    }
}
