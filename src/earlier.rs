//! What was said when a run was called that is gone on with, or run again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::{self, Request};
use crate::config;
use crate::config::environment::Environment;
use crate::config::report::Place;
use crate::config::settings::Settings;
use crate::engine::history::History;
use crate::engine::policy::Policy;
use crate::error::Error;
use crate::jobs::call::Call;

/// A call with a command, and those that ran it again, which have none. The strongest of what they say is the first.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Their flags.
    pub flags: Vec<Settings>,
    /// Our settings in their environments.
    pub environments: Vec<Settings>,
    /// The command.
    pub command: Vec<OsString>,
    /// The folder in which it was called.
    pub folder: Option<PathBuf>,
}

impl Earlier {
    /// What calls said, the latest call last; the strongest first.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn of(calls: &[Call]) -> Result<Vec<Earlier>, Error> {
        let mut all = Vec::new();
        let mut one = Earlier::default();
        let here = std::env::current_dir().ok();
        for call in calls.iter().rev() {
            let environment = Environment::new(Vec::new()).with_settings(call.settings());
            let folder = call.folder().filter(|folder| Some(folder) != here.as_ref());
            let in_folder = |mut settings: Settings| {
                if let Some(folder) = &folder {
                    seen_from(folder, &mut settings);
                }
                // To forget was meant for that call alone.
                Settings { fresh: None, ..settings }
            };
            one.environments.push(in_folder(environment.layer()?.settings));
            let Request::Call(args) = cli::parse(call.words())? else { continue };
            one.flags.push(in_folder(args.settings));
            if !args.command.is_empty() {
                one.command = args.command;
                one.folder = call.folder();
                all.push(std::mem::take(&mut one));
            }
        }
        Ok(all)
    }

    /// All that they said, the strongest first.
    #[must_use]
    pub fn settings(all: Vec<Earlier>) -> Vec<Settings> {
        all.into_iter().flat_map(|one| one.flags.into_iter().chain(one.environments)).collect()
    }

    /// The policy that a run was to keep to by its calls alone, if nothing else has changed since.
    ///
    /// # Errors
    /// One of the calls, or a file that it names, cannot be read.
    pub fn policy(
        calls: &[Call],
        environment: &Environment,
        history: &History,
    ) -> Result<Policy, Error> {
        let all = Earlier::of(calls)?;
        let command = all.first().map(|latest| latest.command.clone()).unwrap_or_default();
        let call = config::Call {
            flags: Vec::new(),
            environment: &environment.without_settings(),
            earlier: Earlier::settings(all),
            command: &command,
            now: history.started_at,
            random_seed: history.policy.seed,
        };
        Ok(call.layers()?.resolve(&str::to_owned).policy)
    }
}

/// What was said in another folder means paths as they are seen from there.
fn seen_from(folder: &Path, settings: &mut Settings) {
    let Settings { config, log_dir, cgroup, report, .. } = settings;
    let reports = report.iter_mut().flatten().filter_map(|report| match &mut report.place {
        Place::Path(path) => Some(path),
        Place::Stdout | Place::Descriptor(_) => None,
    });
    for path in [config, log_dir, cgroup].into_iter().flatten().chain(reports) {
        *path = folder.join(&path);
    }
}
