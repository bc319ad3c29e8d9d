//! The named runs as others see them: where each stands.

use std::io;

use serde::Serialize;

use super::folder::{Folder, State};
use super::journal::{self, Told};
use crate::config::name::Name;
use crate::engine::event::Outcome;
use crate::engine::history::Attempt;
use crate::engine::keyword::keywords;
use crate::engine::resume::{Stood, Unended};
use crate::engine::signal::Signal;
use crate::engine::time::Timestamp;
use crate::error::Error;

keywords! {
    /// What becomes of a named run.
    Standing {
        /// An attempt runs.
        Running = "running",
        /// It waits for the next attempt.
        Waiting = "waiting",
        /// It has ended.
        Ended = "ended",
        /// Its process is gone, and it can go on.
        Dead = "dead",
    }
}

/// A named run.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub job: Name,
    /// The run's id.
    pub run_id: String,
    /// Where it stands.
    pub state: Standing,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// The last attempt.
    pub attempt: u64,
    /// How many there can be; null is without limit.
    pub max_attempts: Option<u64>,
    /// Automatic retries.
    pub retry_count: u64,
    /// The exit code that the last attempt left.
    pub last_exit_code: Option<i32>,
    /// The signal that it died of.
    pub last_signal: Option<Signal>,
    /// Why it was judged so.
    pub last_reason: Option<String>,
    /// That attempt, for people.
    #[serde(skip)]
    pub last: Option<Attempt>,
    /// When the last retry began.
    pub last_retry_at: Option<Timestamp>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// When the run began.
    pub started_at: Timestamp,
    /// The process that has it, or had it last.
    pub pid: u32,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Its folder.
    pub cwd: Option<String>,
}

/// The named runs.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that say where they stand, by name.
    pub listed: Vec<Listed>,
    /// Why others do not.
    pub unread: Vec<Error>,
}

/// All named runs.
///
/// # Errors
/// The state cannot be read.
pub fn list(state: &State) -> Result<Found, Error> {
    let mut found = Found::default();
    for (name, folder) in state.all()? {
        match journal::read(&folder) {
            Ok(Some(told)) => found.listed.extend(listed(&name, &folder, &told)),
            Ok(None) => found.unread.push(Error::Journal(name.to_string())),
            // It is about to begin, or never began.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => found.unread.push(Error::Job { name: name.to_string(), source }),
        }
    }
    Ok(found)
}

/// One of them.
#[must_use]
pub fn listed(name: &Name, folder: &Folder, told: &Told) -> Option<Listed> {
    let history = told.history()?;
    let waits = told.unended().and_then(|unended| due(&unended));
    let owner = folder.owner();
    let state = match (history.outcome, owner, waits) {
        (Some(_), ..) => Standing::Ended,
        (None, None, _) => Standing::Dead,
        (None, Some(_), Some(_)) => Standing::Waiting,
        (None, Some(_), None) => Standing::Running,
    };
    // An attempt that runs has no ending yet: the last is that of the one before.
    let last = history.attempts.iter().rev().find(|attempt| attempt.ended_by.is_some());
    Some(Listed {
        job: name.clone(),
        state,
        outcome: history.outcome,
        attempt: history.last_number(),
        max_attempts: history.max_attempts(),
        retry_count: history.retry_count,
        last_exit_code: last.and_then(|last| last.exit_code),
        last_signal: last.and_then(|last| last.signal),
        last_reason: last.and_then(|last| last.reason.clone()),
        last: last.cloned(),
        last_retry_at: history.last_retry_at,
        next_attempt_at: waits,
        started_at: history.started_at,
        pid: history.pid,
        run_id: history.run_id,
        command: history.command,
        cwd: history.cwd,
    })
}

/// When the wait ends in which a run stands.
fn due(unended: &Unended) -> Option<Timestamp> {
    match &unended.stood {
        Stood::Waiting { event, since } => {
            Some(unended.history.started_at.plus(since.saturating_add(event.delay)))
        }
        Stood::Begun | Stood::Attempting { .. } | Stood::Ended { .. } => None,
    }
}
