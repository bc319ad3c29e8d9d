//! Our own exit status: what each outcome of a run comes to, and what the user put in its place.
//!
//! Dying of a signal is `unix`'s; here it is only decided.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::event::{EndedBy, Ending, Outcome, SpawnErrorKind};
use super::keyword::{self, Keyword, keywords};
use super::signal::Signal;

/// How we end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By exiting with a status, 0 to 255.
    Code(u8),
    /// By dying of the signal.
    Signal(Signal),
}

impl Exit {
    /// The last attempt was ended by a limit; the same number as `timeout` of GNU coreutils.
    pub const TIMED_OUT: Exit = Exit::Code(124);
    /// retryrun itself failed.
    pub const FAILED: Exit = Exit::Code(125);
    /// Somebody stopped the run, and the last attempt with it: as if by SIGTERM.
    pub const STOPPED: Exit = Exit::Code(143);
    /// The command could not be started.
    pub const NOT_EXECUTABLE: Exit = Exit::Code(126);
    /// There is no such command.
    pub const NOT_FOUND: Exit = Exit::Code(127);

    /// What a shell sees in `$?`.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => i32::from(code),
            Exit::Signal(signal) => signal.exit_code(),
        }
    }
}

keywords! {
    /// What a status can be replaced for.
    Why {
        /// Success, but not at the first attempt.
        Flaky = "flaky",
        /// As the outcome.
        Permanent = "permanent",
        /// As the outcome.
        Exhausted = "exhausted",
        /// As the outcome.
        Deadline = "deadline",
        /// As the outcome.
        Budget = "budget",
        /// As the outcome.
        RetryAfter = "retry-after",
        /// As the outcome.
        Stopped = "stopped",
        /// As the outcome.
        Interrupted = "interrupted",
        /// As the outcome.
        NotStarted = "not-started",
        /// The last attempt was ended by a limit, whatever the outcome.
        Timeout = "timeout",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replacement {
    Code(u8),
    Same,
}

/// One replacement: `WHY=N` or `WHY=same`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode {
    why: Why,
    status: Replacement,
}

impl FromStr for ExitCode {
    type Err = String;

    fn from_str(text: &str) -> Result<ExitCode, String> {
        let (why, status) =
            text.split_once('=').ok_or("expected WHY=N, e.g. `timeout=75`, or WHY=same")?;
        let status = match status {
            "same" => Replacement::Same,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Replacement::Code(digits.parse().map_err(|_| EXPECTED_STATUS)?)
            }
            _ => return Err(EXPECTED_STATUS.into()),
        };
        let why = why
            .parse()
            .map_err(|_| format!("before the `=`, {}", keyword::expected(why, Why::NAMES)))?;
        Ok(ExitCode { why, status })
    }
}

const EXPECTED_STATUS: &str = "expected a status from 0 to 255 or `same` after the `=`";

impl std::fmt::Display for ExitCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Replacement::Code(code) => write!(f, "{}={code}", self.why),
            Replacement::Same => write!(f, "{}=same", self.why),
        }
    }
}

/// All replacements of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitCodes(BTreeMap<Why, Replacement>);

impl FromIterator<ExitCode> for ExitCodes {
    /// Of two for the same reason the last counts.
    fn from_iter<I: IntoIterator<Item = ExitCode>>(codes: I) -> ExitCodes {
        ExitCodes(codes.into_iter().map(|code| (code.why, code.status)).collect())
    }
}

/// What the exit status of a run depends on.
#[derive(Clone, Copy, Debug)]
pub struct Stop<'a> {
    /// How the run ended.
    pub outcome: Outcome,
    /// Whether it succeeded, but not at once.
    pub flaky: bool,
    /// How its last attempt ended, if there was one.
    pub last: Option<&'a Ending>,
    /// The signal that told us to stop, if one did.
    pub told: Option<Signal>,
    /// Whether the last attempt was running when we were told.
    pub told_in_attempt: bool,
    /// Whether it was we who failed.
    pub failed: bool,
}

impl ExitCodes {
    /// Our exit status: the replacement for the outcome, else the one for a timeout, else the ordinary one.
    #[must_use]
    pub fn exit(&self, stop: Stop<'_>) -> Exit {
        if stop.failed {
            // Whatever the command left is not known, or not what it would have left.
            return Exit::FAILED;
        }
        match self.replacement(stop) {
            Some(Replacement::Code(code)) => Exit::Code(code),
            Some(Replacement::Same) => stop.last.map_or_else(|| ordinary(stop), left),
            None => ordinary(stop),
        }
    }

    fn replacement(&self, stop: Stop<'_>) -> Option<Replacement> {
        let of = |why| self.0.get(&why).copied();
        let outcome = match stop.outcome {
            Outcome::Succeeded if stop.flaky => return of(Why::Flaky),
            Outcome::Succeeded => return None,
            Outcome::Permanent => Why::Permanent,
            Outcome::Exhausted => Why::Exhausted,
            Outcome::Deadline => Why::Deadline,
            Outcome::Budget => Why::Budget,
            Outcome::RetryAfter => Why::RetryAfter,
            Outcome::Stopped => Why::Stopped,
            Outcome::Interrupted => Why::Interrupted,
            Outcome::NotStarted => Why::NotStarted,
        };
        let timed_out = stop.last.is_some_and(is_timed_out);
        of(outcome).or_else(|| of(Why::Timeout).filter(|_| timed_out))
    }
}

fn is_timed_out(ending: &Ending) -> bool {
    matches!(ending.ended_by, EndedBy::Timeout | EndedBy::IdleTimeout | EndedBy::Deadline)
}

fn ordinary(stop: Stop<'_>) -> Exit {
    match (stop.outcome, stop.last) {
        (Outcome::Succeeded, _) => Exit::Code(0),
        (Outcome::Interrupted, last) => {
            let by_itself =
                last.filter(|last| stop.told_in_attempt && last.ended_by == EndedBy::Exit);
            match (by_itself, stop.told) {
                (Some(last), _) => left(last),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::FAILED,
            }
        }
        (Outcome::Stopped, last) if last.is_none_or(|last| last.ended_by == EndedBy::Stop) => {
            Exit::STOPPED
        }
        // The deadline had passed before there was anything to end.
        (_, None) => Exit::TIMED_OUT,
        (_, Some(last)) if is_timed_out(last) => Exit::TIMED_OUT,
        (_, Some(last)) => match left(last) {
            Exit::Code(0) => Exit::Code(1),
            exit => exit,
        },
    }
}

/// The status that the command itself left.
fn left(ending: &Ending) -> Exit {
    if let Some(signal) = ending.signal {
        return Exit::Signal(signal);
    }
    if let Some(code) = ending.exit_code {
        return u8::try_from(code).map_or(Exit::FAILED, Exit::Code);
    }
    match ending.error_kind {
        Some(SpawnErrorKind::NotFound) => Exit::NOT_FOUND,
        Some(SpawnErrorKind::NotExecutable | SpawnErrorKind::Resources) => Exit::NOT_EXECUTABLE,
        // It is we who lack them; or we do not know how it ended.
        Some(SpawnErrorKind::Descriptors) | None => Exit::FAILED,
    }
}
