//! The history of a run: its events, added up. Reports and the engine itself read it.
//!
//! It changes only by [`History::apply`]: so the records of a run give back the same history.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{
    AttemptEnded, AttemptStarted, EndedBy, Event, Outcome, PolicySummary, Record, RetryPlanned,
    RunResumed, RunStarted, RunStopped, Trigger, Verdict,
};
use super::signal::Signal;
use super::tally::Tally;
use super::time::{Timestamp, human_measured, optional_seconds, seconds, to_micros};

/// How many attempts are kept from the beginning of a run.
const FIRST_KEPT: usize = 10;
/// How many are kept from its end.
const LAST_KEPT: usize = 100;
/// The version of the wire format; later versions only add fields.
const SCHEMA: &str = "retryrun.history/1";

/// What happened in a run. Durations are seconds, times are RFC 3339 in UTC, absent facts are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "retryrun.history/1"))]
pub struct History {
    /// `retryrun.history/1`
    pub schema: String,
    /// Names this run among all others.
    pub run_id: String,
    /// The name under which its state is kept.
    pub job: Option<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The folder in which it runs.
    pub cwd: Option<String>,
    /// The machine's name.
    pub host: String,
    /// Process id of retryrun.
    pub pid: u32,
    /// Version of retryrun.
    pub version: String,
    /// The policy in effect.
    pub policy: PolicySummary,
    /// When the run began.
    #[cfg_attr(test, schemars(with = "String"))]
    pub started_at: Timestamp,
    /// When it ended.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ended_at: Option<Timestamp>,
    /// How long it lasted.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub elapsed: Duration,
    /// How it ended; null while it lasts.
    pub outcome: Option<Outcome>,
    /// True if it succeeded, but not at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// How it ended, in a sentence.
    pub message: Option<String>,
    /// Our own exit status; 128 and its number where we die of a signal.
    pub exit_code: Option<i32>,
    /// Automatic retries so far.
    pub retry_count: u64,
    /// The limit on them; null is none.
    pub max_retries: Option<u64>,
    /// When the last of them began.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub last_retry_at: Option<Timestamp>,
    /// Time spent in waits between attempts.
    #[serde(with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub waited: Duration,
    /// The attempts: the first 10 and the last 100.
    pub attempts: Vec<Attempt>,
    /// How many were left out between them.
    pub attempts_omitted: u64,
    /// Automatic retries since the count was last set to zero.
    #[serde(skip)]
    pub retries_used: u64,
    /// Those of them that each rule ordered.
    #[serde(skip)]
    pub retries_by_rule: Tally,
    /// The wait before the last of them.
    #[serde(skip)]
    pub previous_delay: Option<Duration>,
    /// Successes in a row, up to now.
    #[serde(skip)]
    pub successes: u64,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u64,
    /// Why it began.
    pub trigger: Trigger,
    /// The command's process id; null if it could not be started.
    pub pid: Option<u32>,
    /// When it began.
    #[cfg_attr(test, schemars(with = "String"))]
    pub started_at: Timestamp,
    /// How long it lasted; null while it does.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub elapsed: Option<Duration>,
    /// What ended it; null while it runs.
    pub ended_by: Option<EndedBy>,
    /// The exit code that it left.
    pub exit_code: Option<i32>,
    /// The signal that it died of.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub signal: Option<Signal>,
    /// Whether it left a core dump.
    pub core_dumped: bool,
    /// Why it could not be started.
    pub error: Option<String>,
    /// Success, transient or permanent; null where nothing was judged.
    pub verdict: Option<Verdict>,
    /// The verdict's reason, one word.
    pub reason: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Where that rule stands.
    pub rule_origin: Option<String>,
    /// The line of output that decided.
    pub evidence: Option<String>,
    /// CPU time in user mode.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub cpu_user: Option<Duration>,
    /// CPU time in the kernel.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub cpu_system: Option<Duration>,
    /// Peak resident memory of its largest process, in bytes.
    pub max_rss: Option<u64>,
    /// The end of its stderr, where that is kept.
    pub stderr_tail: Option<String>,
    /// The file that holds its stdout.
    pub stdout_log: Option<String>,
    /// The file that holds its stderr.
    pub stderr_log: Option<String>,
    /// Processes that it left behind.
    #[serde(default)]
    pub leftovers: u64,
    /// Whether something still held its output when we stopped listening: what it wrote later is not known.
    #[serde(default)]
    pub output_held: bool,
    /// The wait that was planned after it.
    #[serde(with = "optional_seconds")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub next_delay: Option<Duration>,
}

/// A history with what it does not show, to be gone on with where its records are not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condensed {
    history: History,
    retries_used: u64,
    #[serde(default)]
    retries_by_rule: Tally,
    #[serde(with = "optional_seconds")]
    previous_delay: Option<Duration>,
    successes: u64,
}

impl From<&History> for Condensed {
    fn from(history: &History) -> Condensed {
        let History { retries_used, previous_delay, successes, .. } = *history;
        let retries_by_rule = history.retries_by_rule.clone();
        let history = history.clone();
        Condensed { history, retries_used, retries_by_rule, previous_delay, successes }
    }
}

impl From<Condensed> for History {
    fn from(condensed: Condensed) -> History {
        let Condensed { history, retries_used, retries_by_rule, previous_delay, successes } =
            condensed;
        History { retries_used, retries_by_rule, previous_delay, successes, ..history }
    }
}

impl History {
    /// The history of a run that just began.
    #[must_use]
    pub fn new(started_at: Timestamp, run: RunStarted) -> History {
        History {
            schema: SCHEMA.to_owned(),
            run_id: run.run_id,
            job: run.job,
            command: run.command,
            cwd: run.cwd,
            host: run.host,
            pid: run.pid,
            version: run.version,
            policy: run.policy,
            started_at,
            ended_at: None,
            elapsed: Duration::ZERO,
            outcome: None,
            flaky: false,
            message: None,
            exit_code: None,
            retry_count: 0,
            max_retries: run.max_retries,
            last_retry_at: None,
            waited: Duration::ZERO,
            attempts: Vec::new(),
            attempts_omitted: 0,
            retries_used: 0,
            retries_by_rule: Tally::default(),
            previous_delay: None,
            successes: 0,
        }
    }

    /// The history that the records of a run add up to; none if they do not begin with its start.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<History> {
        let mut records = records.into_iter();
        let first = records.next()?;
        let Event::RunStarted(run) = &first.event else {
            return None;
        };
        let mut history = History::new(first.at, (**run).clone());
        records.for_each(|record| history.apply(record));
        Some(history)
    }

    /// Adds what happened next.
    pub fn apply(&mut self, record: &Record) {
        match &record.event {
            // Only the first event of a run, and already in it.
            Event::RunStarted(_) | Event::AttemptCut(_) => {}
            Event::RunResumed(event) => self.run_resumed(event),
            Event::AttemptStarted(event) => self.attempt_started(record, event),
            Event::AttemptEnded(event) => self.attempt_ended(event),
            Event::RetryPlanned(event) => self.retry_planned(event),
            Event::RunStopped(event) => self.run_stopped(record, event),
        }
    }

    /// Whether it is known what the run was to do: not where the record of its start is damaged.
    #[must_use]
    pub fn start_is_known(&self) -> bool {
        !self.command.is_empty()
    }

    /// The attempt that runs or ended last.
    #[must_use]
    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// How many attempts there can be at most, by the limit on retries, as seen from the attempt that runs or ended last; none is
    /// without limit.
    ///
    /// Attempts that do not count against the limit raise it: those that somebody asked for, and those before the count was set to
    /// zero.
    #[must_use]
    pub fn max_attempts(&self) -> Option<u64> {
        let retries = self.max_retries?.saturating_sub(self.retries_used);
        let needed = self.policy.consecutive.max(1);
        // Each retry may begin a row of successes that breaks at its end.
        let rows = retries.saturating_mul(needed);
        let this_row = match self.last_attempt() {
            Some(last) if last.elapsed.is_none() => {
                needed.saturating_sub(self.successes.saturating_add(1))
            }
            Some(_) if self.successes == 0 => 0,
            Some(_) | None => needed.saturating_sub(self.successes),
        };
        Some(self.last_number().saturating_add(rows).saturating_add(this_row))
    }

    /// The same, as seen from an attempt that is about to begin.
    #[must_use]
    pub fn max_attempts_with_next(&self, trigger: Trigger) -> Option<u64> {
        let is_extra = trigger == Trigger::Manual && self.has_failed() && self.successes == 0;
        let more = if is_extra { self.policy.consecutive.max(1) } else { 0 };
        Some(self.max_attempts()?.saturating_add(more))
    }

    fn run_resumed(&mut self, event: &RunResumed) {
        self.command.clone_from(&event.command);
        self.cwd.clone_from(&event.cwd);
        self.host.clone_from(&event.host);
        self.version.clone_from(&event.version);
        self.policy.clone_from(&event.policy);
        self.pid = event.pid;
        self.max_retries = event.max_retries;
    }

    fn attempt_started(&mut self, record: &Record, event: &AttemptStarted) {
        self.waited = to_micros(self.waited.saturating_add(event.waited));
        let goes_on_after_a_failure =
            event.trigger == Trigger::Resumed && self.has_failed() && self.successes == 0;
        if event.trigger == Trigger::Retry || goes_on_after_a_failure {
            // A journal can be damaged so that it says any number.
            for count in [&mut self.retry_count, &mut self.retries_used] {
                *count = count.saturating_add(1);
            }
            if let Some(failed) = self.attempts.last() {
                self.retries_by_rule.count(failed);
            }
            self.last_retry_at = Some(record.at);
        }
        if self.attempts.len() == FIRST_KEPT + LAST_KEPT {
            self.attempts.remove(FIRST_KEPT);
            self.attempts_omitted = self.attempts_omitted.saturating_add(1);
        }
        self.attempts.push(Attempt {
            attempt: event.attempt,
            trigger: event.trigger,
            pid: event.pid,
            started_at: record.at,
            elapsed: None,
            ended_by: None,
            exit_code: None,
            signal: None,
            core_dumped: false,
            error: None,
            verdict: None,
            reason: None,
            rule: None,
            rule_origin: None,
            evidence: None,
            cpu_user: None,
            cpu_system: None,
            max_rss: None,
            stderr_tail: None,
            stdout_log: None,
            stderr_log: None,
            leftovers: 0,
            output_held: false,
            next_delay: None,
        });
    }

    fn attempt_ended(&mut self, event: &AttemptEnded) {
        let Some(attempt) = self.attempts.last_mut() else {
            return;
        };
        let is_success = event.judgement.verdict == Some(Verdict::Success);
        self.successes = if is_success { self.successes.saturating_add(1) } else { 0 };
        attempt.elapsed = Some(event.elapsed);
        attempt.ended_by = Some(event.ending.ended_by);
        attempt.exit_code = event.ending.exit_code;
        attempt.signal = event.ending.signal;
        attempt.core_dumped = event.ending.core_dumped;
        attempt.error.clone_from(&event.ending.error);
        attempt.verdict = event.judgement.verdict;
        attempt.reason.clone_from(&event.judgement.reason);
        attempt.rule.clone_from(&event.judgement.rule);
        attempt.rule_origin.clone_from(&event.judgement.rule_origin);
        attempt.evidence.clone_from(&event.judgement.evidence);
        attempt.cpu_user = event.usage.cpu_user;
        attempt.cpu_system = event.usage.cpu_system;
        attempt.max_rss = event.usage.max_rss;
        attempt.leftovers = event.leftovers;
        attempt.output_held = event.output_held;
        attempt.stderr_tail.clone_from(&event.kept.stderr_tail);
        attempt.stdout_log.clone_from(&event.kept.stdout_log);
        attempt.stderr_log.clone_from(&event.kept.stderr_log);
    }

    fn retry_planned(&mut self, event: &RetryPlanned) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.next_delay = Some(event.delay);
        }
        if event.trigger == Trigger::Retry {
            // The first of a new count, where an attempt that was healthy for long enough has set it to zero.
            self.retries_used = event.retry.saturating_sub(1);
            if self.retries_used == 0 {
                self.retries_by_rule.clear();
            }
            self.previous_delay = Some(event.delay);
        }
    }

    fn run_stopped(&mut self, record: &Record, event: &RunStopped) {
        self.waited = to_micros(self.waited.saturating_add(event.waited));
        self.ended_at = Some(record.at);
        self.elapsed = record.t;
        self.outcome = Some(event.outcome);
        self.flaky = event.outcome == Outcome::Succeeded && self.has_failed();
        self.message = Some(event.message.clone());
        self.exit_code = Some(event.exit_code);
    }

    /// Whether an attempt was no success.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.last_number() > self.successes
    }

    /// The number of the last attempt; 0 before the first.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.last_attempt().map_or(0, |attempt| attempt.attempt)
    }

    /// How the run ended, in a sentence: for the event that ends it, so with what was known before it.
    ///
    /// `told` is the signal that told us to stop, if one did; `refusal` is what the budget said, where that ends the run.
    #[must_use]
    pub fn closing_message(
        &self,
        outcome: Outcome,
        told: Option<Signal>,
        refusal: Option<&str>,
        elapsed: Duration,
    ) -> String {
        let attempts = match self.last_number() {
            1 => "1 attempt".to_owned(),
            count => format!("{count} attempts"),
        };
        let after = format!("after {attempts} in {}", human_measured(elapsed));
        let endings = self.endings();
        match outcome {
            Outcome::Succeeded => format!("succeeded {after}"),
            Outcome::Permanent => format!("gave up {after}: permanent failure, {endings}"),
            Outcome::Exhausted => format!("gave up {after}: {endings}"),
            Outcome::Deadline => format!("gave up {after}: out of time, {endings}"),
            Outcome::Budget => {
                format!("gave up {after}: {}, {endings}", refusal.unwrap_or_default())
            }
            Outcome::RetryAfter => {
                format!("gave up {after}: asked to wait for longer than --max-delay, {endings}")
            }
            Outcome::Stopped => format!("stopped {after}: {endings}"),
            Outcome::Interrupted => {
                let by = told.map_or(String::new(), |signal| format!("by {signal} "));
                format!("interrupted {by}{after}: {endings}")
            }
            Outcome::NotStarted => format!("gave up {after}: {endings}"),
        }
    }

    /// How the attempts ended: what they have in common, else how the last one did.
    fn endings(&self) -> String {
        let Some(last) = self.last_attempt() else {
            return "nothing was run".to_owned();
        };
        let text = last.ending();
        let same = self.attempts.len() > 1
            && self.attempts_omitted == 0
            && self.attempts.iter().all(|attempt| attempt.ending() == text);
        let each_time = if same { " each time" } else { "" };
        match &last.reason {
            Some(reason) => format!("{text}{each_time} ({reason})"),
            None => format!("{text}{each_time}"),
        }
    }
}

impl Attempt {
    /// Whether a limit of ours ended it.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.ended_by.is_some_and(EndedBy::is_ours)
    }

    /// How it ended in a few words, e.g. `exit 7`, `SIGKILL`, `timed out`.
    #[must_use]
    pub fn ending(&self) -> String {
        let code = || self.exit_code.unwrap_or_default();
        match self.ended_by {
            None => "still running".to_owned(),
            Some(EndedBy::Exit) => format!("exit {}", code()),
            Some(EndedBy::Signal) => {
                let core = if self.core_dumped { ", core dumped" } else { "" };
                self.signal.map_or("signal".to_owned(), |signal| format!("{signal}{core}"))
            }
            Some(EndedBy::Timeout) => "timed out".to_owned(),
            Some(EndedBy::IdleTimeout) => "silent for too long".to_owned(),
            Some(EndedBy::Deadline) => "ended at the deadline".to_owned(),
            Some(EndedBy::Stop) => "stopped".to_owned(),
            Some(EndedBy::SpawnError) => {
                self.error.clone().unwrap_or_else(|| "not started".to_owned())
            }
            Some(EndedBy::Lost) => "lost".to_owned(),
        }
    }
}
