//! How an attempt ended: part of the vocabulary.
//!
//! What that means is `classify`'s.

use serde::{Deserialize, Serialize};

use super::ExitStatus;
use super::keyword::keywords;
use super::signal::Signal;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ending {
    /// What ended it.
    pub ended_by: EndedBy,
    /// The exit code that it left, 0 to 255.
    pub exit_code: Option<i32>,
    /// The signal that it died of.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub signal: Option<Signal>,
    /// Whether it left a core dump.
    pub core_dumped: bool,
    /// Why it could not be started, as a sentence.
    pub error: Option<String>,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<SpawnErrorKind>,
}

impl Ending {
    /// The ending of a process, which a limit may have cut.
    #[must_use]
    pub fn of(status: ExitStatus, cut: Option<EndedBy>) -> Ending {
        let (by, exit_code, signal, core_dumped) = match status {
            ExitStatus::Code(code) => (EndedBy::Exit, Some(code), None, false),
            ExitStatus::Signal { signal, core_dumped } => {
                (EndedBy::Signal, None, Some(signal), core_dumped)
            }
        };
        let ended_by = cut.unwrap_or(by);
        Ending { ended_by, exit_code, signal, core_dumped, error: None, error_kind: None }
    }

    /// An ending of which nothing is known but what went wrong.
    #[must_use]
    pub fn failed(ended_by: EndedBy, error: String, error_kind: Option<SpawnErrorKind>) -> Ending {
        let error = Some(error);
        Ending { ended_by, exit_code: None, signal: None, core_dumped: false, error, error_kind }
    }
}

keywords! {
    /// What ended an attempt.
    EndedBy {
        /// It exited by itself.
        Exit = "exit",
        /// A signal that is none of ours killed it.
        Signal = "signal",
        /// Its limit.
        Timeout = "timeout",
        /// The limit on its silence.
        IdleTimeout = "idle-timeout",
        /// The limit on the run.
        Deadline = "deadline",
        /// Somebody stopped the run.
        Stop = "stop",
        /// It never began.
        SpawnError = "spawn-error",
        /// We died before it ended.
        Lost = "lost",
    }
}

impl EndedBy {
    /// Whether rules are asked about it: we know how the command ended, or why it did not run.
    #[must_use]
    pub fn is_judged(self) -> bool {
        match self {
            EndedBy::Stop | EndedBy::Lost => false,
            EndedBy::Exit
            | EndedBy::Signal
            | EndedBy::Timeout
            | EndedBy::IdleTimeout
            | EndedBy::Deadline
            | EndedBy::SpawnError => true,
        }
    }

    /// Whether it was our doing.
    #[must_use]
    pub fn is_ours(self) -> bool {
        match self {
            EndedBy::Timeout | EndedBy::IdleTimeout | EndedBy::Deadline | EndedBy::Stop => true,
            EndedBy::Exit | EndedBy::Signal | EndedBy::SpawnError | EndedBy::Lost => false,
        }
    }
}

keywords! {
    /// Why a command could not be started.
    SpawnErrorKind {
        /// There is no such command.
        NotFound = "not-found",
        /// There is, but it cannot be executed.
        NotExecutable = "not-executable",
        /// The system lacks what it takes just now.
        Resources = "resources",
        /// We lack the descriptors that it takes just now.
        Descriptors = "descriptors",
    }
}
