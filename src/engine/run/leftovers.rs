//! What attempts left behind: ended before the next one, or before the run stops.

use std::time::Duration;

use super::{CANNOT_BE_KILLED, Run};
use crate::engine::event::Outcome;
use crate::engine::policy::Leftovers;
use crate::engine::state::State;
use crate::engine::{Action, Sweep};

impl Run {
    /// Stops after an attempt, first ending what that left behind, where nothing of it is to stay.
    pub(super) fn finish(&mut self, outcome: Outcome, leftovers: u64, actions: &mut Vec<Action>) {
        let nothing_stays = self.policy.leftovers == Leftovers::Kill && self.failure.is_none();
        if leftovers > 0 && nothing_stays {
            self.state = State::Sweeping(outcome);
            actions.push(self.sweep(Sweep::All));
        } else {
            self.stop(outcome, Duration::ZERO, actions);
        }
    }

    pub(super) fn sweep(&self, which: Sweep) -> Action {
        Action::Sweep { which, signal: self.policy.stop_signal }
    }

    pub(super) fn swept(&mut self, survives: bool, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Waiting(_) if survives => {
                self.failure = Some(CANNOT_BE_KILLED.to_owned());
                self.stop(Outcome::Permanent, self.state.waited(self.now), actions);
            }
            State::Waiting(wait) => {
                wait.sweeping = false;
                self.tick(actions);
            }
            State::Sweeping(outcome) => {
                let outcome = *outcome;
                if survives {
                    self.failure = Some(CANNOT_BE_KILLED.to_owned());
                }
                self.stop(outcome, Duration::ZERO, actions);
            }
            State::Ready
            | State::Starting { .. }
            | State::Attempting(_)
            | State::Asking(_)
            | State::TakingToken(_)
            | State::Preparing { .. }
            | State::Over(_) => {}
        }
    }
}
