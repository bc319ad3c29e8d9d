//! The policy of a run in words for people, one value a line.
//!
//! What its rules are is not in the history; those that decided stand with their attempts.

use std::time::Duration;

use crate::engine::event::PolicySummary;
use crate::engine::time::human;

/// The names and values of what was in effect; limits that were off are left out.
#[must_use]
pub fn in_words(policy: &PolicySummary) -> Vec<(&'static str, String)> {
    let retries = policy.retries.map_or("unlimited".to_owned(), |retries| retries.to_string());
    let mut lines = vec![
        ("policy", format!("{}, {}", policy.name, policy.origin)),
        ("retries", retries),
        ("backoff", backoff(policy)),
        ("jitter", jitter(policy)),
    ];
    let limits = [
        ("timeout", policy.timeout),
        ("idle timeout", policy.idle_timeout),
        ("deadline", policy.deadline),
        ("healthy after", policy.healthy_after),
    ];
    lines.extend(limits.into_iter().filter_map(|(name, limit)| Some((name, human(limit?)))));
    if policy.consecutive > 1 {
        lines.push(("consecutive", format!("{} successes in a row", policy.consecutive)));
    }
    lines
}

/// E.g. `exponential, 5s times 2, at most 5m`.
fn backoff(policy: &PolicySummary) -> String {
    let cap = human(policy.max_delay);
    if let Some(delays) = &policy.delays {
        let waits = delays
            .iter()
            .map(|seconds| human(Duration::try_from_secs_f64(*seconds).unwrap_or(Duration::MAX)));
        let waits = waits.collect::<Vec<_>>().join(", ");
        return format!("{waits}, at most {cap}");
    }
    let shape = policy.backoff.map_or("none", |shape| shape.name());
    let delay = human(policy.delay.unwrap_or_default());
    let grows = policy.backoff == Some(crate::engine::backoff::Shape::Exponential);
    let times = match policy.multiplier {
        Some(multiplier) if grows => format!(" times {multiplier}"),
        Some(_) | None => String::new(),
    };
    format!("{shape}, {delay}{times}, at most {cap}")
}

/// A seed says nothing where there is no chance.
fn jitter(policy: &PolicySummary) -> String {
    if policy.jitter == "none" {
        policy.jitter.clone()
    } else {
        format!("{}, seed {}", policy.jitter, policy.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::Sample;

    #[test]
    fn a_policy_is_told_in_words() {
        let mut policy = Sample::of(&["a"]).history.policy;
        let told = |policy: &PolicySummary| {
            let lines = in_words(policy).into_iter().map(|(name, value)| format!("{name} {value}"));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            told(&policy),
            [
                "policy curl, built in",
                "retries 3",
                "backoff exponential, 5s times 2, at most 5m",
                "jitter none",
            ]
        );
        policy.retries = None;
        policy.backoff = None;
        policy.delay = None;
        policy.multiplier = None;
        policy.delays = Some(vec![1.0, 2.5]);
        policy.jitter = "full".to_owned();
        policy.idle_timeout = Some(Duration::from_secs(90));
        policy.consecutive = 2;
        assert_eq!(
            told(&policy)[1..],
            [
                "retries unlimited",
                "backoff 1s, 2.5s, at most 5m",
                "jitter full, seed 42",
                "idle timeout 1m 30s",
                "consecutive 2 successes in a row",
            ]
        );
    }
}
