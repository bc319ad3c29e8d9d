//! Our own lines: one for each event that people want to know of, as text or JSON, through tracing.
//!
//! A run that succeeds at once says nothing, and sets nothing up.

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::sync::Mutex;

use anstyle::{AnsiColor, Style};
use tracing::dispatcher::{self, Dispatch};
use tracing::field::{Field, Visit};
use tracing::{Event as Line, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self as layer, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::Sink;
use super::text::{command_line, harmless};
use crate::engine::event::{
    AttemptCut, AttemptEnded, AttemptStarted, EndedBy, Event, Outcome, Record, RetryPlanned,
    RunResumed, RunStarted, RunStopped, Verdict,
};
use crate::engine::history::History;
use crate::engine::signal::Signal;
use crate::engine::time::{human, human_measured};

/// Where our lines go and what they look like.
pub struct Options {
    /// JSON instead of text.
    pub json: bool,
    /// Colours in text.
    pub color: bool,
    /// What is left out.
    pub filter: LevelFilter,
}

/// Writes our lines.
pub struct Log<W> {
    options: Options,
    writer: OnceCell<W>,
    dispatch: OnceCell<Dispatch>,
    /// Whose lines they are, once it has begun.
    run_id: String,
    /// An attempt that failed, until it is known what follows.
    ended: Option<(Record, Box<AttemptEnded>)>,
}

impl<W: io::Write + Send + 'static> Log<W> {
    /// Lines to `writer`.
    #[must_use]
    pub fn new(writer: W, options: Options) -> Log<W> {
        Log {
            options,
            writer: OnceCell::from(writer),
            dispatch: OnceCell::new(),
            run_id: String::new(),
            ended: None,
        }
    }

    /// Whether lines of that level are wanted: else nothing is put into words.
    fn wants(&self, level: Level) -> bool {
        level <= self.options.filter
    }

    /// Lets `line` write a line, if lines of that level are wanted.
    fn say(&mut self, level: Level, line: impl FnOnce()) {
        if !self.wants(level) {
            return;
        }
        if let Some(writer) = self.writer.take() {
            let _empty_until_here = self.dispatch.set(subscriber(writer, &self.options));
        }
        if let Some(dispatch) = self.dispatch.get() {
            dispatcher::with_default(dispatch, line);
        }
    }

    fn run_started(&mut self, record: &Record, event: &RunStarted) {
        if !self.wants(Level::DEBUG) {
            return;
        }
        let command = harmless(&command_line(&event.command));
        let policy = harmless(&event.policy.name);
        let id = harmless(&event.run_id);
        let id = id.as_str();
        self.say(Level::DEBUG, || {
            tracing::debug!(
                at = %record.at, event = "run_started", run_id = id, command, policy,
                "run {id} of {command}, policy {policy}"
            );
        });
    }

    fn run_resumed(&mut self, record: &Record, event: &RunResumed, history: &History) {
        let id = harmless(&history.run_id);
        let id = id.as_str();
        let attempts = match history.last_number() {
            1 => "1 attempt".to_owned(),
            count => format!("{count} attempts"),
        };
        let changed = match event.changed.as_slice() {
            [] => String::new(),
            changed => format!("; changed: {}", changed.join(", ")),
        };
        self.say(Level::WARN, || {
            tracing::warn!(
                at = %record.at, event = "run_resumed", run_id = id, attempts = history.last_number(),
                changed = event.changed.join(","),
                "goes on with run {id} of {} after {attempts}{changed}", history.started_at
            );
        });
    }

    fn attempt_started(&mut self, record: &Record, event: &AttemptStarted, history: &History) {
        let Some(pid) = event.pid.filter(|_| self.wants(Level::DEBUG)) else { return };
        let counted = counted(event.attempt, history);
        self.say(Level::DEBUG, || {
            tracing::debug!(
                at = %record.at, event = "attempt_started", run_id = history.run_id, attempt = event.attempt,
                max_attempts = history.max_attempts(), trigger = event.trigger.name(), pid,
                "{counted} started: pid {pid}, trigger {}", event.trigger
            );
        });
    }

    fn attempt_cut(&mut self, record: &Record, event: &AttemptCut, history: &History) {
        let counted = counted(event.attempt, history);
        let signal = event.signal.to_string();
        let what = match event.ended_by {
            EndedBy::Stop => "is stopped".to_owned(),
            limit => format!("reached its {limit}"),
        };
        let kill = if event.kill_after.is_zero() || event.signal == Signal::KILL {
            String::new()
        } else {
            format!(", SIGKILL in {}", human(event.kill_after))
        };
        self.say(Level::WARN, || {
            tracing::warn!(
                at = %record.at, event = "attempt_cut", run_id = history.run_id, attempt = event.attempt,
                max_attempts = history.max_attempts(), ended_by = event.ended_by.name(), signal,
                kill_after = event.kill_after.as_secs_f64(),
                "{counted} {what} after {}: sending {signal}{kill}", human_measured(event.elapsed)
            );
        });
    }

    /// What follows is the same line's: the next event comes at once.
    fn attempt_ended(&mut self, record: &Record, event: &AttemptEnded, history: &History) {
        if event.judgement.verdict == Some(Verdict::Success) {
            return self.say_ended(Level::DEBUG, record, event, None, history);
        }
        self.ended = Some((record.clone(), Box::new(event.clone())));
    }

    fn retry_planned(&mut self, event: &RetryPlanned, history: &History) {
        if let Some((record, ended)) = self.ended.take() {
            self.say_ended(Level::WARN, &record, &ended, Some(event), history);
        }
    }

    fn say_ended(
        &mut self,
        level: Level,
        record: &Record,
        event: &AttemptEnded,
        next: Option<&RetryPlanned>,
        history: &History,
    ) {
        let Some(attempt) = history.last_attempt().filter(|_| self.wants(level)) else {
            return;
        };
        let judgement = &event.judgement;
        let verdict = judgement.verdict.map_or("not judged", Verdict::name);
        let reason = harmless(judgement.reason.as_deref().unwrap_or_default());
        let separator = if reason.is_empty() { "" } else { ": " };
        let what = match judgement.verdict {
            Some(Verdict::Success) => "succeeded",
            Some(Verdict::Transient | Verdict::Permanent) | None => "failed",
        };
        let next_delay = next.map(|next| next.delay.as_secs_f64());
        let follows = next.map_or(String::new(), |next| format!("; next in {}", human(next.delay)));
        let signal = event.ending.signal.map(|signal| signal.to_string());
        let text = format!(
            "{} {what} after {}: {} ({verdict}{separator}{reason}){follows}",
            counted(event.attempt, history),
            human_measured(event.elapsed),
            harmless(&attempt.ending()),
        );
        let rule = judgement.rule.as_deref().map(harmless);
        let rule_origin = judgement.rule_origin.as_deref().map(harmless);
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level, at = %record.at, event = "attempt_ended", run_id = history.run_id,
                    attempt = event.attempt, max_attempts = history.max_attempts(),
                    elapsed = event.elapsed.as_secs_f64(), ended_by = event.ending.ended_by.name(),
                    exit_code = event.ending.exit_code, signal, verdict, reason = reason.as_str(),
                    rule, rule_origin, next_delay, "{text}"
                )
            };
        }
        self.say(level, || match level {
            Level::DEBUG => line!(Level::DEBUG),
            _ => line!(Level::WARN),
        });
    }

    fn run_stopped(&mut self, record: &Record, event: &RunStopped, history: &History) {
        let level = closing_level(event, history.flaky);
        if let Some((record, ended)) = self.ended.take() {
            let its_level = if level == Level::DEBUG { level } else { Level::WARN };
            self.say_ended(its_level, &record, &ended, None, history);
        }
        if !self.wants(level) {
            return;
        }
        let text = harmless(&event.message);
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level, at = %record.at, event = "run_stopped", run_id = history.run_id,
                    outcome = event.outcome.name(), flaky = history.flaky, exit_code = event.exit_code,
                    attempts = history.last_number(), retry_count = history.retry_count,
                    elapsed = record.t.as_secs_f64(), waited = history.waited.as_secs_f64(), "{text}"
                )
            };
        }
        self.say(level, || match level {
            Level::ERROR => line!(Level::ERROR),
            Level::WARN => line!(Level::WARN),
            Level::INFO => line!(Level::INFO),
            _ => line!(Level::DEBUG),
        });
    }
}

/// How loud the last line of a run is. That a command cannot be started is an error of ours to report, also where the rest is
/// not wanted.
#[must_use]
pub fn closing_level(stopped: &RunStopped, flaky: bool) -> Level {
    match stopped.outcome {
        // As other programs do: whoever read the output has seen enough.
        Outcome::Interrupted if stopped.signal == Some(Signal::PIPE) => Level::DEBUG,
        Outcome::NotStarted => Level::ERROR,
        Outcome::Permanent
        | Outcome::Exhausted
        | Outcome::Deadline
        | Outcome::Budget
        | Outcome::RetryAfter
        | Outcome::Stopped
        | Outcome::Interrupted => Level::WARN,
        Outcome::Succeeded if flaky => Level::INFO,
        Outcome::Succeeded => Level::DEBUG,
    }
}

impl<W: io::Write + Send + 'static> Sink for Log<W> {
    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()> {
        match &record.event {
            Event::RunStarted(event) => {
                self.run_id.clone_from(&event.run_id);
                self.run_started(record, event);
            }
            Event::RunResumed(event) => {
                self.run_id.clone_from(&history.run_id);
                self.run_resumed(record, event, history);
            }
            Event::AttemptStarted(event) => self.attempt_started(record, event, history),
            Event::AttemptCut(event) => self.attempt_cut(record, event, history),
            Event::AttemptEnded(event) => self.attempt_ended(record, event, history),
            Event::RetryPlanned(event) => self.retry_planned(event, history),
            Event::RunStopped(event) => self.run_stopped(record, event, history),
        }
        Ok(())
    }

    fn warn(&mut self, text: &str) -> io::Result<()> {
        let text = harmless(text);
        let run_id = self.run_id.clone();
        self.say(Level::WARN, || tracing::warn!(event = "warning", run_id, "{text}"));
        Ok(())
    }

    fn error(&mut self, text: &str) -> io::Result<()> {
        let text = harmless(text);
        let run_id = self.run_id.clone();
        self.say(Level::ERROR, || tracing::error!(event = "error", run_id, "{text}"));
        Ok(())
    }

    fn warns(&self) -> bool {
        self.wants(Level::WARN)
    }

    fn is_traced(&self) -> bool {
        Level::TRACE <= self.options.filter
    }

    fn trace(&mut self, text: &str) -> io::Result<()> {
        let text = harmless(text);
        let run_id = self.run_id.clone();
        self.say(Level::TRACE, || tracing::trace!(event = "trace", run_id, "{text}"));
        Ok(())
    }
}

/// `attempt 2/4`; without a limit `attempt 2`.
pub(super) fn counted(attempt: u64, history: &History) -> String {
    match history.max_attempts() {
        Some(max) => format!("attempt {attempt}/{max}"),
        None => format!("attempt {attempt}"),
    }
}

fn subscriber<W: io::Write + Send + 'static>(writer: W, options: &Options) -> Dispatch {
    let layer = layer::Layer::default()
        .with_writer(Mutex::new(writer))
        .log_internal_errors(false)
        .with_ansi(false);
    let registry = tracing_subscriber::registry();
    if options.json {
        let json = layer
            .json()
            .without_time()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .with_span_list(false);
        Dispatch::new(registry.with(json.with_filter(options.filter)))
    } else {
        Dispatch::new(
            registry.with(
                layer.event_format(Text { color: options.color }).with_filter(options.filter),
            ),
        )
    }
}

/// `retryrun: MESSAGE`.
struct Text {
    color: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        line: &Line<'_>,
    ) -> fmt::Result {
        let style = match *line.metadata().level() {
            _ if !self.color => Style::new(),
            Level::ERROR => AnsiColor::Red.on_default(),
            Level::WARN => AnsiColor::Yellow.on_default(),
            Level::INFO => AnsiColor::Green.on_default(),
            _ => Style::new().dimmed(),
        };
        let mut message = Message(String::new());
        line.record(&mut message);
        writeln!(writer, "{style}retryrun:{style:#} {}", message.0)
    }
}

/// The message among a line's fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
