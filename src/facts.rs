//! What the command is told in its environment, in place of what an outer run told us.

use std::ffi::{CStr, CString};

use crate::config::environment::{Environment, FACTS};
use crate::engine::event::Trigger;
use crate::engine::history::History;

/// The environment with these facts, and no others.
#[must_use]
pub fn among<'a>(environment: &Environment, facts: &'a [CString]) -> Vec<&'a CStr> {
    let mut entries: Vec<&CStr> = environment.entries().filter(|entry| !is_fact(entry)).collect();
    entries.extend(facts.iter().map(CString::as_c_str));
    entries
}

fn is_fact(entry: &CStr) -> bool {
    let name = entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    FACTS.iter().any(|fact| fact.as_bytes() == name)
}

/// The facts for an attempt that is about to begin.
#[must_use]
pub fn of(attempt: u64, trigger: Trigger, history: &History) -> Vec<CString> {
    let max_attempts = history.max_attempts_with_next(trigger);
    let max_attempts = max_attempts.map_or(String::new(), |max| max.to_string());
    let mut facts = vec![
        ("RETRYRUN_ATTEMPT", attempt.to_string()),
        ("RETRYRUN_MAX_ATTEMPTS", max_attempts),
        ("RETRYRUN_RUN_ID", history.run_id.clone()),
    ];
    if let Some(deadline) = history.policy.deadline {
        let at = history.started_at.as_duration().saturating_add(deadline);
        // Whole seconds, for the arithmetic of shells; rounded up, since the outer run keeps the exact time anyway.
        let seconds = at.as_secs() + u64::from(at.subsec_nanos() > 0);
        facts.push(("RETRYRUN_DEADLINE_AT", seconds.to_string()));
    }
    if let Some(last) = history.last_attempt() {
        let text = |value: Option<String>| value.unwrap_or_default();
        facts.push(("RETRYRUN_LAST_EXIT_CODE", text(last.exit_code.map(|code| code.to_string()))));
        facts.push(("RETRYRUN_LAST_SIGNAL", text(last.signal.map(|signal| signal.to_string()))));
        facts.push(("RETRYRUN_LAST_REASON", text(last.reason.clone())));
    }
    let entries = facts.into_iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    entries.map(|entry| entry.expect("our own words have no zero bytes")).collect()
}
