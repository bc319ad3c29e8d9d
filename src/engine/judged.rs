//! An attempt that has ended and was judged, before anything is told of it.

use std::time::Duration;

use super::attempt::Attempt;
use super::classify::{Hint, Ruling};
use super::event::{AttemptEnded, Ending, Judgement, Kept, Usage, Verdict};
use super::output::Matches;
use super::policy::Policy;
use super::time::{Time, to_micros};

/// What an attempt left besides its ending.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// What it used.
    pub usage: Usage,
    /// Processes that it left behind.
    pub leftovers: u64,
    /// Whether something still held its output when we stopped listening.
    pub output_held: bool,
    /// Why what it wrote did not get where it was to go, if so.
    pub lost_output: Option<String>,
    /// What was found in its output.
    pub matches: Matches,
    /// What it says of its failure itself.
    pub hint: Hint,
    /// What was kept of its output.
    pub kept: Kept,
}

/// The attempt, and what the rules say of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What is to be told.
    pub event: AttemptEnded,
    /// What the rules say.
    pub ruling: Ruling,
    /// Whether it ran for so long that the count of retries begins anew.
    pub is_healthy: bool,
    /// The least wait before the next attempt, where somebody asked for one.
    pub retry_after: Option<Duration>,
    /// What we failed in, where it would have been a success otherwise.
    pub failure: Option<String>,
}

impl Judged {
    /// Judges an attempt that ends now. Where its input is lost nothing passes that needs another attempt, and where its output is it is no
    /// success. `lost_input` is how many successes in a row there were before it, where its input is lost.
    #[must_use]
    pub fn of(
        policy: &Policy,
        attempt: &Attempt,
        now: Time,
        ending: Ending,
        remains: Remains,
        lost_input: Option<u64>,
    ) -> Judged {
        let mut ruling = if ending.ended_by.is_judged() {
            policy.rules.judge(&ending, &remains.matches).with_hint(&remains.hint)
        } else {
            Ruling::default()
        };
        if let Some(successes) = lost_input {
            ruling = ruling.without_input(successes.saturating_add(1) >= policy.consecutive);
        }
        let failure = remains.lost_output.filter(|_| ruling.is_success());
        if failure.is_some() {
            ruling = ruling.without_output();
        }
        let over = attempt.over(now);
        let active = over.active.saturating_sub(attempt.started.active);
        Judged {
            event: AttemptEnded {
                attempt: attempt.number,
                elapsed: to_micros(over.elapsed.saturating_sub(attempt.started.elapsed)),
                ending,
                judgement: ruling.judgement.clone(),
                usage: remains.usage,
                leftovers: remains.leftovers,
                output_held: remains.output_held,
                kept: remains.kept,
            },
            ruling,
            is_healthy: policy.healthy_after.is_some_and(|healthy| active >= healthy),
            retry_after: remains.hint.retry_after,
            failure,
        }
    }

    /// The user's own command says that the failure does not pass; `origin` is where it stands.
    pub fn refuse(&mut self, origin: Option<String>) {
        self.ruling.judgement = Judgement {
            verdict: Some(Verdict::Permanent),
            reason: Some("retry-if".to_owned()),
            rule_origin: origin,
            ..Judgement::default()
        };
        self.event.judgement = self.ruling.judgement.clone();
    }
}
