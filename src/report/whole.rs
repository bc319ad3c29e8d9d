//! A report that is written when the run is over: one rendering of its history.

use std::io;

use super::{Destination, Sink};
use crate::engine::event::{Event, Outcome, Record};
use crate::engine::history::History;

/// Writes the history in one of its renderings.
pub struct WholeReport {
    /// What it looks like.
    pub render: fn(&History) -> String,
    /// Where it goes.
    pub destination: Box<dyn Destination>,
    /// Only where the run did not succeed.
    pub when_failed: bool,
}

impl Sink for WholeReport {
    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()> {
        let Event::RunStopped(stopped) = &record.event else {
            return Ok(());
        };
        if self.when_failed && stopped.outcome == Outcome::Succeeded {
            return Ok(());
        }
        self.destination.write(&(self.render)(history))?;
        self.destination.finish()
    }
}
