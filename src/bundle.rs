//! A folder with all that is known of a run, fit to be attached to a bug.
//!
//! Secrets are masked in all of it; of the environment only a few values are shown.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;

use serde_json::{Map, Value, json};

use crate::config::environment::Environment;
use crate::destination::{GrowingFile, replace};
use crate::engine::event::{Event, Outcome, Record};
use crate::engine::history::History;
use crate::patterns::excerpt::begins_alike;
use crate::report::stream::EventStream;
use crate::report::{Sink, json};
use crate::streams::logs::{self, Logs};
use crate::unix::limits::{limits, memory};

/// How much of the end of a log is kept: more is not fit to be attached.
const MOST_OF_A_LOG: u64 = 16 * 1024 * 1024;

/// How much of a log before that is read, so that a secret that is cut is known.
const BEFORE_IT: u64 = 64 * 1024;

/// Variables whose values say how a program behaves, and nothing of who runs it.
const SHOWN: [&str; 19] = [
    "BUILDKITE",
    "CI",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_NUMERIC",
    "LC_TIME",
    "NO_COLOR",
    "PATH",
    "SHELL",
    "TERM",
    "TF_BUILD",
    "TZ",
];

const EVENTS: &str = "events.ndjson";
const HISTORY: &str = "history.json";
const POLICY: &str = "policy.json";
const ENVIRONMENT: &str = "environment.json";
const SYSTEM: &str = "system.json";

/// The bundle of a run.
pub struct Bundle {
    folder: PathBuf,
    /// Where the attempts' logs are.
    logs: PathBuf,
    /// Keeps other runs out of the folder.
    _taken: Option<Logs>,
    events: EventStream,
    /// Why the first part of it that failed could not be written.
    failure: Option<io::Error>,
    policy: String,
    environment: Value,
    mask: Rc<dyn Fn(&str) -> String>,
    when_failed: bool,
    keeps_logs: bool,
}

/// What a bundle is made of.
pub struct Parts<'a> {
    /// The policy with the origin of every value, as JSON.
    pub policy: String,
    /// The environment that we were given.
    pub environment: &'a Environment,
    /// Masks secrets.
    pub mask: Rc<dyn Fn(&str) -> String>,
    /// Only where the run did not succeed.
    pub when_failed: bool,
    /// Whether the logs stay where the bundle is not wanted: they were asked for by themselves.
    pub keeps_logs: bool,
}

/// The folder of a bundle, which only its owner can read until secrets are masked in it.
///
/// # Errors
/// It cannot be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Bundle {
    /// A bundle in `folder`, that takes the logs of attempts from another or from there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(
        folder: PathBuf,
        logs: PathBuf,
        taken: Option<Logs>,
        parts: Parts<'_>,
    ) -> io::Result<Bundle> {
        for name in [HISTORY, POLICY, ENVIRONMENT, SYSTEM] {
            // Of an earlier run.
            unless_missing(fs::remove_file(folder.join(name)))?;
        }
        let destination = Box::new(GrowingFile::create(&folder.join(EVENTS))?);
        let Parts { policy, environment, mask, when_failed, keeps_logs } = parts;
        Ok(Bundle {
            events: EventStream { destination, when_failed },
            failure: None,
            environment: shown(environment, &*mask),
            folder,
            logs,
            _taken: taken,
            policy,
            mask,
            when_failed,
            keeps_logs,
        })
    }

    /// Writes all of it that can be written.
    fn write(&mut self, history: &History) {
        self.put(HISTORY, &json::render(history));
        let (policy, environment) = (self.policy.clone(), pretty(&self.environment));
        self.put(POLICY, &policy);
        self.put(ENVIRONMENT, &environment);
        self.put(SYSTEM, &pretty(&system(history)));
        let names = logs::names(&self.logs);
        for name in self.noted(names).unwrap_or_default() {
            let written = self.put_log(&name);
            self.noted(written);
        }
    }

    fn put(&mut self, name: &str, text: &str) {
        let written = replace(&self.folder.join(name), text.as_bytes());
        self.noted(written);
    }

    fn put_log(&self, name: &str) -> io::Result<()> {
        let text = self.end_of(&self.logs.join(name));
        if self.logs == self.folder {
            // Rather none than one with secrets in it.
            fs::remove_file(self.folder.join(name))?;
        }
        replace(&self.folder.join(name), &text?)
    }

    fn noted<T>(&mut self, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.failure.get_or_insert(error)).ok()
    }

    /// The end of a log, masked: from the beginning of a line where it is not all.
    fn end_of(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let left_out = file.metadata()?.len().saturating_sub(MOST_OF_A_LOG);
        let start = left_out.saturating_sub(BEFORE_IT);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(left_out - start + MOST_OF_A_LOG).read_to_end(&mut bytes)?;
        if left_out == 0 {
            return Ok(self.masked(&bytes, 0));
        }
        let cut = usize::try_from(left_out - start).unwrap_or(usize::MAX);
        let kept = bytes.get(cut..).unwrap_or_default();
        let line = kept.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let note = format!("[{} bytes before this are left out]\n", left_out + line as u64);
        Ok([note.as_bytes(), &self.masked(&bytes, cut + line)].concat())
    }

    /// What stands behind a cut, with all masked that is a secret in the whole; the bytes as they are where nothing is to be masked.
    fn masked(&self, bytes: &[u8], cut: usize) -> Vec<u8> {
        let (before, behind) = bytes.split_at_checked(cut).unwrap_or((bytes, &[]));
        let text = String::from_utf8_lossy(bytes);
        let masked = (self.mask)(&text);
        if masked == text {
            return behind.to_vec();
        }
        let before = (self.mask)(&String::from_utf8_lossy(before));
        masked.get(begins_alike(&masked, &before)..).unwrap_or_default().as_bytes().to_vec()
    }

    /// Nothing of it is wanted.
    fn discard(&self) -> io::Result<()> {
        let mut names = vec![EVENTS.to_owned()];
        if self.logs == self.folder && !self.keeps_logs {
            names.extend(unless_missing(logs::names(&self.folder))?);
        }
        for name in names {
            unless_missing(fs::remove_file(self.folder.join(name)))?;
        }
        // It stays if something of others is in it.
        let _not_empty = fs::remove_dir(&self.folder);
        Ok(())
    }
}

impl Sink for Bundle {
    fn recall(&mut self, record: &Record, history: &History) -> io::Result<()> {
        if self.failure.is_none() {
            let told = self.events.recall(record, history);
            self.noted(told);
        }
        Ok(())
    }

    /// What fails is told at the end: until then the rest of it is gathered, and the logs, which are not masked yet, are ours.
    fn tell(&mut self, record: &Record, history: &History) -> io::Result<()> {
        if self.failure.is_none() {
            let told = self.events.tell(record, history);
            self.noted(told);
        }
        match &record.event {
            Event::RunStopped(stopped)
                if self.when_failed && stopped.outcome == Outcome::Succeeded =>
            {
                return self.discard();
            }
            Event::RunStopped(_) => self.write(history),
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptStarted(_)
            | Event::AttemptCut(_)
            | Event::AttemptEnded(_)
            | Event::RetryPlanned(_) => return Ok(()),
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// What is not there is nothing to complain about.
fn unless_missing<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        result => result,
    }
}

/// The environment with most values hidden.
fn shown(environment: &Environment, mask: &dyn Fn(&str) -> String) -> Value {
    let variables = environment.variables().map(|(name, value)| {
        let name = String::from_utf8_lossy(name).into_owned();
        let value = match SHOWN.contains(&name.as_str()) {
            true => mask(&value.to_string_lossy()),
            false => "***".to_owned(),
        };
        (name, Value::String(value))
    });
    Value::Object(variables.collect())
}

fn system(history: &History) -> Value {
    let system = rustix::system::uname();
    let limits = limits()
        .into_iter()
        .map(|(name, soft, hard)| (name.to_owned(), json!({ "soft": soft, "hard": hard })));
    json!({
        "retryrun": history.version,
        "system": system.sysname().to_string_lossy(),
        "release": system.release().to_string_lossy(),
        "version": system.version().to_string_lossy(),
        "machine": system.machine().to_string_lossy(),
        "cpus": thread::available_parallelism().ok().map(usize::from),
        "memory": memory(),
        "limits": limits.collect::<Map<_, _>>(),
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
