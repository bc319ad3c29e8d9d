//! What comes from others is masked before it enters a record.

use super::Driver;
use crate::child::cannot_start;
use crate::engine::Input;
use crate::engine::classify::Hint;
use crate::engine::event::{Kept, SpawnErrorKind};
use crate::unix::spawn::SpawnError;

impl Driver {
    /// What the command said of its failure. What it wrote was masked where it was cut.
    pub(super) fn masked(&mut self, mut input: Input) -> Input {
        if let Input::Exited { kept, hint, .. } = &mut input {
            let mask = &*self.command.mask;
            let said = self.hint_file.take().map(|file| file.read(mask)).unwrap_or_default();
            if let Some(fault) = said.fault {
                self.sinks.warn(&fault.to_string());
            }
            let said = said.hint;
            // Of two that ask for a wait the one that asks for more.
            *hint = Hint { retry_after: said.retry_after.max(hint.retry_after), ..said };
            let Kept { stderr_tail: _, stdout_log, stderr_log } = kept;
            for text in [stdout_log, stderr_log].into_iter().flatten() {
                *text = mask(text);
            }
        }
        input
    }

    /// Why it could not be started: the reason may name what stands in a file of the user's.
    pub(super) fn cannot_start(&mut self, error: SpawnError) -> Input {
        let SpawnError { kind, reason } = error;
        let reason = (self.command.mask)(&reason);
        let input = cannot_start(SpawnError { kind, reason }, &self.command.shown_name);
        if let Input::CannotStart { kind: SpawnErrorKind::Descriptors, error } = &input
            && self.warned.insert(error.clone())
        {
            // It is our own failure, which is said also where a command's is not.
            self.sinks.error(error);
        }
        input
    }
}
