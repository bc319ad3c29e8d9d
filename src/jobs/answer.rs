//! What is asked of named runs from outside: to list them, to show one, to end its wait or the run, to run one again.

use std::io;
use std::thread;
use std::time::Duration;

use super::as_process;
use super::call::Call;
use super::control::{self, Request};
use super::folder::{Folder, State};
use super::journal::{self, Told};
use super::list::{Found, list as list_all};
use super::{masked, table};
use crate::config::name::Name;
use crate::engine::event::Outcome;
use crate::engine::keyword::did_you_mean;
use crate::engine::resume::Stood;
use crate::engine::time::Timestamp;
use crate::error::Error;
use crate::report::text::harmless_json;
use crate::report::{json, markdown};

/// How often it is looked whether a run that was told to end has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often one that does not listen is asked again.
const TRIES: u32 = 50;

/// Answers `--jobs`; also why of some runs nothing is known.
///
/// # Errors
/// The state cannot be read.
pub fn list(
    state: &State,
    as_json: bool,
    now: Timestamp,
    mask: &dyn Fn(&str) -> String,
) -> Result<(String, Vec<Error>), Error> {
    let Found { mut listed, unread } = list_all(state)?;
    listed.iter_mut().for_each(|run| masked::listed(run, mask));
    if as_json {
        // It fails only where a value cannot be written, of which there are none.
        let json = serde_json::to_string(&listed).unwrap_or_default();
        return Ok((harmless_json(&json) + "\n", unread));
    }
    Ok((table::whole(&listed, now), unread))
}

/// Answers `--show-job`.
///
/// # Errors
/// There is no such run, or its journal cannot be read.
pub fn show(
    state: &State,
    name: &Name,
    for_people: bool,
    mask: &dyn Fn(&str) -> String,
) -> Result<String, Error> {
    let (_, told) = find(state, name)?;
    let mut history = told.history().ok_or_else(|| unknown(state, name))?;
    masked::history(&mut history, mask);
    Ok(match for_people {
        true => markdown::on_a_terminal(&history),
        false => json::render(&history),
    })
}

/// Answers `--retry-job` and `--stop-job`; a stop when it is over. Also what is to be said where there was nothing to do.
///
/// # Errors
/// There is no such run, it does not go on, nobody hears, or the system refuses.
pub fn ask(state: &State, name: &Name, request: Request) -> Result<Option<String>, Error> {
    let (folder, told) = find(state, name)?;
    let stood = told.unended().map(|unended| unended.stood);
    let fail = |source| Error::Job { name: name.to_string(), source };
    let is_over = told.history().is_some_and(|history| history.outcome.is_some());
    // One that is over may still have its last hook to run, which a stop ends.
    let is_in_vain = is_over && request == Request::Retry;
    let Some(owner) = folder.owner().filter(|_| !is_in_vain) else {
        return Err(Error::NotRunning(name.to_string()));
    };
    if !is_heard(&folder, owner, request).map_err(fail)? {
        return Err(match folder.owner() {
            Some(pid) if pid == owner => Error::Deaf { name: name.to_string(), pid },
            Some(_) | None => Error::NotRunning(name.to_string()),
        });
    }
    while request == Request::Stop && folder.owner() == Some(owner) {
        thread::sleep(LOOK_EVERY);
    }
    let has_no_wait = request == Request::Retry && matches!(stood, Some(Stood::Attempting { .. }));
    Ok(has_no_wait.then(|| format!("the run {name} has no wait to end: its attempt goes on")))
}

/// Whether an owner takes a request. One that has just begun may not listen yet.
fn is_heard(folder: &Folder, owner: u32, request: Request) -> io::Result<bool> {
    for _ in 0..TRIES {
        if folder.owner() != Some(owner) {
            break;
        }
        if control::ask(folder, request)? {
            return Ok(true);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(false)
}

/// What an ended run was called with, the latest call last.
///
/// # Errors
/// There is no such run, or it has not ended.
pub fn calls_of_ended(state: &State, name: &Name) -> Result<Vec<Call>, Error> {
    let (folder, told) = find(state, name)?;
    let outcome: Option<Outcome> = told.history().and_then(|history| history.outcome);
    let trouble = match (outcome, folder.owner()) {
        (Some(_), None) => return Ok(told.calls),
        (_, Some(owner)) => {
            format!("--rerun-job: the run {name} goes on already{}", as_process(owner))
        }
        (None, None) => {
            format!(
                "--rerun-job: the run {name} has not ended: go on with --job {name}, or forget it with --fresh"
            )
        }
    };
    Err(Error::Usage(trouble))
}

/// A run and its journal.
pub(super) fn find(state: &State, name: &Name) -> Result<(Folder, Told), Error> {
    let folder = state.find(name).ok_or_else(|| unknown(state, name))?;
    match journal::read(&folder) {
        Ok(Some(told)) => Ok((folder, told)),
        Ok(None) => Err(Error::Journal(name.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown(state, name)),
        Err(source) => Err(Error::Job { name: name.to_string(), source }),
    }
}

fn unknown(state: &State, name: &Name) -> Error {
    let all = state.all().unwrap_or_default();
    let hint = did_you_mean(name.as_str(), all.iter().map(|(name, _)| name.as_str()));
    Error::Usage(format!("there is no named run `{name}`{hint}"))
}
