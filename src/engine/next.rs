//! What follows an attempt: a retry, a confirmation, or the end of the run.
//!
//! How long is waited, and what is told, is `run`'s.

use super::classify::Ruling;
use super::event::{EndedBy, Outcome, Verdict};
use super::history::History;
use super::policy::Policy;

/// All that it depends on, besides what the rules say.
pub struct Standing<'a> {
    /// What the run keeps to.
    pub policy: &'a Policy,
    /// What happened so far, the attempt that ended included.
    pub history: &'a History,
    /// How that ended.
    pub ended_by: Option<EndedBy>,
    /// Whether somebody told us to stop.
    pub is_told: bool,
    /// Whether we failed ourselves.
    pub has_failed: bool,
    /// Whether there can be no other attempt, since its input is gone.
    pub input_is_lost: bool,
    /// Whether the attempt ran for so long that the count begins anew.
    pub is_healthy: bool,
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
    },
    /// Another attempt, to confirm a success.
    Confirm,
}

impl Standing<'_> {
    /// What follows.
    #[must_use]
    pub fn next(&self, ruling: &Ruling) -> Next {
        if self.is_told {
            return Next::Stop(Outcome::Interrupted);
        }
        match ruling.judgement.verdict {
            _ if self.has_failed => Next::Stop(Outcome::Permanent),
            Some(Verdict::Success) if self.history.successes < self.policy.consecutive => {
                if self.input_is_lost {
                    return Next::Stop(Outcome::Permanent);
                }
                Next::Confirm
            }
            Some(Verdict::Success) => Next::Stop(Outcome::Succeeded),
            _ if self.ended_by == Some(EndedBy::Deadline) => Next::Stop(Outcome::Deadline),
            Some(Verdict::Permanent) if self.ended_by == Some(EndedBy::SpawnError) => {
                Next::Stop(Outcome::NotStarted)
            }
            Some(Verdict::Permanent) => Next::Stop(Outcome::Permanent),
            Some(Verdict::Transient) | None => {
                let (used, of_rule) = match self.is_healthy {
                    true => (0, 0),
                    false => (self.history.retries_used, self.history.rule_retries),
                };
                let is_within = ruling.limit.is_none_or(|limit| of_rule < limit);
                match is_within && self.policy.retries.allow_after(used) {
                    true => Next::Retry { used },
                    false => Next::Stop(Outcome::Exhausted),
                }
            }
        }
    }
}
