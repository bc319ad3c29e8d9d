//! The vocabulary: everything that happens in a run, as facts in the past tense, and their wire format.
//!
//! Every report is a fold over these; nothing is told in any other way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::ending::{EndedBy, Ending, SpawnErrorKind};
use super::history::History;
use super::keyword::keywords;
use super::signal::Signal;
use super::time::{Timestamp, optional_seconds, seconds};

/// One event with its two stamps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Record {
    /// When it happened, as a label: the run's start by the calendar and the time since then.
    #[cfg_attr(test, schemars(with = "String"))]
    pub at: Timestamp,
    /// Seconds since the run began.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub t: Duration,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A record as it leaves us: a line of the event stream, and what hooks read.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "retryrun.event/1"))]
pub struct Line<'a> {
    /// The version of the format.
    #[cfg_attr(test, schemars(extend("const" = 1)))]
    v: u32,
    /// The run's id.
    run: &'a str,
    #[serde(flatten)]
    record: &'a Record,
}

impl<'a> Line<'a> {
    /// The line for a record of a run.
    #[must_use]
    pub fn new(run: &'a str, record: &'a Record) -> Line<'a> {
        Line { v: 1, run, record }
    }
}

/// The end of a run as hooks read it: the record, with all that the history has. Where both have a fact of one name, the history's is
/// the whole of it.
#[derive(Clone, Debug, Serialize)]
pub struct Closing<'a> {
    v: u32,
    run: &'a str,
    at: Timestamp,
    #[serde(with = "seconds")]
    t: Duration,
    event: &'a str,
    signal: Option<Signal>,
    #[serde(flatten)]
    history: &'a History,
}

impl<'a> Closing<'a> {
    /// The line for the record that ends a run.
    #[must_use]
    pub fn new(record: &'a Record, history: &'a History) -> Closing<'a> {
        let signal = match &record.event {
            Event::RunStopped(stopped) => stopped.signal,
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptStarted(_)
            | Event::AttemptCut(_)
            | Event::AttemptEnded(_)
            | Event::RetryPlanned(_) => None,
        };
        let (run, at, t) = (history.run_id.as_str(), record.at, record.t);
        Closing { v: 1, run, at, t, event: "run_stopped", signal, history }
    }
}

/// What can happen in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began: always the first event.
    RunStarted(Box<RunStarted>),
    /// A new process goes on with the run, whose former one died.
    RunResumed(Box<RunResumed>),
    /// An attempt began.
    AttemptStarted(AttemptStarted),
    /// We began to end an attempt.
    AttemptCut(AttemptCut),
    /// An attempt ended and was judged.
    AttemptEnded(Box<AttemptEnded>),
    /// A wait began.
    RetryPlanned(RetryPlanned),
    /// The run ended: always the last event.
    RunStopped(RunStopped),
}

impl Event {
    /// The names of all kinds on the wire.
    pub const NAMES: [&'static str; 7] = [
        "run_started",
        "run_resumed",
        "attempt_started",
        "attempt_cut",
        "attempt_ended",
        "retry_planned",
        "run_stopped",
    ];
}

/// Who runs what, under which policy. The text in it is fit to be shown: what is to be masked, is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunStarted {
    /// Names this run among all others.
    pub run_id: String,
    /// The name under which its state is kept.
    #[serde(default)]
    pub job: Option<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The folder in which it runs.
    pub cwd: Option<String>,
    /// The machine's name.
    pub host: String,
    /// Our process id.
    pub pid: u32,
    /// Our version.
    pub version: String,
    /// The policy in effect.
    pub policy: PolicySummary,
    /// The limit on retries; null is none.
    pub max_retries: Option<u64>,
}

/// A new process goes on with the run. Its facts are in the place of the former one's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunResumed {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The folder in which it runs.
    pub cwd: Option<String>,
    /// The machine's name.
    pub host: String,
    /// Our process id.
    pub pid: u32,
    /// Our version.
    pub version: String,
    /// The policy in effect.
    pub policy: PolicySummary,
    /// The limit on retries; null is none.
    pub max_retries: Option<u64>,
    /// What differs from before: `command`, `cwd`, `policy`.
    pub changed: Vec<String>,
}

/// The policy as the history shows it. Durations are seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicySummary {
    /// The chosen policy, `none` without one.
    pub name: String,
    /// Where it is defined.
    pub origin: String,
    /// Retries after the first attempt; null is without limit.
    pub retries: Option<u64>,
    /// Shape of the backoff; null where `delays` are written out.
    pub backoff: Option<super::backoff::Shape>,
    /// The first wait; null where `delays` are written out.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub delay: Option<Duration>,
    /// Growth of `exponential`; null where `delays` are written out.
    pub multiplier: Option<f64>,
    /// The waits written out, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delays: Option<Vec<f64>>,
    /// Cap on any wait.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub max_delay: Duration,
    /// Kind of jitter.
    pub jitter: String,
    /// What makes the jitter repeatable.
    pub seed: u64,
    /// Limit on one attempt.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub timeout: Option<Duration>,
    /// Limit on the silence of an attempt.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub idle_timeout: Option<Duration>,
    /// Limit on the run.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub deadline: Option<Duration>,
    /// An attempt that ran at least this long before it failed sets the count of retries to zero.
    #[serde(default, with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub healthy_after: Option<Duration>,
    /// How many successes in a row are needed.
    #[serde(default)]
    pub consecutive: u64,
}

/// An attempt began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AttemptStarted {
    /// Its number, from 1.
    pub attempt: u64,
    /// Why it began.
    pub trigger: Trigger,
    /// The command's process id; null if it could not be started.
    pub pid: Option<u32>,
    /// The time waited before it.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub waited: Duration,
}

/// We began to end an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AttemptCut {
    /// Its number.
    pub attempt: u64,
    /// What for.
    pub ended_by: EndedBy,
    /// From its beginning, as in its ending.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub elapsed: Duration,
    /// The first signal that it was sent.
    #[cfg_attr(test, schemars(with = "String"))]
    pub signal: Signal,
    /// Time until SIGKILL.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub kill_after: Duration,
}

/// An attempt ended and was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AttemptEnded {
    /// Its number.
    pub attempt: u64,
    /// Time from its start.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub elapsed: Duration,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// What the rules said of it.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What it used.
    #[serde(flatten)]
    pub usage: Usage,
    /// Processes that it left behind.
    #[serde(default)]
    pub leftovers: u64,
    /// Whether something still held its output when we stopped listening.
    #[serde(default)]
    pub output_held: bool,
    /// What was kept of what it wrote.
    #[serde(flatten)]
    pub kept: Kept,
}

/// A wait began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RetryPlanned {
    /// The attempt that ended.
    pub attempt: u64,
    /// What follows: a retry, or an attempt that is to confirm a success.
    pub trigger: Trigger,
    /// The number of that retry since the count was last set to zero, from 1; of a confirmation, the successes so far in a row.
    pub retry: u64,
    /// The wait before it.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub delay: Duration,
}

/// The run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunStopped {
    /// How.
    pub outcome: Outcome,
    /// The signal that told us to stop, if one did; SIGPIPE if it was that nobody reads our stdout any more.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub signal: Option<Signal>,
    /// The same in a sentence.
    pub message: String,
    /// Our own exit status, 128 and its number where we die of a signal.
    pub exit_code: i32,
    /// The part of a wait that was spent when the run ended in it.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub waited: Duration,
}

keywords! {
    /// How a run ended.
    Outcome {
        /// With a success.
        Succeeded = "succeeded",
        /// With a failure that will not pass.
        Permanent = "permanent",
        /// With no retry left.
        Exhausted = "exhausted",
        /// At the limit on the whole run.
        Deadline = "deadline",
        /// With nothing left of the budget that it shares.
        Budget = "budget",
        /// With a wait asked for that is longer than any may be.
        RetryAfter = "retry-after",
        /// Somebody stopped it.
        Stopped = "stopped",
        /// By a signal to us.
        Interrupted = "interrupted",
        /// The command could not be started.
        NotStarted = "not-started",
    }
}

keywords! {
    /// Why an attempt began.
    Trigger {
        /// The run's first.
        First = "first",
        /// A retry of ours.
        Retry = "retry",
        /// Somebody asked for it.
        Manual = "manual",
        /// A new process goes on with an unended run.
        Resumed = "resumed",
        /// Another success is needed.
        Consecutive = "consecutive",
    }
}

impl Trigger {
    /// What was planned when this begins: who goes on with a run retries like any other.
    #[must_use]
    pub fn planned(self) -> Trigger {
        match self {
            Trigger::Resumed => Trigger::Retry,
            Trigger::First | Trigger::Retry | Trigger::Manual | Trigger::Consecutive => self,
        }
    }
}

keywords! {
    /// What an ending means for the run.
    Verdict {
        /// The command did what it should.
        Success = "success",
        /// A failure that may pass.
        Transient = "transient",
        /// A failure that will not pass.
        Permanent = "permanent",
    }
}

/// What the rules said of an ending; all null where they were not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Judgement {
    /// Success, transient or permanent.
    pub verdict: Option<Verdict>,
    /// One word.
    pub reason: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Where that rule stands.
    pub rule_origin: Option<String>,
    /// The line of output that decided.
    pub evidence: Option<String>,
}

/// What was kept of what an attempt wrote, fit to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kept {
    /// The end of its stderr, where that was read.
    #[serde(default)]
    pub stderr_tail: Option<String>,
    /// The file that holds its stdout.
    #[serde(default)]
    pub stdout_log: Option<String>,
    /// The file that holds its stderr.
    #[serde(default)]
    pub stderr_log: Option<String>,
}

/// What an attempt used, with the children it waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Usage {
    /// CPU time in user mode; null if it never began.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub cpu_user: Option<Duration>,
    /// CPU time in the kernel.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub cpu_system: Option<Duration>,
    /// Peak resident memory of its largest process, in bytes.
    pub max_rss: Option<u64>,
}
