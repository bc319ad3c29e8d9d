//! What somebody asks of a run while it lasts: to stop, or to go on at once.

use super::Run;
use crate::engine::event::{Outcome, Trigger};
use crate::engine::signal::Signal;
use crate::engine::state::State;
use crate::engine::{Action, Sender};

impl Run {
    /// A signal tells us to stop.
    pub(super) fn signal(&mut self, signal: Signal, sender: Sender, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Ready | State::Over(_) => {}
            State::Starting { attempt, .. } | State::Attempting(attempt) => {
                self.told.get_or_insert(signal);
                let due = attempt.tell(self.now, signal, sender);
                self.carry_out(due, actions);
            }
            State::Waiting(_) => {
                self.told = Some(signal);
                self.told_in_attempt = false;
                let waited = self.state.waited(self.now);
                self.stop(Outcome::Interrupted, waited, actions);
            }
            State::TakingToken(planned) => {
                // What it is granted meanwhile is lost.
                let leftovers = planned.leftovers;
                self.told = Some(signal);
                self.told_in_attempt = false;
                self.finish(Outcome::Interrupted, leftovers, actions);
            }
            State::Asking(_) | State::Preparing { .. } => {
                self.told.get_or_insert(signal);
                self.told_in_attempt = false;
                actions.push(Action::Kill(signal));
            }
            // The run is decided, and what is left of it short.
            State::Sweeping(_) => {}
        }
    }

    /// Somebody stops the run, and with it what runs for it.
    pub(super) fn stop_by_hand(&mut self, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Ready | State::Sweeping(_) | State::Over(_) => {}
            State::Starting { attempt, .. } | State::Attempting(attempt) => {
                self.is_stopped = true;
                let due = attempt.stop(self.now);
                self.carry_out(due, actions);
            }
            State::TakingToken(planned) => {
                let leftovers = planned.leftovers;
                self.finish(Outcome::Stopped, leftovers, actions);
            }
            State::Waiting(_) => {
                self.stop(Outcome::Stopped, self.state.waited(self.now), actions);
            }
            State::Asking(_) | State::Preparing { .. } => {
                self.is_stopped = true;
                actions.push(Action::Kill(Signal::TERM));
            }
        }
    }

    pub(super) fn retry_now(&mut self, actions: &mut Vec<Action>) {
        let State::Waiting(wait) = &mut self.state else { return };
        if wait.sweeping {
            wait.trigger = Trigger::Manual;
            wait.until = self.now.elapsed;
            return self.give_back_token(actions);
        }
        self.give_back_token(actions);
        self.go_on(Trigger::Manual, self.state.waited(self.now), actions);
    }
}
