//! Going on with a run whose process died: with the right count, and the rest of its wait.

use std::time::Duration;

use super::Run;
use crate::engine::Action;
use crate::engine::classify::{PlacedRule, Ruling};
use crate::engine::event::{
    AttemptEnded, EndedBy, Ending, Event, Judgement, Kept, Outcome, RetryPlanned, RunResumed,
    RunStarted, Trigger, Usage,
};
use crate::engine::history::History;
use crate::engine::judged::Judged;
use crate::engine::next::{Next, Standing};
use crate::engine::policy::Policy;
use crate::engine::resume::{Stood, Unended};
use crate::engine::state::{State, Wait};
use crate::engine::time::{Time, Timestamp, to_micros};

/// Where a former process left the run.
#[derive(Clone, Debug)]
pub(super) struct Resuming {
    stood: Stood,
    /// Whether that kept to another policy.
    has_new_policy: bool,
}

impl Run {
    /// Goes on with a run. `identity` are the labels of the process that does; `elapsed` is the time since the run began, by the
    /// calendar: it never goes back behind the last record.
    #[must_use]
    pub fn resume(
        policy: Policy,
        identity: RunStarted,
        unended: Unended,
        elapsed: Duration,
    ) -> Run {
        let Unended { history, stood, policy: before, ending, last } = unended;
        let has_new_policy = before.is_some_and(|before| !policy.decides_as(&before));
        let now = Time { active: Duration::ZERO, elapsed: elapsed.max(last) };
        let run = Run::new(policy, identity, Timestamp::default());
        let unended = Some(Resuming { stood, has_new_policy });
        Run { history, unended, last: ending, now, ..run }
    }

    /// The present moment, as far as it is known.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    pub(super) fn go_on_from(&mut self, unended: Resuming, actions: &mut Vec<Action>) {
        let Resuming { stood, has_new_policy } = unended;
        let resumed = resumed(&self.identity, &self.history, has_new_policy);
        self.tell(Event::RunResumed(Box::new(resumed)), actions);
        match stood {
            Stood::Begun => self.start(Trigger::Resumed, Duration::ZERO, actions),
            Stood::Attempting { since } => {
                let event = self.lost(since);
                self.last = Some(event.ending.clone());
                self.tell(Event::AttemptEnded(Box::new(event.clone())), actions);
                self.follow(event, since, actions);
            }
            Stood::Ended { event, at } => self.follow(*event, at, actions),
            Stood::Waiting { event, since } => self.wait_on(&event, since, actions),
        }
    }

    /// The attempt that ran when the former process died.
    fn lost(&self, since: Duration) -> AttemptEnded {
        let error = "nobody saw its end, since the retryrun that ran it died".to_owned();
        AttemptEnded {
            attempt: self.history.last_number(),
            // At most: more is not known of it.
            elapsed: to_micros(self.now.elapsed.saturating_sub(since)),
            ending: Ending::failed(EndedBy::Lost, error, None),
            judgement: Judgement::default(),
            usage: Usage::default(),
            leftovers: 0,
            output_held: false,
            kept: Kept::default(),
        }
    }

    /// What follows an attempt that ended `since` then: a wait of which a part is over.
    fn follow(&mut self, event: AttemptEnded, since: Duration, actions: &mut Vec<Action>) {
        let judged = self.judged_again(event);
        // Somebody stopped it: so it was decided.
        let is_stopped = judged.event.ending.ended_by == EndedBy::Stop;
        let standing = Standing { elapsed: since, is_stopped, ..self.standing(&self.history) };
        let (trigger, retry, delay) = match standing.next(&judged) {
            Next::Stop(outcome) => return self.stop(outcome, Duration::ZERO, actions),
            Next::Retry { used, delay } => (Trigger::Resumed, used.saturating_add(1), delay),
            Next::Confirm { delay } => (Trigger::Consecutive, self.history.successes, delay),
        };
        let over = self.now.elapsed.saturating_sub(since);
        let rest = to_micros(delay.saturating_sub(over));
        if trigger == Trigger::Resumed {
            // A retry costs what it costs, whoever goes on with it.
            return self.pay_for(self.planned(trigger, retry, rest, 0), actions);
        }
        let (attempt, since) = (judged.event.attempt, self.now.elapsed);
        let planned = RetryPlanned { attempt, trigger, retry, delay: rest };
        self.tell(Event::RetryPlanned(planned), actions);
        self.await_next(since, rest);
    }

    /// What the rules say of an attempt that was judged by a former process.
    fn judged_again(&self, event: AttemptEnded) -> Judged {
        let judgement = event.judgement.clone();
        let of_rule = self.policy.rules.iter().find(|placed| {
            judgement.rule.as_deref() == Some(placed.rule.text())
                && judgement.rule_origin.as_deref() == Some(&*placed.origin)
        });
        let ruling = Ruling { judgement, ..Ruling::default() };
        let ruling = match of_rule {
            Some(PlacedRule { limit, delay, .. }) => {
                Ruling { limit: *limit, delay: *delay, ..ruling }
            }
            None => ruling,
        };
        // How long a lost one ran is not known, and what was not seen to be healthy counts.
        let is_known = event.ending.ended_by != EndedBy::Lost;
        let healthy_after = self.policy.healthy_after.filter(|_| is_known);
        Judged {
            ruling,
            is_healthy: healthy_after.is_some_and(|healthy| event.elapsed >= healthy),
            retry_after: None,
            failure: None,
            event,
        }
    }

    /// The rest of a wait, or nothing of it where that is over; none where the policy of now does not allow it any more.
    fn wait_on(&mut self, planned: &RetryPlanned, since: Duration, actions: &mut Vec<Action>) {
        let until = since.saturating_add(planned.delay);
        let ends = until.max(self.now.elapsed);
        let is_too_late = self.policy.deadline.is_some_and(|deadline| ends >= deadline);
        let is_steady = self.history.successes >= self.policy.consecutive;
        let outcome = match planned.trigger {
            Trigger::Consecutive if is_steady => Some(Outcome::Succeeded),
            Trigger::Retry if !self.policy.retries.allow_after(self.history.retries_used) => {
                Some(Outcome::Exhausted)
            }
            _ if is_too_late => Some(Outcome::Deadline),
            Trigger::First
            | Trigger::Retry
            | Trigger::Manual
            | Trigger::Resumed
            | Trigger::Consecutive => None,
        };
        match outcome {
            Some(outcome) => {
                let waited = to_micros(self.now.elapsed.min(until).saturating_sub(since));
                self.stop(outcome, waited, actions);
            }
            None => self.await_next(since, planned.delay),
        }
    }

    fn await_next(&mut self, since: Duration, delay: Duration) {
        let until = since.saturating_add(delay);
        self.state =
            State::Waiting(Wait { since, until, trigger: Trigger::Resumed, sweeping: false });
    }
}

fn resumed(identity: &RunStarted, before: &History, has_new_policy: bool) -> RunResumed {
    let RunStarted { command, cwd, host, pid, version, policy, max_retries, .. } = identity.clone();
    let mut changed = Vec::new();
    let mut note = |name: &str, differs: bool| {
        if differs && before.start_is_known() {
            changed.push(name.to_owned());
        }
    };
    note("command", command != before.command);
    note("cwd", cwd != before.cwd);
    note("policy", has_new_policy || policy != before.policy);
    RunResumed { command, cwd, host, pid, version, policy, max_retries, changed }
}
