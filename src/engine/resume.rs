//! A run whose process died before its end, as its records show it: what it did last, and so where it goes on.

use std::time::Duration;

use super::event::{AttemptEnded, Ending, Event, Record, RetryPlanned};
use super::history::History;
use super::policy::Policy;

/// A run that has not ended.
#[derive(Clone, Debug)]
pub struct Unended {
    /// What happened in it.
    pub history: History,
    /// Where it stood.
    pub stood: Stood,
    /// The policy that it kept to, where that is known: its history has only a summary.
    pub policy: Option<Policy>,
    /// How its last attempt ended of which that is known.
    pub ending: Option<Ending>,
    /// The moment of its last record, since its beginning.
    pub last: Duration,
}

/// Where a run stood when its process died.
#[derive(Clone, Debug, PartialEq)]
pub enum Stood {
    /// Before its first attempt.
    Begun,
    /// In an attempt, of which nobody knows how it ended.
    Attempting {
        /// The moment at which that began.
        since: Duration,
    },
    /// Behind an attempt.
    Ended {
        /// How that ended.
        event: Box<AttemptEnded>,
        /// The moment.
        at: Duration,
    },
    /// In a wait.
    Waiting {
        /// The wait.
        event: RetryPlanned,
        /// The moment at which it began.
        since: Duration,
    },
}

impl Unended {
    /// What the records of a run add up to; none if it has ended, or if they do not begin with its start.
    #[must_use]
    pub fn of(records: &[Record]) -> Option<Unended> {
        let (first, rest) = records.split_first()?;
        Unended::after(History::of([first])?, rest)
    }

    /// The same, of the records that follow a history.
    #[must_use]
    pub fn after(mut history: History, records: &[Record]) -> Option<Unended> {
        let mut stood = Stood::Begun;
        let mut ending = None;
        let mut last = Duration::ZERO;
        for record in records {
            history.apply(record);
            let Record { event, t, .. } = record;
            last = last.max(*t);
            stood = match event {
                Event::RunStarted(_) | Event::RunResumed(_) | Event::AttemptCut(_) => stood,
                Event::AttemptStarted(_) => Stood::Attempting { since: *t },
                Event::AttemptEnded(event) => {
                    ending = Some(event.ending.clone());
                    Stood::Ended { event: event.clone(), at: *t }
                }
                Event::RetryPlanned(event) => Stood::Waiting { event: event.clone(), since: *t },
                Event::RunStopped(_) => return None,
            };
        }
        Some(Unended { history, stood, policy: None, ending, last })
    }
}
