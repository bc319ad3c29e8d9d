//! What follows an attempt: a retry, a confirmation, or the end of the run.
//!
//! What is told of it is `run`'s.

use std::time::Duration;

use super::event::{EndedBy, Outcome, Verdict};
use super::history::History;
use super::judged::Judged;
use super::policy::Policy;
use super::time::to_micros;

/// All that it depends on, besides what the rules say.
pub struct Standing<'a> {
    /// What the run keeps to.
    pub policy: &'a Policy,
    /// What happened so far, the attempt that ended included.
    pub history: &'a History,
    /// Time since the run began.
    pub elapsed: Duration,
    /// How the attempt ended.
    pub ended_by: Option<EndedBy>,
    /// Whether a signal told us to stop.
    pub is_told: bool,
    /// Whether somebody stopped the run.
    pub is_stopped: bool,
    /// Whether we failed ourselves.
    pub has_failed: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The end of the run.
    Stop(Outcome),
    /// A retry.
    Retry {
        /// Retries before it that count.
        used: u64,
        /// The wait before it.
        delay: Duration,
    },
    /// Another attempt, to confirm a success.
    Confirm {
        /// The wait before it.
        delay: Duration,
    },
}

impl Standing<'_> {
    /// What follows an attempt.
    #[must_use]
    pub fn next(&self, judged: &Judged) -> Next {
        if self.is_told {
            return Next::Stop(Outcome::Interrupted);
        }
        match judged.ruling.judgement.verdict {
            _ if self.has_failed => Next::Stop(Outcome::Permanent),
            Some(Verdict::Success) if self.history.successes >= self.policy.consecutive => {
                Next::Stop(Outcome::Succeeded)
            }
            _ if self.is_stopped => Next::Stop(Outcome::Stopped),
            Some(Verdict::Success) => {
                let delay = to_micros(self.policy.backoff.first());
                self.within_the_deadline(delay, Next::Confirm { delay })
            }
            _ if self.ended_by == Some(EndedBy::Deadline) => Next::Stop(Outcome::Deadline),
            Some(Verdict::Permanent) if self.ended_by == Some(EndedBy::SpawnError) => {
                Next::Stop(Outcome::NotStarted)
            }
            Some(Verdict::Permanent) => Next::Stop(Outcome::Permanent),
            Some(Verdict::Transient) | None => self.retry(judged),
        }
    }

    /// A retry, if one is left and its wait is one that may be.
    fn retry(&self, judged: &Judged) -> Next {
        let (used, of_rule) = match judged.is_healthy {
            true => (0, 0),
            false => (self.history.retries_used, self.of_the_last_rule()),
        };
        let is_within = judged.ruling.limit.is_none_or(|limit| of_rule < limit);
        if !(is_within && self.policy.retries.allow_after(used)) {
            return Next::Stop(Outcome::Exhausted);
        }
        let backoff = &self.policy.backoff;
        let asked = judged.retry_after.unwrap_or_default();
        if asked > backoff.max_delay {
            // Earlier than the server asks for is never right, and later than the user wants is too late.
            return Next::Stop(Outcome::RetryAfter);
        }
        let previous = self.history.previous_delay.filter(|_| used > 0);
        let planned = match judged.ruling.delay {
            Some(delay) => delay.min(backoff.max_delay),
            None => backoff.delay(used, previous),
        };
        let delay = to_micros(planned.max(asked));
        self.within_the_deadline(delay, Next::Retry { used, delay })
    }

    /// How many of the retries that count the rule has ordered that decided the attempt.
    fn of_the_last_rule(&self) -> u64 {
        self.history.last_attempt().map_or(0, |last| self.history.retries_by_rule.of(last))
    }

    /// A wait that would end past the deadline is not begun. Equal is too late as well: nothing may start at the deadline.
    fn within_the_deadline(&self, delay: Duration, next: Next) -> Next {
        let ends = self.elapsed.saturating_add(delay);
        match self.policy.deadline.is_some_and(|deadline| ends >= deadline) {
            true => Next::Stop(Outcome::Deadline),
            false => next,
        }
    }
}
