//! The run: attempt, judge, wait, and again, until it stops.
//!
//! How one attempt is brought to its end is `attempt`'s.

use std::time::Duration;

use super::attempt::{Attempt, Due, Limits};
use super::event::{
    AttemptCut, AttemptEnded, AttemptStarted, EndedBy, Ending, Event, Judgement, Outcome, Record,
    RetryPlanned, RunStarted, RunStopped, SpawnErrorKind, Trigger, Usage, Verdict,
};
use super::exit::{Exit, Stop};
use super::history::History;
use super::policy::{Leftovers, Policy};
use super::signal::Signal;
use super::time::{Time, Timestamp, to_micros};
use super::{Action, ExitStatus, Input, Sender, Sweep, Why};

/// What is said of a process that does not die of SIGKILL.
const CANNOT_BE_KILLED: &str =
    "a process cannot be killed: it sits in an uninterruptible wait, or belongs to somebody else";

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
    told_in_attempt: bool,
    unkillable: bool,
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
    Waiting(Wait),
    /// Until what the last attempt left behind has ended; then the run stops.
    Sweeping(Outcome),
    /// It stopped.
    Over(Exit),
}

/// A wait between two attempts.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Duration,
    until: Duration,
    /// What begins the next attempt.
    trigger: Trigger,
    /// What the last attempt left behind is still being ended.
    sweeping: bool,
}

/// What an attempt left besides its ending.
#[derive(Clone, Copy, Debug, Default)]
struct Remains {
    usage: Usage,
    leftovers: u64,
    output_held: bool,
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
            told_in_attempt: false,
            unkillable: false,
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
            Input::Exited { status, usage, leftovers, output_held, stdout_closed } => {
                if stdout_closed && matches!(self.state, State::Attempting(_)) {
                    // Its reader told it to stop, and by it us: to begin again would write to nobody.
                    self.told.get_or_insert(Signal::PIPE);
                }
                self.exited(status, Remains { usage, leftovers, output_held }, &mut actions);
            }
            Input::Ended => self.in_attempt(|attempt, _| attempt.ended()),
            Input::Output => self.in_attempt(Attempt::wrote),
            Input::OutputStalled => self.in_attempt(|attempt, _| attempt.stalled()),
            Input::Swept { survives } => self.swept(survives, &mut actions),
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
            State::Ready | State::Sweeping(_) | State::Over(_) => return None,
            State::Starting { attempt, .. } | State::Attempting(attempt) => {
                attempt.wakeup(self.now)?
            }
            State::Waiting(wait) => {
                let remaining = wait.until.saturating_sub(self.now.elapsed);
                if wait.sweeping && remaining.is_zero() {
                    return None;
                }
                (remaining, Why::Delay)
            }
        };
        Some((self.now.plus(remaining), why))
    }

    /// What happened so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Whether a signal told us to stop.
    #[must_use]
    pub fn was_told(&self) -> bool {
        self.told.is_some()
    }

    /// How we end, once the run has stopped.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self.state {
            State::Over(exit) => Some(exit),
            State::Ready
            | State::Starting { .. }
            | State::Attempting(_)
            | State::Waiting(_)
            | State::Sweeping(_) => None,
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
            idle_timeout: self.policy.idle_timeout,
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
        self.started(None, actions);
        let ending = Ending::failed(EndedBy::SpawnError, error, Some(kind));
        self.ended(ending, Remains::default(), actions);
    }

    fn exited(&mut self, status: ExitStatus, remains: Remains, actions: &mut Vec<Action>) {
        let State::Attempting(attempt) = &self.state else {
            return;
        };
        let ending = Ending::of(status, attempt.cut());
        self.ended(ending, remains, actions);
    }

    /// Nothing is known of the end of what does not die, and no other attempt can be made on top of it.
    fn unkillable(&mut self, actions: &mut Vec<Action>) {
        let State::Attempting(attempt) = &self.state else {
            return;
        };
        let ended_by = attempt.cut().unwrap_or(EndedBy::Lost);
        let ending = Ending::failed(ended_by, CANNOT_BE_KILLED.to_owned(), None);
        self.unkillable = true;
        actions.push(Action::Abandon);
        self.ended(ending, Remains { leftovers: 1, ..Remains::default() }, actions);
    }

    fn ended(&mut self, ending: Ending, remains: Remains, actions: &mut Vec<Action>) {
        let State::Attempting(attempt) = &self.state else {
            return;
        };
        let Remains { usage, leftovers, output_held } = remains;
        let judgement = match ending.ended_by {
            EndedBy::Stop | EndedBy::Lost => Judgement::default(),
            EndedBy::Exit
            | EndedBy::Signal
            | EndedBy::Timeout
            | EndedBy::IdleTimeout
            | EndedBy::Deadline
            | EndedBy::SpawnError => self.policy.rules.judge(&ending),
        };
        let elapsed = to_micros(self.now.elapsed.saturating_sub(attempt.started.elapsed));
        let active = self.now.active.saturating_sub(attempt.started.active);
        let is_healthy = self.policy.healthy_after.is_some_and(|healthy| active >= healthy);
        self.told_in_attempt = attempt.was_told();
        let event = AttemptEnded {
            attempt: attempt.number,
            elapsed,
            ending: ending.clone(),
            judgement: judgement.clone(),
            usage,
            leftovers,
            output_held,
        };
        self.last = Some(ending);
        self.tell(Event::AttemptEnded(Box::new(event)), actions);
        match self.next(&judgement, is_healthy) {
            Next::Stop(outcome) if self.has_to_sweep_at_the_end(leftovers) => {
                self.state = State::Sweeping(outcome);
                actions.push(self.sweep(Sweep::All));
            }
            Next::Stop(outcome) => self.stop(outcome, Duration::ZERO, actions),
            Next::Retry { used } => {
                let previous = self.history.previous_delay.filter(|_| used > 0);
                let delay = self.policy.backoff.delay(used, previous);
                self.wait(Trigger::Retry, used + 1, delay, leftovers, actions);
            }
            Next::Confirm => {
                let delay = self.policy.backoff.first();
                let successes = self.history.successes;
                self.wait(Trigger::Consecutive, successes, delay, leftovers, actions);
            }
        }
    }

    fn has_to_sweep_at_the_end(&self, leftovers: u64) -> bool {
        leftovers > 0 && self.policy.leftovers == Leftovers::Kill && !self.unkillable
    }

    fn sweep(&self, which: Sweep) -> Action {
        Action::Sweep { which, signal: self.policy.stop_signal }
    }

    /// What follows the last attempt's ending.
    fn next(&self, judgement: &Judgement, is_healthy: bool) -> Next {
        let ended_by = self.last.as_ref().map(|ending| ending.ended_by);
        if self.told.is_some() {
            return Next::Stop(Outcome::Interrupted);
        }
        match judgement.verdict {
            Some(Verdict::Success) if self.history.successes < self.policy.consecutive => {
                Next::Confirm
            }
            Some(Verdict::Success) => Next::Stop(Outcome::Succeeded),
            _ if ended_by == Some(EndedBy::Deadline) => Next::Stop(Outcome::Deadline),
            _ if self.unkillable => Next::Stop(Outcome::Permanent),
            Some(Verdict::Permanent) if ended_by == Some(EndedBy::SpawnError) => {
                Next::Stop(Outcome::NotStarted)
            }
            Some(Verdict::Permanent) => Next::Stop(Outcome::Permanent),
            Some(Verdict::Transient) | None => {
                let used = if is_healthy { 0 } else { self.history.retries_used };
                match self.policy.retries.allow_after(used) {
                    true => Next::Retry { used },
                    false => Next::Stop(Outcome::Exhausted),
                }
            }
        }
    }

    /// Begins the wait before the next attempt, unless it would end past the deadline.
    fn wait(
        &mut self,
        trigger: Trigger,
        retry: u64,
        delay: Duration,
        leftovers: u64,
        actions: &mut Vec<Action>,
    ) {
        let delay = to_micros(delay);
        let since = self.now.elapsed;
        let until = since.saturating_add(delay);
        // Equal is too late as well: nothing may start at the deadline.
        if self.policy.deadline.is_some_and(|deadline| until >= deadline) {
            return self.stop(Outcome::Deadline, Duration::ZERO, actions);
        }
        let sweep = match self.policy.leftovers {
            _ if leftovers == 0 => None,
            Leftovers::Auto => Some(Sweep::Session),
            Leftovers::Kill => Some(Sweep::All),
            Leftovers::Keep => None,
        };
        self.state = State::Waiting(Wait { since, until, trigger, sweeping: sweep.is_some() });
        let attempt = self.history.last_number();
        self.tell(Event::RetryPlanned(RetryPlanned { attempt, trigger, retry, delay }), actions);
        actions.extend(sweep.map(|which| self.sweep(which)));
    }

    fn swept(&mut self, survives: bool, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Waiting(_) if survives => {
                self.unkillable = true;
                self.stop(Outcome::Permanent, self.waited(), actions);
            }
            State::Waiting(wait) => {
                wait.sweeping = false;
                self.tick(actions);
            }
            State::Sweeping(outcome) => {
                let outcome = *outcome;
                self.unkillable |= survives;
                self.stop(outcome, Duration::ZERO, actions);
            }
            State::Ready | State::Starting { .. } | State::Attempting(_) | State::Over(_) => {}
        }
    }

    fn signal(&mut self, signal: Signal, sender: Sender, actions: &mut Vec<Action>) {
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
                let waited = self.waited();
                self.stop(Outcome::Interrupted, waited, actions);
            }
            // The run is decided, and what is left of it short.
            State::Sweeping(_) => {}
        }
    }

    fn retry_now(&mut self, actions: &mut Vec<Action>) {
        let State::Waiting(wait) = &mut self.state else { return };
        if wait.sweeping {
            wait.trigger = Trigger::Manual;
            wait.until = self.now.elapsed;
            return;
        }
        self.start(Trigger::Manual, self.waited(), actions);
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Ready | State::Sweeping(_) | State::Over(_) => {}
            State::Starting { attempt, .. } => {
                // It may take its time, as where its cgroup is frozen; then it is an attempt like any other.
                if attempt.wakeup(self.now).is_some_and(|(remaining, _)| remaining.is_zero()) {
                    self.started(None, actions);
                    self.tick_attempt(actions);
                }
            }
            State::Attempting(_) => self.tick_attempt(actions),
            State::Waiting(wait) => {
                if self.now.elapsed >= wait.until && !wait.sweeping {
                    let trigger = wait.trigger;
                    self.start(trigger, self.waited(), actions);
                }
            }
        }
    }

    /// All that is due, so that a second tick finds nothing.
    fn tick_attempt(&mut self, actions: &mut Vec<Action>) {
        while let State::Attempting(attempt) = &mut self.state
            && let Some(due) = attempt.tick(self.now)
        {
            self.carry_out(Some(due), actions);
        }
    }

    fn carry_out(&mut self, due: Option<Due>, actions: &mut Vec<Action>) {
        match due {
            None => {}
            Some(Due::Unkillable) => self.unkillable(actions),
            Some(Due::Kill { signal, cut }) => {
                if let Some(ended_by) = cut {
                    let attempt = self.history.last_number();
                    let kill_after = to_micros(self.policy.kill_after);
                    let event = AttemptCut { attempt, ended_by, signal, kill_after };
                    self.tell(Event::AttemptCut(event), actions);
                }
                actions.push(Action::Kill(signal));
            }
        }
    }

    fn in_attempt(&mut self, change: impl FnOnce(&mut Attempt, Time)) {
        match &mut self.state {
            State::Starting { attempt, .. } | State::Attempting(attempt) => {
                change(attempt, self.now);
            }
            State::Ready | State::Waiting(_) | State::Sweeping(_) | State::Over(_) => {}
        }
    }

    /// How much of the present wait is spent.
    fn waited(&self) -> Duration {
        match self.state {
            State::Waiting(Wait { since, until, .. }) => {
                to_micros(self.now.elapsed.min(until) - since)
            }
            State::Ready
            | State::Starting { .. }
            | State::Attempting(_)
            | State::Sweeping(_)
            | State::Over(_) => Duration::ZERO,
        }
    }

    fn stop(&mut self, outcome: Outcome, waited: Duration, actions: &mut Vec<Action>) {
        let exit = self.policy.exit_codes.exit(Stop {
            outcome,
            flaky: self.history.has_failed(),
            last: self.last.as_ref(),
            told: self.told,
            told_in_attempt: self.told_in_attempt,
            unkillable: self.unkillable,
        });
        let mut message = self.history.closing_message(outcome, self.told, self.now.elapsed);
        if self.unkillable {
            message = format!("{message}; {CANNOT_BE_KILLED}");
        }
        let event =
            RunStopped { outcome, signal: self.told, message, exit_code: exit.code(), waited };
        self.tell(Event::RunStopped(event), actions);
        self.state = State::Over(exit);
    }

    /// Every change of the history is told.
    fn tell(&mut self, event: Event, actions: &mut Vec<Action>) {
        let t = to_micros(self.now.elapsed);
        let record = Record { at: self.history.started_at.plus(t), t, event };
        self.history.apply(&record);
        actions.push(Action::Tell(record));
    }
}

/// What follows an attempt.
enum Next {
    /// The end of the run.
    Stop(Outcome),
    /// A retry, after so many that count.
    Retry { used: u64 },
    /// Another attempt, to confirm a success.
    Confirm,
}
