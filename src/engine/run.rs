//! The run: attempt, judge, wait, and again, until it stops.
//!
//! How one attempt is brought to its end is `attempt`'s.

use std::time::Duration;

use super::attempt::{Attempt, Kill, Limits};
use super::event::{
    AttemptCut, AttemptEnded, AttemptStarted, EndedBy, Ending, Event, Judgement, Outcome, Record,
    RetryPlanned, RunStarted, RunStopped, SpawnErrorKind, Trigger, Usage, Verdict,
};
use super::exit::{Exit, Stop};
use super::history::History;
use super::policy::Policy;
use super::signal::Signal;
use super::time::{Time, Timestamp, to_micros};
use super::{Action, ExitStatus, Input, Sender, Why};

/// A run from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Run {
    policy: Policy,
    identity: RunStarted,
    history: History,
    state: State,
    now: Time,
    last: Option<Ending>,
    told: Option<Signal>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing has happened yet.
    Ready,
    /// An attempt was ordered; nobody has said that it runs.
    Starting { attempt: Attempt, trigger: Trigger, waited: Duration },
    /// It runs.
    Attempting(Attempt),
    /// Until the next attempt, on the elapsed clock.
    Waiting { since: Duration, until: Duration },
    /// It stopped.
    Over(Exit),
}

impl Run {
    /// A run of `policy`. `identity` and `started_at` are labels for the records.
    #[must_use]
    pub fn new(policy: Policy, identity: RunStarted, started_at: Timestamp) -> Run {
        Run {
            history: History::new(started_at, identity.clone()),
            policy,
            identity,
            state: State::Ready,
            now: Time::default(),
            last: None,
            told: None,
        }
    }

    /// Takes one input at a moment, and answers what is to be done, in order.
    ///
    /// Moments never go back: an earlier one counts as the latest known.
    pub fn handle(&mut self, now: Time, input: Input) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        match input {
            Input::Begin => self.begin(&mut actions),
            Input::Started { pid } => self.started(Some(pid), &mut actions),
            Input::CannotStart { kind, error } => self.cannot_start(kind, error, &mut actions),
            Input::Exited { status, usage, stdout_closed } => {
                if stdout_closed && is_broken_pipe(status) {
                    // Its reader told it to stop, and by it us: to begin again would write to nobody.
                    self.told.get_or_insert(Signal::PIPE);
                }
                self.exited(status, usage, &mut actions);
            }
            Input::Signal { signal, sender } => self.signal(signal, sender, &mut actions),
            Input::RetryNow => self.retry_now(&mut actions),
            Input::Tick => self.tick(&mut actions),
        }
        actions
    }

    /// The moment at which something is due, and what; none if only the world can go on.
    #[must_use]
    pub fn wakeup(&self) -> Option<(Time, Why)> {
        let (remaining, why) = match &self.state {
            State::Ready | State::Starting { .. } | State::Over(_) => return None,
            State::Attempting(attempt) => attempt.wakeup(self.now)?,
            State::Waiting { until, .. } => (until.saturating_sub(self.now.elapsed), Why::Delay),
        };
        Some((self.now.plus(remaining), why))
    }

    /// What happened so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How we end, once the run has stopped.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self.state {
            State::Over(exit) => Some(exit),
            State::Ready
            | State::Starting { .. }
            | State::Attempting(_)
            | State::Waiting { .. } => None,
        }
    }

    fn begin(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Ready) {
            return;
        }
        self.tell(Event::RunStarted(Box::new(self.identity.clone())), actions);
        self.start(Trigger::First, Duration::ZERO, actions);
    }

    /// Orders the next attempt, unless the deadline has come.
    fn start(&mut self, trigger: Trigger, waited: Duration, actions: &mut Vec<Action>) {
        if self.policy.deadline.is_some_and(|deadline| self.now.elapsed >= deadline) {
            return self.stop(Outcome::Deadline, waited, actions);
        }
        let number = self.history.last_number() + 1;
        let limits = Limits {
            timeout: self.policy.timeout,
            deadline: self.policy.deadline,
            stop_signal: self.policy.stop_signal,
            kill_after: self.policy.kill_after,
        };
        let attempt = Attempt::new(number, self.now, limits);
        self.state = State::Starting { attempt, trigger, waited };
        actions.push(Action::Start { attempt: number, trigger });
    }

    fn started(&mut self, pid: Option<u32>, actions: &mut Vec<Action>) {
        let State::Starting { attempt, trigger, waited } = &self.state else {
            return;
        };
        let (attempt, trigger, waited) = (attempt.clone(), *trigger, *waited);
        let event = AttemptStarted { attempt: attempt.number, trigger, pid, waited };
        self.state = State::Attempting(attempt);
        self.tell(Event::AttemptStarted(event), actions);
    }

    fn cannot_start(&mut self, kind: SpawnErrorKind, error: String, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Starting { .. }) {
            return;
        }
        self.started(None, actions);
        let ending = Ending {
            ended_by: EndedBy::SpawnError,
            exit_code: None,
            signal: None,
            core_dumped: false,
            error: Some(error),
            error_kind: Some(kind),
        };
        self.ended(ending, Usage::default(), actions);
    }

    fn exited(&mut self, status: ExitStatus, usage: Usage, actions: &mut Vec<Action>) {
        let State::Attempting(attempt) = &self.state else {
            return;
        };
        let (ended_by, exit_code, signal, core_dumped) = match status {
            ExitStatus::Code(code) => (EndedBy::Exit, Some(code), None, false),
            ExitStatus::Signal { signal, core_dumped } => {
                (EndedBy::Signal, None, Some(signal), core_dumped)
            }
        };
        let ending = Ending {
            ended_by: attempt.cut().unwrap_or(ended_by),
            exit_code,
            signal,
            core_dumped,
            error: None,
            error_kind: None,
        };
        self.ended(ending, usage, actions);
    }

    fn ended(&mut self, ending: Ending, usage: Usage, actions: &mut Vec<Action>) {
        let State::Attempting(attempt) = &self.state else {
            return;
        };
        let judgement = self.policy.rules.judge(&ending);
        let event = AttemptEnded {
            attempt: attempt.number,
            elapsed: to_micros(self.now.elapsed.saturating_sub(attempt.started.elapsed)),
            ending: ending.clone(),
            judgement: judgement.clone(),
            usage,
        };
        self.last = Some(ending);
        self.tell(Event::AttemptEnded(Box::new(event)), actions);
        match self.outcome(&judgement) {
            Some(outcome) => self.stop(outcome, Duration::ZERO, actions),
            None => self.wait(actions),
        }
    }

    /// How the run ends with the last attempt's ending; none if a retry is due.
    fn outcome(&self, judgement: &Judgement) -> Option<Outcome> {
        let ended_by = self.last.as_ref().map(|ending| ending.ended_by);
        if self.told.is_some() {
            return Some(Outcome::Interrupted);
        }
        match judgement.verdict {
            Some(Verdict::Success) => Some(Outcome::Succeeded),
            _ if ended_by == Some(EndedBy::Deadline) => Some(Outcome::Deadline),
            Some(Verdict::Permanent) if ended_by == Some(EndedBy::SpawnError) => {
                Some(Outcome::NotStarted)
            }
            Some(Verdict::Permanent) => Some(Outcome::Permanent),
            Some(Verdict::Transient) | None => {
                let retry_left = self.policy.retries.allow_after(self.history.retry_count);
                (!retry_left).then_some(Outcome::Exhausted)
            }
        }
    }

    /// Begins the wait before the next retry, unless it would end past the deadline.
    fn wait(&mut self, actions: &mut Vec<Action>) {
        let retry = self.history.retry_count;
        let previous = self.history.attempts.iter().rev().find_map(|attempt| attempt.next_delay);
        let delay = to_micros(self.policy.backoff.delay(retry, previous));
        let since = self.now.elapsed;
        let until = since.saturating_add(delay);
        // Equal is too late as well: nothing may start at the deadline.
        if self.policy.deadline.is_some_and(|deadline| until >= deadline) {
            return self.stop(Outcome::Deadline, Duration::ZERO, actions);
        }
        self.state = State::Waiting { since, until };
        let attempt = self.history.last_number();
        let event = RetryPlanned { attempt, retry: retry + 1, delay };
        self.tell(Event::RetryPlanned(event), actions);
    }

    fn signal(&mut self, signal: Signal, sender: Sender, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Ready | State::Over(_) => {}
            State::Starting { attempt, .. } | State::Attempting(attempt) => {
                self.told.get_or_insert(signal);
                let kill = attempt.tell(self.now, signal, sender);
                self.kill(kill, actions);
            }
            State::Waiting { .. } => {
                self.told = Some(signal);
                let waited = self.waited();
                self.stop(Outcome::Interrupted, waited, actions);
            }
        }
    }

    fn retry_now(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Waiting { .. }) {
            self.start(Trigger::Manual, self.waited(), actions);
        }
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Ready | State::Starting { .. } | State::Over(_) => {}
            State::Attempting(attempt) => {
                let kill = attempt.tick(self.now);
                self.kill(kill, actions);
            }
            State::Waiting { until, .. } => {
                if self.now.elapsed >= *until {
                    self.start(Trigger::Retry, self.waited(), actions);
                }
            }
        }
    }

    fn kill(&mut self, kill: Option<Kill>, actions: &mut Vec<Action>) {
        let Some(Kill { signal, cut }) = kill else {
            return;
        };
        if let Some(ended_by) = cut {
            let attempt = self.history.last_number();
            let kill_after = to_micros(self.policy.kill_after);
            let event = AttemptCut { attempt, ended_by, signal, kill_after };
            self.tell(Event::AttemptCut(event), actions);
        }
        actions.push(Action::Kill(signal));
    }

    /// How much of the present wait is spent.
    fn waited(&self) -> Duration {
        match self.state {
            State::Waiting { since, until } => to_micros(self.now.elapsed.min(until) - since),
            State::Ready | State::Starting { .. } | State::Attempting(_) | State::Over(_) => {
                Duration::ZERO
            }
        }
    }

    fn stop(&mut self, outcome: Outcome, waited: Duration, actions: &mut Vec<Action>) {
        let exit = self.policy.exit_codes.exit(Stop {
            outcome,
            flaky: self.history.last_number() > 1,
            last: self.last.as_ref(),
            told: self.told,
            told_in_attempt: matches!(&self.state, State::Attempting(attempt) if attempt.was_told()),
        });
        let message = self.history.closing_message(outcome, self.told, self.now.elapsed);
        let event =
            RunStopped { outcome, signal: self.told, message, exit_code: exit.code(), waited };
        self.tell(Event::RunStopped(event), actions);
        self.state = State::Over(exit);
    }

    /// The one way in which the history changes.
    fn tell(&mut self, event: Event, actions: &mut Vec<Action>) {
        let t = to_micros(self.now.elapsed);
        let record = Record { at: self.history.started_at.plus(t), t, event };
        self.history.apply(&record);
        actions.push(Action::Tell(record));
    }
}

fn is_broken_pipe(status: ExitStatus) -> bool {
    matches!(status, ExitStatus::Signal { signal: Signal::PIPE, .. })
}
