//! The budget that a run shares with others: what a retry costs, and what a success earns.
//!
//! Where the budget is kept is not known here.

use super::Run;
use crate::engine::event::Outcome;
use crate::engine::state::{Planned, State};
use crate::engine::{Action, Refund, Token};

impl Run {
    /// Begins the wait before a retry, where there is a budget as soon as that has granted a token.
    pub(super) fn pay_for(&mut self, planned: Planned, actions: &mut Vec<Action>) {
        if self.policy.budget.is_none() {
            return self.wait(planned, actions);
        }
        self.state = State::TakingToken(planned);
        actions.push(Action::TakeToken);
    }

    /// The budget has answered.
    pub(super) fn token(&mut self, token: Token, actions: &mut Vec<Action>) {
        let State::TakingToken(planned) = self.state else { return };
        self.has_token = token == Token::Granted;
        let name = self.policy.budget.clone().unwrap_or_default();
        self.refusal = match token {
            Token::Granted if planned.too_late.is_some_and(|late| self.now.elapsed >= late) => {
                return self.finish(Outcome::Deadline, planned.leftovers, actions);
            }
            Token::Granted => return self.wait(planned, actions),
            Token::Refused => Some(format!("the budget {name} is used up")),
            Token::Unreachable => Some(format!("the store of the budget {name} cannot be reached")),
        };
        self.finish(Outcome::Budget, planned.leftovers, actions);
    }

    /// The attempt that follows is by hand, and those cost nothing. A wait that is broken off otherwise has cost its token.
    pub(super) fn give_back_token(&mut self, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.has_token) {
            actions.push(Action::PutBack(Refund::Token));
        }
    }

    /// A success at the first attempt gives something back.
    pub(super) fn reward(&self, outcome: Outcome, actions: &mut Vec<Action>) {
        let is_at_once = outcome == Outcome::Succeeded && !self.history.has_failed();
        if is_at_once && self.policy.budget.is_some() {
            actions.push(Action::PutBack(Refund::Share));
        }
    }
}
