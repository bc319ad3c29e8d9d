//! The commands of the user's own that run beside the attempts: begun, waited for where that is their sense, and told to end.

use std::ffi::CString;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use rustix::process::Pid;

use super::Driver;
use crate::engine::event::{AttemptEnded, Event, Line, Record, Trigger};
use crate::engine::signal::Signal;
use crate::engine::{Answer, Input};
use crate::facts;
use crate::hook::{End, Hook, Kind};
use crate::unix::lines::Stderr;
use crate::unix::process::stopped_by;
use crate::unix::spawn::{Entries, SpawnError};
use crate::unix::start;

/// How many hooks may run beside the attempts at once: each may take its time, and waits may be short.
const MOST_BESIDE: usize = 16;

/// The hooks that run.
#[derive(Default)]
pub(super) struct Hooks {
    running: Vec<Hook>,
    /// The event with which the wait began, for the hook that is run after it.
    planned: Option<Record>,
    /// Signals that came to stop us while somebody waited for a hook.
    told: u32,
    /// Whether one has begun since this was last asked.
    has_run: bool,
}

/// A hook that has ended, and how.
pub(super) struct Ended {
    kind: Kind,
    pid: Pid,
    end: Result<End, SpawnError>,
}

impl Hooks {
    /// Waits until one of them ends; for ever if there is none.
    pub(super) async fn next_end(&mut self) -> Ended {
        let (index, end) = {
            let mut ends: Vec<Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
            for hook in &mut self.running {
                ends.push(Box::pin(hook.ended()));
            }
            poll_fn(|context| {
                for (index, end) in ends.iter_mut().enumerate() {
                    if let Poll::Ready(end) = end.as_mut().poll(context) {
                        return Poll::Ready((index, end));
                    }
                }
                Poll::Pending
            })
            .await
        };
        let hook = self.running.swap_remove(index);
        Ended { kind: hook.kind(), pid: hook.pid(), end }
    }

    /// Whether any of them runs.
    pub(super) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    fn awaited(&mut self) -> Option<&mut Hook> {
        self.running.iter_mut().find(|hook| hook.kind() != Kind::OnRetry)
    }

    /// Whether somebody waits for one.
    pub(super) fn is_awaited(&mut self) -> bool {
        self.awaited().is_some()
    }

    /// Tells the one that is waited for to end. Whether there is one.
    pub(super) fn end_awaited(&mut self, signal: Signal) -> bool {
        self.awaited().map(|hook| hook.end(signal)).is_some()
    }

    /// Passes on a signal that is not to end anything.
    pub(super) fn pass_on(&mut self, signal: Signal) {
        if let Some(hook) = self.awaited() {
            hook.pass_on(signal);
        }
    }

    /// Somebody tells us to stop.
    pub(super) fn told(&mut self) {
        if self.is_awaited() {
            self.told += 1;
        }
    }

    /// Whether those that are left are not wanted any more.
    pub(super) fn are_skipped(&self) -> bool {
        self.told >= 2
    }

    /// Whether one has begun since this was last asked.
    pub(super) fn have_run_since(&mut self) -> bool {
        std::mem::take(&mut self.has_run)
    }

    /// Ends those that were stopped since they want the terminal, which is not theirs: nobody would continue them.
    pub(super) fn end_stopped(&mut self) {
        for hook in &mut self.running {
            if let Some(Signal::TTIN | Signal::TTOU) = stopped_by(hook.pid()) {
                hook.end_for_the_terminal();
            }
        }
    }

    /// Whether another one may run beside the attempts.
    fn has_room_beside(&self) -> bool {
        let beside = self.running.iter().filter(|hook| hook.kind() == Kind::OnRetry).count();
        // Where descriptors are few, the attempts need them.
        beside == 0 || (beside < MOST_BESIDE && start::check_descriptors().is_ok())
    }
}

impl Driver {
    /// Asks the user's own command whether a failure is to be retried.
    pub(super) fn ask(&mut self, record: &Record) -> Option<Input> {
        let Event::AttemptEnded(event) = &record.event else {
            return Some(Input::Answered(Answer::Retry));
        };
        let event: &AttemptEnded = event;
        let facts = facts::of_ended(event, self.run.history());
        let input = self.line(record);
        match self.start_hook(Kind::RetryIf, facts, &input) {
            Some(Err(error)) => {
                self.hook_failed(Kind::RetryIf, &error.reason);
                Some(Input::Answered(Answer::Retry))
            }
            Some(Ok(())) => None,
            None => Some(Input::Answered(Answer::Retry)),
        }
    }

    /// Does what the user wants done before an attempt.
    pub(super) fn prepare(&mut self, attempt: u64, trigger: Trigger) -> Option<Input> {
        let facts = facts::of_next(attempt, trigger, self.run.history());
        let input = self.hooks.planned.take().map(|planned| self.line(&planned));
        match self.start_hook(Kind::BeforeAttempt, facts, &input.unwrap_or_default()) {
            Some(Err(error)) => {
                self.hook_failed(Kind::BeforeAttempt, &error.reason);
                Some(Input::Prepared)
            }
            Some(Ok(())) => None,
            None => Some(Input::Prepared),
        }
    }

    /// A wait has begun.
    pub(super) fn begin_wait(&mut self, record: Record) {
        if self.command.hooks.on_retry.is_some() {
            if self.hooks.has_room_beside() {
                let facts = facts::of_wait(self.run.history());
                let input = self.line(&record);
                if let Some(Err(error)) = self.start_hook(Kind::OnRetry, facts, &input) {
                    self.hook_failed(Kind::OnRetry, &error.reason);
                }
            } else {
                // The hooks of many short waits may be as slow as they like: once is enough.
                let failure = "too many of them still run";
                if self.warned.insert(failure.to_owned()) {
                    self.hook_failed(Kind::OnRetry, failure);
                }
            }
        }
        if self.command.hooks.before_attempt.is_some() {
            self.hooks.planned = Some(record);
        }
    }

    /// Starts a hook; none where the user has no such.
    pub(super) fn start_hook(
        &mut self,
        kind: Kind,
        mut facts: Vec<CString>,
        input: &[u8],
    ) -> Option<Result<(), SpawnError>> {
        let command = self.command.hooks.of(kind)?;
        facts.push(facts::of_hook(kind.name()));
        let inherited = facts::beside(&facts, &self.command.environment);
        let environment = Entries { inherited, added: facts };
        let until_deadline = match kind {
            Kind::RetryIf | Kind::BeforeAttempt => self.run.until_deadline(),
            Kind::OnRetry | Kind::OnSuccess | Kind::OnGiveUp => None,
        };
        let kill_after = self.command.hooks.kill_after;
        let limit = [self.command.hooks.timeout, until_deadline].into_iter().flatten().min();
        Some(Hook::start(kind, command, environment, input, limit, kill_after).map(|hook| {
            let run_id = facts::of_run_id(self.run.history());
            self.tree.add_hook(hook.pid(), run_id.to_bytes());
            self.sinks.trace(|| format!("process {} is to run --{kind}", hook.pid()));
            self.hooks.running.push(hook);
            self.hooks.has_run = true;
            self.screen.begins_a_row();
            Stderr::lose_track();
        }))
    }

    /// What the end of a hook means for the run, if anything.
    pub(super) fn hook_ended(&mut self, ended: Ended) -> Option<Input> {
        let Ended { kind, pid, end } = ended;
        self.tree.remove_hook(pid);
        let failure = failure(&end);
        self.sinks.trace(|| {
            let how = failure.as_deref().unwrap_or("well");
            format!("process {pid} of --{kind} is reaped: {how}")
        });
        if kind == Kind::RetryIf {
            let answer = match end {
                Ok(End::Exited(1 | 125)) => Answer::Stop,
                Ok(
                    End::Exited(_)
                    | End::Killed(_)
                    | End::TimedOut
                    | End::WantedTheTerminal
                    | End::Stopped,
                )
                | Err(_) => Answer::Retry,
            };
            if let Some(failure) = failure.filter(|_| answer == Answer::Retry) {
                self.hook_failed(kind, &failure);
            }
            return Some(Input::Answered(answer));
        }
        if let Some(failure) = failure {
            self.hook_failed(kind, &failure);
        }
        (kind == Kind::BeforeAttempt).then_some(Input::Prepared)
    }

    pub(super) fn hook_failed(&mut self, kind: Kind, failure: &str) {
        let so = if kind == Kind::RetryIf { ", and it is retried" } else { "" };
        let is_said = self.sinks.warn(&format!("--{kind} failed{so}: {failure}"));
        // Where no other one goes on, our line is behind all that they wrote.
        self.hooks.has_run &= !is_said || self.hooks.are_running();
        self.screen.follows_our_line();
    }

    /// An event as hooks read it.
    fn line(&self, record: &Record) -> Vec<u8> {
        let line = Line::new(&self.run.history().run_id, record);
        let mut json = serde_json::to_vec(&line).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// What went wrong with a hook, if anything.
fn failure(end: &Result<End, SpawnError>) -> Option<String> {
    match end {
        // One that we ended as we were told to stop has not failed.
        Ok(End::Exited(0) | End::Stopped) => None,
        Ok(End::Exited(code)) => Some(format!("exit {code}")),
        Ok(End::Killed(signal)) => Some(signal.to_string()),
        Ok(End::TimedOut) => Some("timed out".to_owned()),
        Ok(End::WantedTheTerminal) => {
            Some("it was stopped, since the terminal is not a hook's".to_owned())
        }
        Err(error) => Some(error.reason.clone()),
    }
}
