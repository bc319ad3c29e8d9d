//! Named runs from outside: what is kept of them, who goes on with it, and what is asked of them.

mod control;
mod crashes;
mod hostile;
mod listed;
mod resumed;
mod watched;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use retryrun::engine::history::History;
use serde_json::Value;
use tempfile::TempDir;

use crate::test::{Ran, Running, Test, wait_until};

/// Where the named runs of a test are kept.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Home {
        Home(tempfile::tempdir().expect("a folder for the state"))
    }

    /// A call whose state is kept here.
    pub(crate) fn call<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Test {
        Test::new(words).env("XDG_STATE_HOME", self.0.path())
    }

    /// A run named `x`, in a folder that all of them share.
    pub(crate) fn run(&self, options: &[&str], script: &str) -> Test {
        self.named("x", options, script)
    }

    pub(crate) fn named(&self, name: &str, options: &[&str], script: &str) -> Test {
        let words = ["--job", name].into_iter().chain(options.iter().copied());
        let test = self.call(words.chain(["--", "bash", "-c", script]));
        test.with(|command| {
            command.current_dir(self.0.path());
        })
    }

    /// A file in the folder that runs share.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of a run's state.
    pub(crate) fn state(&self, name: &str, file: &str) -> PathBuf {
        self.0.path().join("retryrun/jobs").join(name).join(file)
    }

    /// Puts a journal in place.
    pub(crate) fn put(&self, name: &str, journal: &str) {
        let path = self.state(name, "journal");
        let folder = path.parent().expect("a file in a folder");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).expect("a folder");
        fs::write(path, journal).expect("a file");
    }

    /// The moment comes for which a run waits that has died.
    pub(crate) fn comes_due(&self, name: &str) {
        let journal = fs::read_to_string(self.state(name, "journal")).expect("it is there");
        let mut lines: Vec<String> = journal.lines().map(|line| format!("{line}\n")).collect();
        let planned = lines.iter_mut().rfind(|line| line.contains("\"event\":\"retry_planned\""));
        let planned = planned.expect("it waits");
        let (before, _) = planned.rsplit_once(",\"delay\":").expect("for some time");
        *planned = format!("{before},\"delay\":0.0}}\n");
        self.put(name, &lines.concat());
    }

    /// What `--jobs --json` says of all.
    pub(crate) fn list(&self) -> Vec<Value> {
        let ran = self.call(["--jobs", "--json"]).run();
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
        serde_json::from_str(&ran.stdout).expect("it is an array of objects")
    }

    /// What it says of one; null where there is none.
    pub(crate) fn listed(&self, name: &str) -> Value {
        let mut all = self.list().into_iter();
        all.find(|run| run.get("job").is_some_and(|job| job == name)).unwrap_or_default()
    }

    /// The state of a run; empty where there is none.
    pub(crate) fn standing(&self, name: &str) -> String {
        let listed = self.listed(name);
        let state = listed.get("state").and_then(Value::as_str);
        state.unwrap_or_default().to_owned()
    }

    pub(crate) fn wait_for(&self, name: &str, state: &str) {
        wait_until(&format!("{name} is {state}"), || self.standing(name) == state);
    }

    /// What `--show-job` says.
    pub(crate) fn show(&self, name: &str) -> History {
        let ran = self.call(["--show-job", name]).run();
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).expect("it is a history")
    }

    pub(crate) fn ask(&self, what: &str, name: &str) -> Ran {
        self.call([what, name]).run()
    }
}

/// Kills us, and waits until we are dead.
pub(crate) fn kill(mut running: Running) {
    running.signal(rustix::process::Signal::KILL);
    running.wait();
}

/// How each attempt began and ended.
pub(crate) fn attempts(history: &History) -> String {
    let attempts = history.attempts.iter();
    let texts = attempts.map(|attempt| format!("{} {}", attempt.trigger, attempt.ending()));
    texts.collect::<Vec<_>>().join(", ")
}
