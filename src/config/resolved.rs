//! What a call comes to: the policy for the engine, and all that is not the engine's business.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::budget::Budget;
use super::name::Name;
use super::report::{Report, ReportWhen};
use super::store::Store;
use super::value::{
    CiChoice, Color, DelayFrom, HistoryWhen, Live, LogFormat, ProcessGroup, StdinMode, StdoutMode,
};
use super::verbosity::Verbosity;
use crate::engine::policy::Policy;

/// Everything that a call comes to.
#[derive(Debug)]
pub struct Resolved {
    /// The policy for the engine.
    pub policy: Policy,
    /// How the command is held.
    pub supervision: Supervision,
    /// What it shares with other runs.
    pub sharing: Sharing,
    /// What is done with its streams.
    pub streaming: Streaming,
    /// How we report.
    pub reporting: Reporting,
    /// What is kept of named runs.
    pub keeping: Keeping,
    /// Every setting in effect, for people; none where nobody is to see them.
    pub rows: Vec<Row>,
    /// What the chosen policy says of itself.
    pub docs: Option<String>,
    /// Which output the rules on text are for.
    pub text_rules: TextRules,
}

/// Which output rules with regular expressions are for. The words are those of `--explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextRules {
    /// There are none: nothing has to be read for rules.
    None,
    /// Any but a terminal: only a policy that the command's words chose asks for it, which must cost a person nothing.
    NoTerminal,
    /// Any.
    All,
}

/// How the command is held.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// Commands of the user's own.
    pub hooks: Hooks,
    /// Whether the command may say what it knows.
    pub hints: bool,
    /// Whether it runs in a locale in which rules on text hold.
    pub c_locale: bool,
    /// Where it stands among the other processes.
    pub process_group: ProcessGroup,
    /// The folder in which each attempt gets a cgroup.
    pub cgroup: Option<PathBuf>,
}

/// What a run shares with others.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The budget that its retries are paid from.
    pub budget: Option<Budget>,
    /// Where machines share it, and where that is said.
    pub store: Option<(Store, String)>,
    /// Whether the run ends where that does not answer.
    pub strict: bool,
}

/// Commands of the user's own, for `sh -c`.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// Asked before a retry.
    pub retry_if: Option<String>,
    /// Run as each wait begins.
    pub on_retry: Option<String>,
    /// Run before each attempt but the first.
    pub before_attempt: Option<String>,
    /// Run after a success.
    pub on_success: Option<String>,
    /// Run when the run ends without success.
    pub on_give_up: Option<String>,
    /// Limit on each of them.
    pub timeout: Option<Duration>,
}

/// What is done with the command's streams.
#[derive(Clone, Debug)]
pub struct Streaming {
    /// What it reads.
    pub stdin: StdinMode,
    /// Where its stdout goes.
    pub stdout: StdoutMode,
    /// The folder for what each attempt writes.
    pub log_dir: Option<PathBuf>,
    /// How a wait that the output asks for is found.
    pub delay_from: Option<DelayFrom>,
    /// How much of the end of stderr is kept; none is not said.
    pub tail: Option<u64>,
    /// Limit on the input that is kept.
    pub spool_limit: Option<u64>,
}

/// How we report.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// When the history is printed.
    pub history: HistoryWhen,
    /// What else is written.
    pub reports: Vec<Report>,
    /// When it is.
    pub report_when: ReportWhen,
    /// Print none of our lines.
    pub quiet: bool,
    /// Print more of them.
    pub verbose: Verbosity,
    /// Their form.
    pub log_format: LogFormat,
    /// Their colours.
    pub color: Color,
    /// When there is a status line.
    pub live: Live,
    /// Which CI system is spoken to.
    pub ci: CiChoice,
}

/// What is kept of named runs.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The name of this one.
    pub job: Option<Name>,
    /// How many ended ones are kept.
    pub runs: u64,
    /// How long.
    pub time: Duration,
}

/// A setting in effect.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its key.
    pub name: &'static str,
    /// Its value; durations are seconds.
    pub value: Value,
    /// Where it is from.
    pub origin: String,
    /// Its value for people.
    #[serde(skip)]
    pub text: String,
}
