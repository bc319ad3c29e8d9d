//! What the command is told in its environment, in place of what an outer run told us.

use std::ffi::{CStr, CString};
use std::iter;

use crate::config::environment::{Environment, FACTS, is_ours};
use crate::engine::event::{AttemptEnded, Outcome, Trigger};
use crate::engine::history::History;
use crate::engine::signal::Signal;

/// What is left of the environment beside added entries: neither what they stand for nor other facts.
#[must_use]
pub fn beside(added: &[CString], environment: &Environment) -> Vec<&'static CStr> {
    let names: Vec<&[u8]> = added.iter().map(|entry| name(entry)).collect();
    let is_replaced = |entry: &CStr| names.iter().any(|name| has_name(entry, name));
    environment.entries().filter(|entry| !is_fact(entry) && !is_replaced(entry)).collect()
}

fn name(entry: &CStr) -> &[u8] {
    entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn has_name(entry: &CStr, name: &[u8]) -> bool {
    let entry = entry.to_bytes();
    let rest = (entry.first() == name.first()).then(|| entry.strip_prefix(name)).flatten();
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

fn is_fact(entry: &CStr) -> bool {
    is_ours(entry) && FACTS.iter().any(|fact| has_name(entry, fact.as_bytes()))
}

/// The entries with which a command speaks the language of rules. gettext asks LANGUAGE first in every locale but `C` itself (GNU
/// gettext manual, 2.3.3).
pub fn c_locale(environment: &Environment) -> impl Iterator<Item = CString> {
    let is_asked = environment.get("LANGUAGE").is_some_and(|languages| !languages.is_empty());
    let language = is_asked.then(|| c"LANGUAGE=".to_owned());
    iter::once(c"LC_ALL=C.UTF-8".to_owned()).chain(language)
}

/// The facts for an attempt that is about to begin.
#[must_use]
pub fn of_next(attempt: u64, trigger: Trigger, history: &History) -> Vec<CString> {
    let mut facts = common(attempt, history.max_attempts_with_next(trigger), history);
    if let Some(last) = history.last_attempt() {
        facts.extend(of_last(last.exit_code, last.signal, last.reason.as_deref()));
    }
    entries(facts)
}

/// The facts of an attempt that has ended, for a command of the user's own.
#[must_use]
pub fn of_ended(event: &AttemptEnded, history: &History) -> Vec<CString> {
    let mut facts = common(event.attempt, history.max_attempts(), history);
    let AttemptEnded { ending, judgement, .. } = event;
    facts.extend(of_last(ending.exit_code, ending.signal, judgement.reason.as_deref()));
    entries(facts)
}

/// The facts of a wait that begins.
#[must_use]
pub fn of_wait(history: &History) -> Vec<CString> {
    let mut facts = of_run(history);
    let delay = history.last_attempt().and_then(|last| last.next_delay).unwrap_or_default();
    facts.push(("RETRYRUN_NEXT_DELAY", delay.as_secs_f64().to_string()));
    entries(facts)
}

/// The facts of a run that is over.
#[must_use]
pub fn of_end(history: &History) -> Vec<CString> {
    let mut facts = of_run(history);
    facts.push(("RETRYRUN_OUTCOME", history.outcome.map_or("", Outcome::name).to_owned()));
    facts.push(("RETRYRUN_MESSAGE", history.message.clone().unwrap_or_default()));
    entries(facts)
}

/// The entry that tells a hook which one it is.
#[must_use]
pub fn of_hook(name: &str) -> CString {
    entry("RETRYRUN_HOOK", name)
}

/// The entry that tells which run it is.
#[must_use]
pub fn of_run_id(history: &History) -> CString {
    entry(RUN_ID, &history.run_id)
}

const RUN_ID: &str = "RETRYRUN_RUN_ID";

fn of_run(history: &History) -> Vec<Fact> {
    let mut facts = common(history.last_number(), history.max_attempts(), history);
    if let Some(last) = history.last_attempt() {
        facts.extend(of_last(last.exit_code, last.signal, last.reason.as_deref()));
    }
    facts
}

type Fact = (&'static str, String);

fn common(attempt: u64, max_attempts: Option<u64>, history: &History) -> Vec<Fact> {
    let mut facts = vec![
        ("RETRYRUN_ATTEMPT", attempt.to_string()),
        ("RETRYRUN_MAX_ATTEMPTS", max_attempts.map_or(String::new(), |max| max.to_string())),
        (RUN_ID, history.run_id.clone()),
    ];
    if let Some(deadline) = history.policy.deadline {
        let at = history.started_at.as_duration().saturating_add(deadline);
        // Whole seconds, for the arithmetic of shells; rounded up, since the outer run keeps the exact time anyway.
        let seconds = at.as_secs() + u64::from(at.subsec_nanos() > 0);
        facts.push(("RETRYRUN_DEADLINE_AT", seconds.to_string()));
    }
    facts
}

fn of_last(exit_code: Option<i32>, signal: Option<Signal>, reason: Option<&str>) -> [Fact; 3] {
    [
        ("RETRYRUN_LAST_EXIT_CODE", exit_code.map_or(String::new(), |code| code.to_string())),
        ("RETRYRUN_LAST_SIGNAL", signal.map_or(String::new(), |signal| signal.to_string())),
        ("RETRYRUN_LAST_REASON", reason.unwrap_or_default().to_owned()),
    ]
}

fn entries(facts: Vec<Fact>) -> Vec<CString> {
    facts.into_iter().map(|(name, value)| entry(name, &value)).collect()
}

fn entry(name: &str, value: &str) -> CString {
    CString::new(format!("{name}={value}")).expect("no fact holds a zero byte")
}
