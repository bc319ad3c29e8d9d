//! The run: attempt, judge, wait, and again, until it stops.
//!
//! How one attempt is brought to its end is `attempt`'s.

mod asked;
mod leftovers;
mod resumed;
mod token;

use std::time::Duration;

use super::attempt::{Attempt, Due, Limits};
use super::event::{
    AttemptCut, AttemptStarted, EndedBy, Ending, Event, Outcome, Record, RetryPlanned, RunStarted,
    RunStopped, SpawnErrorKind, Trigger,
};
use super::exit::{Exit, Stop};
use super::history::History;
use super::judged::{Judged, Remains};
use super::next::{Next, Standing};
use super::policy::{Leftovers, Policy};
use super::signal::Signal;
use super::state::{Planned, State, Wait};
use super::time::{Time, Timestamp, to_micros};
use super::{Action, Answer, ExitStatus, Input, Sweep, Why};
use resumed::Resuming;

/// What is said of a process that does not die of SIGKILL.
const CANNOT_BE_KILLED: &str =
    "a process cannot be killed: it sits in an uninterruptible wait, or belongs to somebody else";

/// A run from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Run {
    policy: Policy,
    identity: RunStarted,
    history: History,
    /// Where a former process left the run, until it is gone on with.
    unended: Option<Resuming>,
    /// What begins the first attempt.
    first: Trigger,
    state: State,
    now: Time,
    last: Option<Ending>,
    told: Option<Signal>,
    told_in_attempt: bool,
    /// Whether we have begun to end the last attempt that ended.
    has_ended_it: bool,
    /// Whether somebody stopped the run.
    is_stopped: bool,
    input_is_lost: bool,
    /// Why what the attempt wrote is lost.
    lost_output: Option<String>,
    /// That an attempt is being ended of which it is not known yet that it has started: told when it is.
    untold_cut: Option<AttemptCut>,
    /// Whether the budget has granted a token for an attempt that has not begun.
    has_token: bool,
    /// What the budget says, where that ends the run.
    refusal: Option<String>,
    /// What we failed in, where that ends the run.
    failure: Option<String>,
}

impl Run {
    /// A run of `policy`. `identity` and `started_at` are labels for the records.
    #[must_use]
    pub fn new(policy: Policy, identity: RunStarted, started_at: Timestamp) -> Run {
        Run {
            history: History::new(started_at, identity.clone()),
            unended: None,
            first: Trigger::First,
            policy,
            identity,
            state: State::Ready,
            now: Time::default(),
            last: None,
            told: None,
            told_in_attempt: false,
            has_ended_it: false,
            is_stopped: false,
            input_is_lost: false,
            lost_output: None,
            untold_cut: None,
            has_token: false,
            refusal: None,
            failure: None,
        }
    }

    /// The same run, begun by hand.
    #[must_use]
    pub fn by_hand(self) -> Run {
        Run { first: Trigger::Manual, ..self }
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
            Input::CannotPrepare(failure) => {
                self.failure = Some(failure.clone());
                self.cannot_start(SpawnErrorKind::NotExecutable, failure, &mut actions);
            }
            Input::Exited {
                status,
                usage,
                leftovers,
                output_held,
                kept,
                stdout_closed,
                matches,
                hint,
            } => {
                if stdout_closed && matches!(self.state, State::Attempting(_)) {
                    // Its reader told it to stop, and by it us: to begin again would write to nobody.
                    self.told.get_or_insert(Signal::PIPE);
                }
                // Whoever was told ends by that.
                let lost_output = self.lost_output.take().filter(|_| self.told.is_none());
                let remains =
                    Remains { usage, leftovers, output_held, lost_output, matches, hint, kept };
                self.exited(status, remains, &mut actions);
            }
            Input::Ended => self.in_attempt(Attempt::ended),
            Input::Output => self.in_attempt(Attempt::wrote),
            Input::OutputStalled => self.in_attempt(|attempt, _| attempt.stalled()),
            Input::InputLost => self.input_is_lost = true,
            Input::OutputLost(reason) => self.lost_output = Some(reason),
            Input::Failed(failure) => self.failed(failure, &mut actions),
            Input::Answered(answer) => self.answered(answer, &mut actions),
            Input::Token(token) => self.token(token, &mut actions),
            Input::Swept { survives } => self.swept(survives, &mut actions),
            Input::Prepared => self.prepared(&mut actions),
            Input::Stop => self.stop_by_hand(&mut actions),
            Input::Signal { signal, sender } => self.signal(signal, sender, &mut actions),
            Input::RetryNow => self.retry_now(&mut actions),
            Input::Tick => self.tick(&mut actions),
        }
        actions
    }

    /// The moment at which something is due, and what; none if only the world can go on.
    #[must_use]
    pub fn wakeup(&self) -> Option<(Time, Why)> {
        let (remaining, why) = self.state.wakeup(self.now)?;
        Some((self.now.plus(remaining), why))
    }

    /// How much time the run has left, if that is limited.
    #[must_use]
    pub fn until_deadline(&self) -> Option<Duration> {
        Some(self.policy.deadline?.saturating_sub(self.now.elapsed))
    }

    /// What happened so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Whether the attempt that ended last did not end by itself, but by what we sent it.
    #[must_use]
    pub fn has_ended_the_last_attempt(&self) -> bool {
        self.has_ended_it
    }

    /// How we end, once the run has stopped.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        if let State::Over(exit) = self.state { Some(exit) } else { None }
    }

    fn begin(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Ready) {
            return;
        }
        if let Some(unended) = self.unended.take() {
            return self.go_on_from(unended, actions);
        }
        self.tell(Event::RunStarted(Box::new(self.identity.clone())), actions);
        self.start(self.first, Duration::ZERO, actions);
    }

    /// Goes on to the next attempt, first with what the user wants done before it.
    fn go_on(&mut self, trigger: Trigger, waited: Duration, actions: &mut Vec<Action>) {
        if !self.policy.before_attempt || self.is_past_the_deadline() {
            return self.start(trigger, waited, actions);
        }
        let attempt = self.history.last_number().saturating_add(1);
        self.state = State::Preparing { trigger, waited };
        actions.push(Action::Prepare { attempt, trigger });
    }

    fn prepared(&mut self, actions: &mut Vec<Action>) {
        let State::Preparing { trigger, waited } = self.state else { return };
        if self.told.is_some() {
            self.stop(Outcome::Interrupted, waited, actions);
        } else if self.is_stopped {
            self.stop(Outcome::Stopped, waited, actions);
        } else {
            self.start(trigger, waited, actions);
        }
    }

    fn is_past_the_deadline(&self) -> bool {
        self.policy.deadline.is_some_and(|deadline| self.now.elapsed >= deadline)
    }

    /// Orders the next attempt, unless the deadline has come.
    fn start(&mut self, trigger: Trigger, waited: Duration, actions: &mut Vec<Action>) {
        if self.is_past_the_deadline() {
            return self.stop(Outcome::Deadline, waited, actions);
        }
        let number = self.history.last_number().saturating_add(1);
        let limits = Limits {
            timeout: self.policy.timeout,
            idle_timeout: self.policy.idle_timeout,
            deadline: self.policy.deadline,
            stop_signal: self.policy.stop_signal,
            kill_after: self.policy.kill_after,
        };
        let attempt = Attempt::new(number, self.now, limits);
        self.has_token = false;
        self.state = State::Starting { attempt, trigger, waited };
        actions.push(Action::Start { attempt: number, trigger });
    }

    fn started(&mut self, pid: Option<u32>, actions: &mut Vec<Action>) {
        let State::Starting { attempt, trigger, waited } = &self.state else {
            return;
        };
        let (attempt, trigger, waited) = (attempt.clone(), *trigger, *waited);
        let event = AttemptStarted { attempt: attempt.number, trigger, pid, waited };
        // When it was ordered: from there on its time is counted.
        let record = self.record_at(attempt.started, Event::AttemptStarted(event));
        self.state = State::Attempting(attempt);
        self.tell_record(record, actions);
        if let Some(cut) = self.untold_cut.take() {
            self.tell(Event::AttemptCut(cut), actions);
        }
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
        self.failure = Some(CANNOT_BE_KILLED.to_owned());
        actions.push(Action::Abandon);
        self.ended(ending, Remains { leftovers: 1, ..Remains::default() }, actions);
    }

    /// The attempt is ended, and the run with it.
    fn failed(&mut self, failure: String, actions: &mut Vec<Action>) {
        if let State::Starting { attempt, .. } | State::Attempting(attempt) = &mut self.state {
            let due = attempt.stop(self.now);
            self.failure.get_or_insert(failure);
            self.carry_out(due, actions);
        }
    }

    fn ended(&mut self, ending: Ending, remains: Remains, actions: &mut Vec<Action>) {
        let State::Attempting(attempt) = &self.state else {
            return;
        };
        let lost_input = self.input_is_lost.then_some(self.history.successes);
        let judged = Judged::of(&self.policy, attempt, self.now, ending, remains, lost_input);
        self.told_in_attempt = attempt.was_told();
        self.has_ended_it = attempt.is_being_ended();
        self.last = Some(judged.event.ending.clone());
        self.failure = self.failure.take().or_else(|| judged.failure.clone());
        if self.policy.retry_if.is_some() && self.would_retry(&judged) {
            let record = self.record(Event::AttemptEnded(Box::new(judged.event.clone())));
            actions.push(Action::Ask(record));
            self.state = State::Asking(Box::new(judged));
        } else {
            self.conclude(&judged, actions);
        }
    }

    fn would_retry(&self, judged: &Judged) -> bool {
        let mut history = self.history.clone();
        history.apply(&self.record(Event::AttemptEnded(Box::new(judged.event.clone()))));
        matches!(self.standing(&history).next(judged), Next::Retry { .. })
    }

    /// What the user's own command says of a failure that would be retried.
    fn answered(&mut self, answer: Answer, actions: &mut Vec<Action>) {
        let State::Asking(judged) = &self.state else {
            return;
        };
        let mut judged = (**judged).clone();
        if answer == Answer::Stop {
            judged.refuse(self.policy.retry_if.clone());
        }
        self.conclude(&judged, actions);
    }

    fn standing<'a>(&'a self, history: &'a History) -> Standing<'a> {
        Standing {
            policy: &self.policy,
            history,
            elapsed: self.now.elapsed,
            ended_by: self.last.as_ref().map(|ending| ending.ended_by),
            is_told: self.told.is_some(),
            is_stopped: self.is_stopped,
            has_failed: self.failure.is_some(),
        }
    }

    /// Tells how the attempt ended, and goes on.
    fn conclude(&mut self, judged: &Judged, actions: &mut Vec<Action>) {
        let leftovers = judged.event.leftovers;
        self.tell(Event::AttemptEnded(Box::new(judged.event.clone())), actions);
        match self.standing(&self.history).next(judged) {
            Next::Stop(outcome) => self.finish(outcome, leftovers, actions),
            Next::Retry { used, delay } => {
                let planned =
                    self.planned(Trigger::Retry, used.saturating_add(1), delay, leftovers);
                self.pay_for(planned, actions);
            }
            Next::Confirm { delay } => {
                let successes = self.history.successes;
                let planned = self.planned(Trigger::Consecutive, successes, delay, leftovers);
                self.wait(planned, actions);
            }
        }
    }

    fn planned(&self, trigger: Trigger, retry: u64, delay: Duration, leftovers: u64) -> Planned {
        let too_late = self.policy.deadline.map(|deadline| deadline.saturating_sub(delay));
        Planned { trigger, retry, delay, leftovers, too_late }
    }

    /// Begins the wait before the next attempt.
    fn wait(&mut self, planned: Planned, actions: &mut Vec<Action>) {
        let Planned { trigger, retry, delay, leftovers, .. } = planned;
        let (since, until) = (self.now.elapsed, self.now.elapsed.saturating_add(delay));
        let sweep = match self.policy.leftovers {
            _ if leftovers == 0 => None,
            Leftovers::Auto => Some(Sweep::Session),
            Leftovers::Kill => Some(Sweep::All),
            Leftovers::Keep => None,
        };
        self.state = State::Waiting(Wait { since, until, trigger, sweeping: sweep.is_some() });
        let attempt = self.history.last_number();
        let trigger = trigger.planned();
        self.tell(Event::RetryPlanned(RetryPlanned { attempt, trigger, retry, delay }), actions);
        actions.extend(sweep.map(|which| self.sweep(which)));
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Ready
            | State::Asking(_)
            | State::Preparing { .. }
            | State::Sweeping(_)
            | State::Over(_) => {}
            State::Starting { attempt, .. } => {
                // It may take its time, as where its cgroup is frozen; then it is an attempt like any other.
                if attempt.wakeup(self.now).is_some_and(|(remaining, _)| remaining.is_zero()) {
                    self.started(None, actions);
                    self.tick_attempt(actions);
                }
            }
            State::Attempting(_) => self.tick_attempt(actions),
            State::TakingToken(planned) => {
                if planned.too_late.is_some_and(|too_late| self.now.elapsed >= too_late) {
                    let leftovers = planned.leftovers;
                    self.finish(Outcome::Deadline, leftovers, actions);
                }
            }
            State::Waiting(wait) => {
                if self.now.elapsed >= wait.until && !wait.sweeping {
                    let trigger = wait.trigger;
                    self.go_on(trigger, self.state.waited(self.now), actions);
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
            Some(Due::Hurry) => actions.push(Action::Hurry),
            Some(Due::Unkillable) => self.unkillable(actions),
            Some(Due::Kill { signal, cut }) => {
                if let (
                    Some(ended_by),
                    State::Starting { attempt, .. } | State::Attempting(attempt),
                ) = (cut, &self.state)
                {
                    let event = AttemptCut {
                        attempt: attempt.number,
                        ended_by,
                        elapsed: to_micros(
                            self.now.elapsed.saturating_sub(attempt.started.elapsed),
                        ),
                        signal,
                        kill_after: to_micros(self.policy.kill_after),
                    };
                    if matches!(self.state, State::Starting { .. }) {
                        self.untold_cut = Some(event);
                    } else {
                        self.tell(Event::AttemptCut(event), actions);
                    }
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
            State::Ready
            | State::Asking(_)
            | State::TakingToken(_)
            | State::Waiting(_)
            | State::Preparing { .. }
            | State::Sweeping(_)
            | State::Over(_) => {}
        }
    }

    fn stop(&mut self, outcome: Outcome, waited: Duration, actions: &mut Vec<Action>) {
        let exit = self.policy.exit_codes.exit(Stop {
            outcome,
            flaky: self.history.has_failed(),
            last: self.last.as_ref(),
            told: self.told,
            told_in_attempt: self.told_in_attempt,
            failed: self.failure.is_some(),
        });
        let refusal = self.refusal.as_deref();
        let elapsed = self.now.elapsed;
        let mut message = self.history.closing_message(outcome, self.told, refusal, elapsed);
        if let Some(failure) = self.failure.as_ref().filter(|failure| !message.contains(*failure)) {
            message = format!("{message}; {failure}");
        }
        let event =
            RunStopped { outcome, signal: self.told, message, exit_code: exit.code(), waited };
        self.reward(outcome, actions);
        self.tell(Event::RunStopped(event), actions);
        self.state = State::Over(exit);
    }

    fn record(&self, event: Event) -> Record {
        self.record_at(self.now, event)
    }

    fn record_at(&self, moment: Time, event: Event) -> Record {
        let t = to_micros(moment.elapsed);
        Record { at: self.history.started_at.plus(t), t, event }
    }

    fn tell(&mut self, event: Event, actions: &mut Vec<Action>) {
        self.tell_record(self.record(event), actions);
    }

    /// Every change of the history is told.
    fn tell_record(&mut self, record: Record, actions: &mut Vec<Action>) {
        self.history.apply(&record);
        actions.push(Action::Tell(record));
    }
}
