//! The JSON history: printed once, when the run is over.

use std::io::{self, Write};

use tracing_subscriber::filter::LevelFilter;

use super::log::closing_level;
use super::text::harmless_json;
use super::{Closing, Sink};
use crate::engine::event::{Outcome, Record};
use crate::engine::history::History;
use crate::engine::signal::Signal;

/// Writes the history when the run has stopped.
pub struct HistoryPrinter<W> {
    /// Where to.
    pub writer: W,
    /// For people, instead of on one line for programs.
    pub indented: bool,
    /// Also after a success, and when nobody reads our stdout any more.
    pub always: bool,
    /// Which of our lines are printed: behind one the history begins on a line of its own anyway.
    pub filter: LevelFilter,
}

/// The history as a report of its own.
#[must_use]
pub fn render(history: &History) -> String {
    // It fails only where a value cannot be written, of which the history has none.
    let json = serde_json::to_string_pretty(history).unwrap_or_default();
    harmless_json(&json) + "\n"
}

impl<W: Write> Sink for HistoryPrinter<W> {
    /// It is the last that we write.
    fn tell(&mut self, _record: &Record, _history: &History) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, closing: &Closing<'_>, history: &History) -> io::Result<()> {
        let Closing { stopped, follows_a_hook } = *closing;
        let has_failed =
            stopped.outcome != Outcome::Succeeded && stopped.signal != Some(Signal::PIPE);
        if !has_failed && !self.always {
            return Ok(());
        }
        let json = if self.indented {
            serde_json::to_string_pretty(history)?
        } else {
            serde_json::to_string(history)?
        };
        // The command or a hook may have left a line unfinished, and we have no way to know.
        let follows_our_line =
            !follows_a_hook && closing_level(stopped, history.flaky) <= self.filter;
        let begin = if follows_our_line { "" } else { "\n" };
        // One write: what others write to the same place cannot come between.
        let text = format!("{begin}{}\n", harmless_json(&json));
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}
