//! The event stream: a line of JSON for each record, written as it happens.

use std::io;

use super::text::harmless_json;
use super::{Destination, Sink};
use crate::engine::event::{Event, Line, Outcome, Record};
use crate::engine::history::History;

/// Writes the records.
pub struct EventStream {
    /// Where they go.
    pub destination: Box<dyn Destination>,
    /// Only where the run did not succeed: else it is discarded.
    pub when_failed: bool,
}

impl Sink for EventStream {
    /// A file is to have the whole run; whoever reads a stream has had that part.
    fn recall(&mut self, record: &Record, history: &History) -> io::Result<()> {
        if self.destination.is_ours_alone() { self.tell(record, history) } else { Ok(()) }
    }

    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()> {
        let line = serde_json::to_string(&Line::new(&history.run_id, record))?;
        self.destination.write(&(harmless_json(&line) + "\n"))?;
        match &record.event {
            Event::RunStopped(stopped)
                if self.when_failed && stopped.outcome == Outcome::Succeeded =>
            {
                self.destination.discard()
            }
            Event::RunStopped(_) => self.destination.finish(),
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptStarted(_)
            | Event::AttemptCut(_)
            | Event::AttemptEnded(_)
            | Event::RetryPlanned(_) => Ok(()),
        }
    }
}
