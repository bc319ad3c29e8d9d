//! The policy of a run: complete and checked, nothing left to decide.
//!
//! Where its values came from is `config`'s.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::backoff::{Backoff, Waits};
use super::classify::Rules;
use super::event::PolicySummary;
use super::exit::ExitCodes;
use super::keyword::{did_you_mean, keywords};
use super::signal::Signal;
use super::time::to_micros;

/// A limit on retries after the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// So many; 0 is a single attempt.
    Limited(u64),
    /// No limit.
    Unlimited,
}

impl Retries {
    /// Whether another retry may follow after `count` of them.
    #[must_use]
    pub fn allow_after(self, count: u64) -> bool {
        match self {
            Retries::Limited(limit) => count < limit,
            Retries::Unlimited => true,
        }
    }

    /// The number; none is without limit.
    #[must_use]
    pub fn limit(self) -> Option<u64> {
        match self {
            Retries::Limited(limit) => Some(limit),
            Retries::Unlimited => None,
        }
    }
}

impl fmt::Display for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retries::Limited(limit) => limit.fmt(f),
            Retries::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl FromStr for Retries {
    type Err = String;

    fn from_str(text: &str) -> Result<Retries, String> {
        match text {
            "unlimited" | "inf" => Ok(Retries::Unlimited),
            _ => count(text).map(Retries::Limited).ok_or_else(|| {
                let hint = did_you_mean(text, ["unlimited"].into_iter());
                format!("expected a whole number of retries, 0 or more, or `unlimited`{hint}")
            }),
        }
    }
}

/// The same limit counted with the first attempt: at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(Retries);

impl Attempts {
    /// The retries after the first attempt.
    #[must_use]
    pub fn retries(self) -> Retries {
        self.0
    }
}

impl FromStr for Attempts {
    type Err = String;

    fn from_str(text: &str) -> Result<Attempts, String> {
        let retries = match text {
            "unlimited" | "inf" => Some(Retries::Unlimited),
            _ => count(text).and_then(|attempts| attempts.checked_sub(1)).map(Retries::Limited),
        };
        retries.map(Attempts).ok_or_else(|| {
            let hint = did_you_mean(text, ["unlimited"].into_iter());
            format!("expected a whole number of attempts, 1 or more, or `unlimited`{hint}")
        })
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Retries::Limited(limit) => limit.saturating_add(1).fmt(f),
            Retries::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// A whole number in digits alone: no sign, no spaces.
fn count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// How many successes in a row are needed: at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Consecutive(pub u64);

impl FromStr for Consecutive {
    type Err = String;

    fn from_str(text: &str) -> Result<Consecutive, String> {
        let expected = "expected a whole number of successes, 1 or more";
        count(text).filter(|count| *count > 0).map(Consecutive).ok_or_else(|| expected.into())
    }
}

impl fmt::Display for Consecutive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

keywords! {
    /// What becomes of processes that an attempt leaves behind.
    Leftovers {
        /// Before the next attempt, what stayed in the attempt's session is ended.
        Auto = "auto",
        /// They are left alone.
        Keep = "keep",
        /// All are ended, also after the last attempt.
        Kill = "kill",
    }
}

/// Everything that decides about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The chosen policy, `none` without one.
    pub name: String,
    /// Where that is defined.
    pub origin: String,
    /// Limit on retries.
    pub retries: Retries,
    /// The waits.
    pub backoff: Backoff,
    /// Limit on one attempt.
    pub timeout: Option<Duration>,
    /// Limit on the silence of an attempt.
    pub idle_timeout: Option<Duration>,
    /// Limit on the whole run.
    pub deadline: Option<Duration>,
    /// An attempt that ran at least this long before it failed sets the count of retries, and so the backoff, to zero.
    pub healthy_after: Option<Duration>,
    /// How many successes in a row are needed; at least 1.
    pub consecutive: u64,
    /// What becomes of processes that an attempt leaves behind.
    pub leftovers: Leftovers,
    /// Grace between the stop signal and SIGKILL; zero is SIGKILL at once.
    pub kill_after: Duration,
    /// What ends an attempt first.
    pub stop_signal: Signal,
    /// What an ending means.
    pub rules: Rules,
    /// Where it says that the user's own command is asked before a retry, if it is.
    pub retry_if: Option<String>,
    /// Whether something of the user's is done before each attempt but the first.
    pub before_attempt: bool,
    /// The name of the budget that retries are paid from, fit to be shown.
    pub budget: Option<String>,
    /// Exit statuses that replace the ordinary ones.
    pub exit_codes: ExitCodes,
}

impl Policy {
    /// Whether it decides as another one, wherever the values of both are from. The seed of chance is no decision.
    #[must_use]
    pub fn decides_as(&self, other: &Policy) -> bool {
        self.without_origins() == other.without_origins()
    }

    fn without_origins(&self) -> Policy {
        let mut policy = self.clone();
        policy.origin.clear();
        policy.backoff.seed = 0;
        policy.rules = self.rules.without_origins();
        policy.retry_if = self.retry_if.as_ref().map(|_| String::new());
        policy
    }

    /// The policy as the history shows it, in the history's precision.
    #[must_use]
    pub fn summary(&self) -> PolicySummary {
        let (shape, delay, multiplier, delays) = match &self.backoff.waits {
            Waits::Grown { shape, delay, multiplier } => {
                (Some(*shape), Some(to_micros(*delay)), Some(*multiplier), None)
            }
            Waits::Listed(delays) => {
                (None, None, None, Some(delays.iter().map(Duration::as_secs_f64).collect()))
            }
        };
        PolicySummary {
            name: self.name.clone(),
            origin: self.origin.clone(),
            retries: self.retries.limit(),
            backoff: shape,
            delay,
            multiplier,
            delays,
            max_delay: to_micros(self.backoff.max_delay),
            jitter: self.backoff.jitter.to_string(),
            seed: self.backoff.seed,
            timeout: self.timeout.map(to_micros),
            idle_timeout: self.idle_timeout.map(to_micros),
            deadline: self.deadline.map(to_micros),
            healthy_after: self.healthy_after.map(to_micros),
            consecutive: self.consecutive,
        }
    }
}
