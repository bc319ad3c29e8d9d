//! Signals to us, and what each means for the run or for the command.

use std::future::ready;
use std::time::Duration;

use super::{Driver, STOP_SIGNALS};
use crate::engine::signal::Signal;
use crate::engine::{Input, Sender};
use crate::unix::clock::Alarm;
use crate::unix::missed;
use crate::unix::process::{leads_the_session, stopped_by};
use crate::unix::signals::Received;
use crate::unix::spawn::Group;
use crate::unix::start::Start;
use crate::unix::stop::{has_stopped_us, stop};
use crate::unix::tree;

/// How long a command has to be stopped before we stop with it: one that only passes through is left alone.
const STOPPED_FOR: Duration = Duration::from_millis(20);

impl Driver {
    /// A signal that has come, if any has.
    pub(super) async fn signal_until_now(&mut self) -> Option<Received> {
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            received = self.signals.next() => Some(received),
            () = ready(()) => None,
        }
    }

    /// What a signal means for the run; one that is the command's is passed on.
    pub(super) fn signalled(&mut self, received: Received) -> Option<Input> {
        self.trace_signal(received);
        let Received { signal, by_kernel, ended } = received;
        // Asked at each of them, since the answer is about the time since the last.
        let (was_stopped, was_missed) = match signal {
            Signal::CONT => (has_stopped_us(), false),
            _ => (false, missed::take(signal)),
        };
        if signal == Signal::CONT
            && let Some(terminal) = &mut self.terminal
        {
            terminal.continued();
        }
        let shares_the_terminal = self.group == Group::Inherited && self.terminal.is_some();
        if STOP_SIGNALS.contains(&signal) {
            self.streams.outputs.hurry();
            self.hooks.told();
            let is_key = by_kernel && self.terminal.is_some();
            // As a terminal goes away it tells the leader of the session alone: without us that would be the command.
            let is_for_the_leader = signal == Signal::HUP && leads_the_session();
            if is_key
                && (self.group != Group::Inherited || is_for_the_leader || was_missed)
                && let Some(child) = &self.child
            {
                // What the terminal does for its foreground group, it does not do for the command's.
                child.pass_key_on(signal);
            }
            if shares_the_terminal
                && !is_key
                && let Some(child) = &mut self.child
            {
                // Its sender may have ended the leader before it is passed on; the rest of the tree is to end, too.
                child.begin_to_end();
            }
            let sender = match self.group {
                _ if is_key => Sender::Terminal,
                Group::Inherited if by_kernel => Sender::Terminal,
                Group::Inherited if shares_the_terminal => Sender::ProcessToGroup,
                Group::Inherited | Group::New | Group::Session => Sender::Process,
            };
            return Some(Input::Signal { signal, sender });
        }
        let Some(child) = &self.child else {
            match signal {
                Signal::CHLD => {
                    self.hooks.end_stopped();
                    self.tree.reap_orphans(None);
                }
                Signal::CONT => self.screen.continued(),
                _ => self.hooks.pass_on(signal),
            }
            return (signal == Signal::USR1).then_some(Input::RetryNow);
        };
        // If a signal cannot be sent, the command is somebody else's, and not to be disturbed.
        match signal {
            // Its own end is noticed elsewhere, and what it leaves is looked for then.
            Signal::CHLD if ended == Some(child.pid()) => {}
            Signal::CHLD => {
                self.tree.reap_orphans(Some(child.pid()));
                if shares_the_terminal
                    && let Some(by) = child.running().and_then(stopped_by)
                    && let Ok(alarm) = Alarm::new()
                {
                    alarm.set(STOPPED_FOR);
                    self.stopped = Some((by, alarm));
                }
            }
            // Whoever continued us may have continued the whole group: then a command that runs is not told twice.
            Signal::CONT if self.group == Group::Inherited => {
                child.wake(&self.tree);
                if !was_stopped {
                    drop(child.pass_on(signal));
                }
            }
            Signal::WINCH if self.streams.outputs.resize() => drop(child.pass_on(signal)),
            Signal::WINCH if by_kernel && self.group == Group::Inherited => {}
            _ => drop(child.pass_on(signal)),
        }
        None
    }

    /// Where the shell waits for us as a job, a command that stops stops us, too; and goes on when we do.
    pub(super) fn stop_with_the_command(&mut self) {
        let Some((by, _)) = self.stopped.take() else { return };
        let Some(child) = &self.child else { return };
        let is_stopped = child.running().is_some_and(|pid| {
            tree::read(pid.as_raw_nonzero().get()).is_some_and(|leader| leader.is_stopped())
        });
        if !is_stopped {
            return;
        }
        let signal = if by == Signal::STOP { Signal::TSTP } else { by };
        if !Start::get().ignored(signal) {
            stop(signal);
        }
        child.wake(&self.tree);
    }
}
