//! The budget of a run, beside everything else: asked before a wait, and given back to at the end.

use std::future::pending;

use super::{Driver, STOP_SIGNALS};
use crate::budget::{Answer, Budget};
use crate::engine::{Input, Refund, Token};
use crate::unix::signals::Received;

/// Waits for the budget's answer; for ever where there is none.
pub(super) async fn answer(budget: Option<&mut Budget>) -> Answer {
    match budget {
        Some(budget) => budget.answer().await,
        None => pending().await,
    }
}

impl Driver {
    /// Asks the budget for a token.
    pub(super) fn take_token(&mut self) -> Option<Input> {
        match &mut self.budget {
            Some(budget) => {
                budget.take();
                None
            }
            None => Some(Input::Token(Token::Granted)),
        }
    }

    /// What the budget says, and what is to be said of it.
    pub(super) fn token(&mut self, answer: Answer) -> Input {
        for text in answer.said {
            self.sinks.warn(&(self.command.mask)(&text));
        }
        Input::Token(answer.token)
    }

    pub(super) fn put_back(&mut self, refund: Refund) {
        if let Some(budget) = &mut self.budget {
            budget.put_back(refund);
        }
    }

    /// Waits until what was put back is there; whoever tells us to stop does not wait for it.
    pub(super) async fn settle(&mut self) {
        let Some(budget) = &mut self.budget else { return };
        loop {
            tokio::select! {
                biased;
                Received { signal, .. } = self.signals.next() => {
                    if STOP_SIGNALS.contains(&signal) {
                        return;
                    }
                }
                () = budget.settled() => return,
            }
        }
    }
}
