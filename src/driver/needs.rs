//! What an attempt needs of ours before it starts, beside its streams: a file for what it knows, and a cgroup.

use super::Driver;
use crate::child::cannot_make;
use crate::engine::Input;
use crate::engine::ending::SpawnErrorKind;
use crate::hint::HintFile;
use crate::unix::cgroup::Cgroup;
use crate::unix::spawn::SpawnError;

impl Driver {
    /// Makes the file in which it may say what it knows, where the user wants one. What the run has to know where it cannot be made: that
    /// is not the command's fault, and no other attempt will have one, unless we have only too much open.
    pub(super) fn make_hint_file(&mut self) -> Option<Input> {
        let made = self.command.hints.then(HintFile::create).transpose();
        let error = match made {
            Ok(file) => {
                self.hint_file = file;
                return None;
            }
            Err(error) => cannot_make("a file for --hints", error),
        };
        if matches!(error.kind, SpawnErrorKind::Resources | SpawnErrorKind::Descriptors) {
            return Some(self.cannot_start(error));
        }
        let failure = (self.command.mask)(&error.reason);
        self.sinks.error(&failure);
        Some(Input::CannotPrepare(failure))
    }

    /// Makes its cgroup, where the user wants one.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make_cgroup(&mut self, attempt: u64) -> Result<Option<Cgroup>, SpawnError> {
        let Some(parent) = &self.command.cgroup else { return Ok(None) };
        let name = format!("retryrun-{}-{attempt}", self.run.history().run_id);
        let cgroup = self.cgroups.create(parent, &name);
        cgroup.map(Some).map_err(|error| cannot_make("its cgroup", error))
    }
}
