//! Reports: everything that is told to people and programs, each a fold over the same records.
//!
//! They know the engine's nouns and nothing else; where their text goes is handed in.

pub mod ci;
pub mod columns;
pub mod headline;
pub mod html;
pub mod json;
pub mod junit;
pub mod live;
pub mod log;
pub mod markdown;
pub mod plain;
pub mod policy;
#[cfg(test)]
mod sample;
pub mod stream;
pub mod tails;
pub mod text;
pub mod timeline;
pub mod whole;

use std::io;

use crate::engine::event::{Event, Record, RunStopped, Trigger};
use crate::engine::history::History;
use crate::engine::time::Timestamp;
use crate::error::reason;

/// An attempt that is about to start.
#[derive(Clone, Copy, Debug)]
pub struct Starting {
    /// Its number, from 1.
    pub attempt: u64,
    /// Why it begins.
    pub trigger: Trigger,
    /// The moment.
    pub at: Timestamp,
    /// Whether a command of the user's own has run since the last attempt, which may have left a line unfinished.
    pub follows_a_hook: bool,
}

/// The last moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    /// How it ended.
    pub stopped: &'a RunStopped,
    /// Whether a command of the user's own may have left a line unfinished behind ours.
    pub follows_a_hook: bool,
}

/// Takes the records of a run.
pub trait Sink {
    /// Takes one record. `history` holds it already.
    ///
    /// # Errors
    /// It could not be written; then the sink is not used again.
    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()>;

    /// Hears that an attempt is about to start, before it can write anything: its record comes when it runs.
    ///
    /// # Errors
    /// As [`Sink::tell`].
    fn starting(&mut self, _starting: &Starting, _history: &History) -> io::Result<()> {
        Ok(())
    }

    /// Hears that all has been said: of the end of the run, and what hooks had to say of that. `history` holds all.
    ///
    /// # Errors
    /// As [`Sink::tell`].
    fn close(&mut self, _closing: &Closing<'_>, _history: &History) -> io::Result<()> {
        Ok(())
    }

    /// Takes a record of what a former process of the run has told already. `history` holds it.
    ///
    /// # Errors
    /// As [`Sink::tell`].
    fn recall(&mut self, _record: &Record, _history: &History) -> io::Result<()> {
        Ok(())
    }

    /// Takes a warning that is no part of the run's story.
    ///
    /// # Errors
    /// As [`Sink::tell`].
    fn warn(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }

    /// Takes an error that is no part of the run's story.
    ///
    /// # Errors
    /// As [`Sink::tell`].
    fn error(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }

    /// Whether it says what it is warned of.
    fn warns(&self) -> bool {
        false
    }

    /// Whether it wants to hear of what is only for whoever looks for a fault in retryrun.
    fn is_traced(&self) -> bool {
        false
    }

    /// Takes a line of that kind, if it wants any.
    ///
    /// # Errors
    /// As [`Sink::tell`].
    fn trace(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Where a report is written. Writing never waits for a reader for long.
pub trait Destination {
    /// Takes more of the report.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, text: &str) -> io::Result<()>;

    /// Whether all that is there will be what we write: not where others wrote or read before us.
    fn is_ours_alone(&self) -> bool;

    /// The report is complete.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish(&mut self) -> io::Result<()>;

    /// The report is not wanted: nothing of it is left, where that is possible.
    ///
    /// # Errors
    /// It cannot be removed.
    fn discard(&mut self) -> io::Result<()>;
}

/// All that is told of a run, in the order in which it is: first the reports, which may fail, then the lines on stderr, which say so.
#[derive(Default)]
pub struct Sinks {
    reports: Vec<Report>,
    lines: Vec<Box<dyn Sink>>,
    is_traced: bool,
    warns: bool,
}

struct Report {
    /// How users know it.
    name: String,
    sink: Box<dyn Sink>,
    /// What becomes of it when it cannot be written.
    on_failure: OnFailure,
}

/// What becomes of a report that cannot be written; it is said in any case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFailure {
    /// It is closed.
    Close,
    /// It is tried again.
    TryAgain,
    /// It is tried again, and it has been said that it cannot be written.
    TryAgainInSilence,
}

impl Sinks {
    /// Adds a report by the name by which users know it.
    pub fn add_report(&mut self, name: String, sink: Box<dyn Sink>) {
        self.reports.push(Report { name, sink, on_failure: OnFailure::Close });
    }

    /// Adds one that is told all, also after something of it could not be written.
    pub fn add_lasting_report(&mut self, name: String, sink: Box<dyn Sink>) {
        self.reports.push(Report { name, sink, on_failure: OnFailure::TryAgain });
    }

    /// Adds what is written to stderr.
    pub fn add(&mut self, sink: impl Sink + 'static) {
        self.is_traced |= sink.is_traced();
        self.warns |= sink.warns();
        self.lines.push(Box::new(sink));
    }

    /// Tells all of them; of the end of a run all that there is to say, as where there are no hooks.
    pub fn tell(&mut self, record: &Record, history: &History) {
        self.write_reports(record, history);
        self.say(record, history);
        if let Event::RunStopped(stopped) = &record.event {
            self.close(&Closing { stopped, follows_a_hook: false }, history);
        }
    }

    /// Tells the reports. One that fails is said once, and never stops the run or another one.
    pub fn write_reports(&mut self, record: &Record, history: &History) {
        self.report(|sink| sink.tell(record, history));
    }

    /// Tells the reports what a former process has told, of a run that is gone on with.
    pub fn recall(&mut self, records: &[Record], history: &History) {
        for record in records {
            self.report(|sink| sink.recall(record, history));
        }
    }

    fn report(&mut self, mut tell: impl FnMut(&mut dyn Sink) -> io::Result<()>) {
        let mut failures = Vec::new();
        self.reports.retain_mut(|report| match tell(&mut *report.sink) {
            Ok(()) => true,
            Err(error) => {
                if report.on_failure != OnFailure::TryAgainInSilence {
                    failures.push((report.name.clone(), error));
                }
                let stays = report.on_failure != OnFailure::Close;
                report.on_failure = OnFailure::TryAgainInSilence;
                stays
            }
        });
        for (name, error) in failures {
            self.error(&format!("cannot write {name}: {}", reason(&error)));
        }
    }

    /// Tells those on stderr. Of one that fails nothing more could be said there.
    pub fn say(&mut self, record: &Record, history: &History) {
        self.lines.retain_mut(|sink| sink.tell(record, history).is_ok());
    }

    /// Says what comes last of all.
    pub fn close(&mut self, closing: &Closing<'_>, history: &History) {
        self.lines.retain_mut(|sink| sink.close(closing, history).is_ok());
    }

    /// Says that an attempt is about to start.
    pub fn starting(&mut self, starting: &Starting, history: &History) {
        self.report(|sink| sink.starting(starting, history));
        self.lines.retain_mut(|sink| sink.starting(starting, history).is_ok());
    }

    /// Says what did not go as it might beside the run; answers whether such lines are wanted.
    pub fn warn(&mut self, text: &str) -> bool {
        self.lines.retain_mut(|sink| sink.warn(text).is_ok());
        self.warns
    }

    /// Says what retryrun itself could not do beside the run; also where its lines are not wanted.
    pub fn error(&mut self, text: &str) {
        self.lines.retain_mut(|sink| sink.error(text).is_ok());
    }

    /// Says what is only for whoever looks for a fault in retryrun. Nothing is put into words unless somebody wants to hear it.
    pub fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let text = text();
            self.lines.retain_mut(|sink| sink.trace(&text).is_ok());
        }
    }
}
