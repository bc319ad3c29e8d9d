//! The last things of a run, once it is decided.

use std::io;
use std::time::Duration;

use super::waiting::next_request;
use super::{Driver, STOP_SIGNALS};
use crate::child::Trouble;
use crate::engine::event::{self, Event, Outcome, Record};
use crate::engine::exit::Exit;
use crate::engine::signal::Signal;
use crate::facts;
use crate::hook::Kind;
use crate::jobs::control::Request;
use crate::leftovers::Leftovers;
use crate::report::Closing;
use crate::unix::lines::Stderr;
use crate::unix::output::Output;
use crate::unix::signals::{Received, let_none_kill, let_the_second_kill};

/// How long what is left to be written may take, once somebody tells us to stop.
const LAST_REPORT: Duration = Duration::from_secs(2);

impl Driver {
    /// The last things of a run: terminal, held output, reports, hooks, and the last of our lines.
    pub(super) async fn leave(&mut self, exit: Exit) -> Exit {
        Stderr::begin_the_end();
        if let Some(leftovers) = &self.leftovers {
            leftovers.kill(&self.tree);
        }
        let has_changed_the_terminal = self.run.history().last_attempt().is_some_and(|last| {
            // One that ended by itself is left to its effect.
            last.exit_code.is_none() || self.run.has_ended_the_last_attempt()
        });
        match &self.terminal {
            Some(terminal) if has_changed_the_terminal => terminal.restore(&self.tree),
            Some(terminal) => terminal.take_back(&self.tree),
            None => {}
        }
        let exit = self.write_held(exit).await;
        if let Some(record) = self.last.take() {
            let_the_second_kill();
            self.sinks.write_reports(&record, self.run.history());
            self.sinks.say(&record, self.run.history());
            let_none_kill();
            self.run_last_hook(&record).await;
            let follows_a_hook = self.hooks.have_run_since() || self.hooks.are_running();
            self.end_hooks().await;
            let_the_second_kill();
            if let Event::RunStopped(stopped) = &record.event {
                self.sinks.close(&Closing { stopped, follows_a_hook }, self.run.history());
            }
        }
        // If stderr does not take it, there is nobody left to tell.
        let _unheard = Stderr::finish();
        self.settle().await;
        exit
    }

    /// Runs the hook for how the run ended. A signal that tells us to stop ends it.
    async fn run_last_hook(&mut self, record: &Record) {
        let Event::RunStopped(stopped) = &record.event else { return };
        let is_wanted = stopped.signal != Some(Signal::PIPE) && !self.hooks.are_skipped();
        let kind = match stopped.outcome {
            Outcome::Succeeded => Kind::OnSuccess,
            Outcome::Permanent
            | Outcome::Exhausted
            | Outcome::Deadline
            | Outcome::Budget
            | Outcome::RetryAfter
            | Outcome::Stopped
            | Outcome::Interrupted
            | Outcome::NotStarted => Kind::OnGiveUp,
        };
        if !is_wanted || self.command.hooks.of(kind).is_none() {
            return;
        }
        let history = self.run.history();
        let mut input =
            serde_json::to_vec(&event::Closing::new(record, history)).unwrap_or_default();
        input.push(b'\n');
        let facts = facts::of_end(history);
        if let Some(Err(error)) = self.start_hook(kind, facts, &input) {
            return self.hook_failed(kind, &error.reason);
        }
        while self.hooks.is_awaited() {
            tokio::select! {
                biased;
                received = self.signals.next() => {
                    self.trace_signal(received);
                    match received.signal {
                        Signal::CHLD => {
                            self.hooks.end_stopped();
                            self.tree.reap_orphans(None);
                        }
                        Signal::CONT => {}
                        signal if STOP_SIGNALS.contains(&signal) => {
                            self.hooks.end_awaited(signal);
                        }
                        signal => self.hooks.pass_on(signal),
                    }
                }
                request = next_request(self.control.as_ref()) => if request == Request::Stop {
                    self.hooks.end_awaited(Signal::TERM);
                },
                ended = self.hooks.next_end() => drop(self.hook_ended(ended)),
            }
        }
    }

    /// Ends what hooks have started: nothing of it outlives the run.
    async fn end_hooks(&mut self) {
        if !self.tree.has_hooks() {
            return;
        }
        // They may have written until now.
        Stderr::lose_track();
        let Ok(mut leftovers) = Leftovers::of_hooks() else { return };
        loop {
            tokio::select! {
                biased;
                received = self.signals.next() => {
                    self.trace_signal(received);
                    if STOP_SIGNALS.contains(&received.signal) {
                        leftovers.kill(&self.tree);
                    }
                }
                _survives = leftovers.swept(&self.tree) => return,
            }
        }
    }

    /// Writes what was held back. A reader may take its time, but whoever tells us to stop does not wait for it.
    async fn write_held(&mut self, exit: Exit) -> Exit {
        let written = {
            let written = self.streams.outputs.write_held();
            tokio::pin!(written);
            let mut told = None;
            loop {
                tokio::select! {
                    biased;
                    Received { signal, .. } = self.signals.next() => {
                        if STOP_SIGNALS.contains(&signal) {
                            if told.replace(signal).is_some() {
                                return Exit::Signal(signal);
                            }
                            self.alarm.set(LAST_REPORT);
                        }
                    }
                    // As if by SIGTERM.
                    request = next_request(self.control.as_ref()), if told.is_none() => {
                        if request == Request::Stop {
                            told = Some(Signal::TERM);
                            self.alarm.set(LAST_REPORT);
                        }
                    }
                    written = &mut written => break written,
                    () = self.alarm.rings(), if told.is_some() => {
                        return told.map_or(exit, Exit::Signal);
                    }
                }
            }
        };
        match written {
            Ok(()) => exit,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Signal(Signal::PIPE),
            Err(error) => {
                self.trouble(&Trouble::Broken(Output::Stdout, error));
                Exit::FAILED
            }
        }
    }
}
