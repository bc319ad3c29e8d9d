//! What is shown of named runs, with masked what whoever looks wants masked: their records were masked as the run wanted it.
//!
//! Never numbers or our own words.

use super::list::Listed;
use crate::engine::history::{Attempt, History};

/// Masks the text of others in a run of the list.
pub(super) fn listed(listed: &mut Listed, mask: &dyn Fn(&str) -> String) {
    let Listed { command, cwd, last, last_reason, .. } = listed;
    let error = last.as_mut().and_then(|last| last.error.as_mut());
    for text in command.iter_mut().chain(cwd).chain(last_reason).chain(error) {
        *text = mask(text);
    }
}

/// Masks the text of others in a history.
pub(super) fn history(history: &mut History, mask: &dyn Fn(&str) -> String) {
    let mut changed = Vec::new();
    let mut change = |text: &mut String| {
        let masked = mask(text);
        if masked != *text {
            changed.push((std::mem::replace(text, masked.clone()), masked));
        }
    };
    history.command.iter_mut().for_each(&mut change);
    history.cwd.iter_mut().for_each(&mut change);
    for attempt in &mut history.attempts {
        let Attempt { error, reason, rule, rule_origin, evidence, .. } = attempt;
        [error, reason, rule, rule_origin, evidence].into_iter().flatten().for_each(&mut change);
        let Attempt { stderr_tail, stdout_log, stderr_log, .. } = attempt;
        [stderr_tail, stdout_log, stderr_log].into_iter().flatten().for_each(&mut change);
    }
    // The sentence is ours, but for what it quotes.
    if let Some(message) = &mut history.message {
        for (text, masked) in changed {
            *message = message.replace(&text, &masked);
        }
    }
}
