//! Named runs: state that survives the process that made it, so that another can go on.
//!
//! What a run does is the engine's; here its records are kept, read again, and listed.

pub mod answer;
pub mod call;
pub mod control;
pub mod folder;
pub mod journal;
pub mod list;
mod masked;
pub mod table;
pub mod view;
pub mod watch;

use std::io;
use std::thread;
use std::time::Duration;

use crate::config::Keeping;
use crate::config::name::Name;
use crate::engine::event::{Event, Record};
use crate::engine::history::History;
use crate::engine::resume::Unended;
use crate::engine::time::Timestamp;
use crate::error::Error;
use crate::report::{Sink, Starting};
use call::Call;
use folder::{Folder, Lock, State};
use journal::{Journal, Told};

/// How often a run is tried to be taken, and how long each time is waited: a process that ends or is killed, and one that removes
/// an ended run, have it for a moment more.
const TRIES: u32 = 20;
const NEXT_TRY: Duration = Duration::from_millis(5);

/// How long a run may take to begin.
const UNBORN_FOR: Duration = Duration::from_secs(3600);

/// A named run that is ours.
pub struct Job {
    folder: Folder,
    lock: Lock,
    /// The run to go on with.
    told: Option<Told>,
    /// What of its state cannot be read.
    damage: Vec<String>,
}

impl Job {
    /// Takes a named run.
    ///
    /// # Errors
    /// Another process has it, or its state cannot be read or written.
    pub fn take(state: &State, name: &Name, fresh: bool) -> Result<Job, Error> {
        let folder = state.create(name)?;
        let fail = |source| Error::Job { name: name.to_string(), source };
        let Some(mut lock) = lock(&folder).map_err(fail)? else {
            return Err(is_taken(&folder, name));
        };
        lock.sign(std::process::id());
        let (told, emptiness) = match journal::read(&folder) {
            // Whatever it is, it is to be forgotten.
            _ if fresh => (None, None),
            Ok(Some(told)) => (Some(told), None),
            Ok(None) => {
                let aside = journal::set_aside(&folder).map_err(fail)?;
                let aside = aside.display();
                (None, Some(format!("the journal of {name} says nothing: it is now {aside}")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
            Err(error) => return Err(fail(error)),
        };
        let told = told.filter(|told| told.unended().is_some());
        let damage = told.as_ref().and_then(|told| damage(told, name));
        let damage = emptiness.into_iter().chain(damage).collect();
        Ok(Job { folder, lock, told, damage })
    }

    /// The run to go on with, and what it was called with, the latest call last.
    #[must_use]
    pub fn unended(&self) -> Option<(Unended, &[Call])> {
        let told = self.told.as_ref()?;
        Some((told.unended()?, &told.calls))
    }

    /// What was told of it.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        self.told.as_ref().map_or(&[], |told| &told.records)
    }

    /// What of the state that was found cannot be read, in words.
    #[must_use]
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// What earlier calls said cannot be read.
    pub fn note_unreadable(&mut self, error: &str) {
        let text = format!("what earlier calls of this run said counts for nothing: {error}");
        self.damage.push(text);
    }

    /// The folder, for requests.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Begins to write what happens. The last of the calls is the one of now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn journal(&self, calls: &[Call]) -> io::Result<Journal> {
        match (&self.told, calls.last()) {
            (Some(told), Some(call)) => Journal::go_on(&self.folder, told, call),
            (Some(_), None) | (None, _) => Journal::create(&self.folder, calls),
        }
    }

    /// The run is over for us: where none is kept once it has ended, neither is this one. One that has not ended stays.
    pub fn leave(&self, keeping: &Keeping) {
        let has_ended = || match journal::last_record(&self.folder) {
            Ok(record) => record.is_some_and(|last| matches!(last.event, Event::RunStopped(_))),
            Err(_) => false,
        };
        if keeping.runs == 0 && has_ended() {
            let _stays = self.folder.remove(&self.lock);
        }
    }
}

fn lock(folder: &Folder) -> io::Result<Option<Lock>> {
    for _ in 1..TRIES {
        if let Some(lock) = folder.lock()? {
            return Ok(Some(lock));
        }
        thread::sleep(NEXT_TRY);
    }
    folder.lock()
}

fn is_taken(folder: &Folder, name: &Name) -> Error {
    let owner = folder.owner().map_or(String::new(), as_process);
    Error::Usage(format!("--job: the run {name} goes on already{owner}"))
}

/// How the process is named that has a run, if it has said so.
fn as_process(owner: u32) -> String {
    if owner == 0 { String::new() } else { format!(", as process {owner}") }
}

/// What is to be said of a journal that is not all whole.
fn damage(told: &Told, name: &Name) -> Option<String> {
    let lines = match told.damaged {
        0 => return None,
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    };
    Some(format!("the journal of {name} is damaged: {lines} of it count for nothing"))
}

impl Sink for Journal {
    fn starting(&mut self, starting: &Starting, history: &History) -> io::Result<()> {
        Journal::starting(self, starting.attempt, starting.trigger, starting.at, history)
    }

    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()> {
        self.record(record, history)
    }
}

/// How long a run has lasted, by the calendar; for going on with it.
#[must_use]
pub fn elapsed(unended: &Unended, now: Timestamp) -> Duration {
    let began = unended.history.started_at.as_duration();
    now.as_duration().saturating_sub(began).max(unended.last)
}

/// Removes ended runs that are no longer kept: those that ended too long ago, and all but the last so many, of which the one that
/// begins will be one, if any is.
///
/// # Errors
/// The state cannot be read. A run that cannot be removed stays.
pub fn prune(state: &State, keeping: &Keeping, now: Timestamp) -> Result<(), Error> {
    let mut ended: Vec<(Timestamp, Folder)> = Vec::new();
    for (_, folder) in state.all()? {
        match journal::last_record(&folder) {
            Ok(Some(Record { at, event: Event::RunStopped(_), .. })) => ended.push((at, folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let changed = folder.changed().unwrap_or(now);
                let age = now.as_duration().saturating_sub(changed.as_duration());
                // One that never began; a young one is about to.
                if age > UNBORN_FOR {
                    remove(&folder);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    ended.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let keep = usize::try_from(keeping.runs.saturating_sub(1)).unwrap_or(usize::MAX);
    for (index, (at, folder)) in ended.into_iter().enumerate() {
        let age = now.as_duration().saturating_sub(at.as_duration());
        if index >= keep || age > keeping.time {
            remove(&folder);
        }
    }
    Ok(())
}

/// Removes a run that nobody has.
fn remove(folder: &Folder) {
    if let Ok(Some(lock)) = folder.lock() {
        let _stays = folder.remove(&lock);
    }
}
