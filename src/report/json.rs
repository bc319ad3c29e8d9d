//! The JSON history: printed once, when the run is over.

use std::io::{self, Write};

use tracing_subscriber::filter::LevelFilter;

use super::Sink;
use super::log::closing_level;
use super::text::harmless_json;
use crate::engine::event::{Event, Outcome, Record};
use crate::engine::history::History;

/// Writes the history when the run has stopped.
pub struct HistoryPrinter<W> {
    /// Where to.
    pub writer: W,
    /// For people, instead of on one line for programs.
    pub indented: bool,
    /// Also after a success.
    pub on_success: bool,
    /// Which of our lines are printed: behind one the history begins on a line of its own anyway.
    pub filter: LevelFilter,
}

impl<W: Write> Sink for HistoryPrinter<W> {
    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()> {
        let Event::RunStopped(stopped) = &record.event else {
            return Ok(());
        };
        if stopped.outcome == Outcome::Succeeded && !self.on_success {
            return Ok(());
        }
        let json = if self.indented {
            serde_json::to_string_pretty(history)?
        } else {
            serde_json::to_string(history)?
        };
        // The command may have left a line unfinished, and we have no way to know.
        let follows_our_line = closing_level(stopped.outcome, history.flaky) <= self.filter;
        let begin = if follows_our_line { "" } else { "\n" };
        // One write: what others write to the same place cannot come between.
        let text = format!("{begin}{}\n", harmless_json(&json));
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}
