//! What a CI system shows of a run, from its first failure on: a collapsible group for each further attempt, one annotation at its
//! end, and a job summary.
//!
//! Not one annotation for each attempt: a run may have hundreds, and GitHub shows ten of a step. A run that succeeds at once says
//! nothing.

mod summary;
mod system;

use std::io;

use tracing_subscriber::filter::LevelFilter;

use super::log::{Log, closing_level};
use super::text::command_line;
use super::{Sink, Starting};
use crate::engine::event::{Event, Outcome, Record, RunStopped, Verdict};
use crate::engine::history::{Attempt, History};
use crate::engine::signal::Signal;
use crate::engine::time::Timestamp;

pub use summary::Summary;
pub use system::{Gravity, System};

use system::Section;

/// How many characters of a command an annotation quotes.
const QUOTED: usize = 120;
/// How many kinds of failure it names.
const NAMED: usize = 3;

/// Which system is spoken to, and what it is told.
pub struct Options {
    /// The system.
    pub system: System,
    /// Which of our lines are printed: groups are as lines that inform, annotations as what they are.
    pub filter: LevelFilter,
    /// Where the job summary goes, if the system has one.
    pub summary: Option<Summary>,
    /// Writes it, as Markdown.
    pub render: fn(&History) -> String,
}

/// Speaks to a CI system.
pub struct Ci<W> {
    writer: W,
    /// Our own lines, for what goes wrong here.
    log: Log<W>,
    options: Options,
    group_is_open: bool,
}

impl<W: io::Write + Send + 'static> Ci<W> {
    /// Speaks to the system through `writer`, and says what goes wrong through `log`.
    #[must_use]
    pub fn new(writer: W, log: Log<W>, options: Options) -> Ci<W> {
        Ci { writer, log, options, group_is_open: false }
    }

    /// One write: what others write to the same place cannot come between.
    fn write(&mut self, text: &str) {
        // That nobody takes it is no reason to leave out the job summary.
        let _unheard = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
    }

    fn begin_group(&mut self, starting: &Starting, history: &History) {
        let Starting { attempt, trigger, at, follows_a_hook } = *starting;
        let title = match history.max_attempts_with_next(trigger) {
            Some(max) => format!("retryrun: attempt {attempt}/{max}"),
            None => format!("retryrun: attempt {attempt}"),
        };
        let section = Section { run_id: &history.run_id, attempt };
        self.group_is_open = true;
        // Only at the beginning of a line it is read.
        let begin = if follows_a_hook { "\n" } else { "" };
        self.write(&(begin.to_owned() + &self.options.system.group_begins(&section, &title, at)));
    }

    fn end_group(&mut self, attempt: u64, at: Timestamp, history: &History) {
        if std::mem::take(&mut self.group_is_open) {
            let section = Section { run_id: &history.run_id, attempt };
            self.write(&self.options.system.group_ends(&section, at));
        }
    }

    fn run_stopped(&mut self, stopped: &RunStopped, history: &History) -> io::Result<()> {
        let Some(gravity) = gravity(stopped, history.flaky) else {
            return Ok(());
        };
        let Options { system, filter, summary, render } = &self.options;
        let mut text = String::new();
        if gravity.level() <= *filter {
            text.extend(system.annotation(gravity, &conclusion(stopped, history)));
        }
        match summary.as_ref().map(|summary| summary.write(&history.run_id, &render(history))) {
            Some(Ok(told)) => text.extend(told),
            Some(Err(trouble)) => self.log.error(&trouble)?,
            None => {}
        }
        if text.is_empty() {
            return Ok(());
        }
        // The command may have left a line unfinished, and we have no way to know.
        let follows_our_line = closing_level(stopped, history.flaky) <= *filter;
        let begin = if follows_our_line { "" } else { "\n" };
        self.write(&format!("{begin}{text}"));
        Ok(())
    }
}

impl<W: io::Write + Send + 'static> Sink for Ci<W> {
    fn starting(&mut self, starting: &Starting, history: &History) -> io::Result<()> {
        if history.has_failed() && LevelFilter::INFO <= self.options.filter {
            self.begin_group(starting, history);
        }
        Ok(())
    }

    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()> {
        match &record.event {
            Event::AttemptEnded(event) => self.end_group(event.attempt, record.at, history),
            Event::RunStopped(event) => self.run_stopped(event, history)?,
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptStarted(_)
            | Event::AttemptCut(_)
            | Event::RetryPlanned(_) => {}
        }
        Ok(())
    }
}

/// How grave the end of a run is; none where there is nothing to say.
fn gravity(stopped: &RunStopped, flaky: bool) -> Option<Gravity> {
    match stopped.outcome {
        Outcome::Succeeded => flaky.then_some(Gravity::Warning),
        // As other programs do: whoever read the output has seen enough.
        Outcome::Interrupted if stopped.signal == Some(Signal::PIPE) => None,
        // Somebody wanted it.
        Outcome::Stopped | Outcome::Interrupted => Some(Gravity::Warning),
        Outcome::Permanent
        | Outcome::Exhausted
        | Outcome::Deadline
        | Outcome::Budget
        | Outcome::RetryAfter
        | Outcome::NotStarted => Some(match stopped.exit_code {
            // The user's own word for it: the job goes on.
            0 => Gravity::Warning,
            _ => Gravity::Error,
        }),
    }
}

/// What became of which command, and why a flaky one was not well at once.
fn conclusion(stopped: &RunStopped, history: &History) -> String {
    let command = command_line(&history.command);
    let command = match command.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", command.get(..end).unwrap_or_default()),
        None => command,
    };
    let failures = if history.flaky { failures(&history.attempts) } else { String::new() };
    format!("{command}: {}{failures}", stopped.message)
}

/// Each kind of failure once, in order.
fn failures(attempts: &[Attempt]) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for attempt in attempts.iter().filter(|attempt| attempt.verdict != Some(Verdict::Success)) {
        let reason = attempt.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
        let kind = format!("{}{reason}", attempt.ending());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let more = if kinds.len() > NAMED { ", ..." } else { "" };
    kinds.truncate(NAMED);
    format!("; before that {}{more}", kinds.join(", "))
}
