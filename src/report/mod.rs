//! Reports: everything that is told to people and programs, each a fold over the same records.
//!
//! They know the engine's nouns and nothing else; where their text goes is handed in.

pub mod json;
pub mod log;
pub mod text;

use std::io;

use crate::engine::event::Record;
use crate::engine::history::History;

/// Takes the records of a run.
pub trait Sink {
    /// Takes one record. `history` holds it already.
    ///
    /// # Errors
    /// It could not be written; then the sink is not used again.
    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()>;

    /// Takes a warning that is no part of the run's story.
    ///
    /// # Errors
    /// As [`Sink::tell`].
    fn warn(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

/// All reports of a run, in the order in which they are told.
#[derive(Default)]
pub struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    /// Adds a report.
    pub fn add(&mut self, sink: impl Sink + 'static) {
        self.0.push(Box::new(sink));
    }

    /// Tells all of them. One that fails is closed, and never stops the run or another one: what it writes to is stderr,
    /// where nothing more could be said of it.
    pub fn tell(&mut self, record: &Record, history: &History) {
        self.0.retain_mut(|sink| sink.tell(record, history).is_ok());
    }

    /// Says what went wrong beside the run.
    pub fn warn(&mut self, text: &str) {
        self.0.retain_mut(|sink| sink.warn(text).is_ok());
    }
}
