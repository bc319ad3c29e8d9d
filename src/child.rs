//! One attempt's processes: starts them, and reports what becomes of them until all that have to end have ended.
//!
//! It obeys and never decides.

use std::ffi::CString;
use std::io;

use rustix::process::Pid;

use crate::engine::event::{SpawnErrorKind, Usage};
use crate::engine::signal::Signal;
use crate::engine::{ExitStatus, Input};
use crate::unix::process::{Watch, reap, reap_orphans, signal_group, signal_process};
use crate::unix::spawn::{Group, Program, SpawnError, Starting};
use crate::unix::stdout;
use crate::unix::tree::{descendants, signal_descendants};

/// The processes of an attempt.
pub struct Child {
    pid: Pid,
    name: CString,
    group: Group,
    watch: Watch,
    stage: Stage,
    sent: Sent,
}

enum Stage {
    /// It has not yet become the program.
    Starting(Starting),
    /// It has.
    Running,
}

/// The strongest thing that was sent to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    Nothing,
    StopSignal,
    Kill,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// A lack of processes, memory or descriptors.
    pub fn spawn(program: &Program<'_>, group: Group) -> Result<Child, SpawnError> {
        let starting = Starting::spawn(program, group)?;
        let pid = starting.pid();
        let watch = Watch::new(pid).inspect_err(|_| {
            // Nobody would notice its end.
            let _it_is_ours = signal_process(pid, Signal::KILL);
            let _it_ends_now = reap(pid);
        })?;
        let name = program.words.first().cloned().unwrap_or_default();
        Ok(Child { pid, name, group, watch, stage: Stage::Starting(starting), sent: Sent::Nothing })
    }

    /// Waits for the next thing to report. May be cancelled and called again.
    pub async fn report(&mut self) -> Result<Input, SpawnError> {
        if let Stage::Starting(starting) = &self.stage {
            let executed = starting.executed(&self.name).await;
            self.stage = Stage::Running;
            return match executed {
                Ok(()) => {
                    Ok(Input::Started { pid: self.pid.as_raw_nonzero().get().unsigned_abs() })
                }
                Err(error) => {
                    let _exit_status_of_ours = reap(self.pid);
                    Err(error)
                }
            };
        }
        self.watch.ended().await;
        if self.sent > Sent::Nothing {
            self.rest_ended().await;
        }
        let (status, usage) = reap(self.pid).unwrap_or_else(|_| lost());
        reap_orphans();
        Ok(Input::Exited { status, usage, stdout_closed: stdout::is_closed() })
    }

    /// Waits until nothing of the tree lives, once it is being ended. The leader, a zombie meanwhile, keeps the group's
    /// number from being used again.
    async fn rest_ended(&self) {
        loop {
            if self.sent == Sent::Kill {
                let _told_when_first_sent = signal_descendants(Signal::KILL);
            }
            let Some(first) = descendants().into_iter().next() else {
                return;
            };
            match Watch::new(first) {
                Ok(watch) => watch.ended().await,
                // It has just gone, or there are no descriptors left to wait with: look again.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Sends a signal that is to end it to all of its processes. A stopped one is continued, so that it can obey.
    ///
    /// # Errors
    /// A process belongs to somebody else (EPERM); the others were sent it.
    pub fn end(&mut self, signal: Signal) -> io::Result<()> {
        let is_kill = signal == Signal::KILL;
        self.sent = self.sent.max(if is_kill { Sent::Kill } else { Sent::StopSignal });
        let result = self.send(signal);
        if !is_kill {
            let _as_above = self.send(Signal::CONT);
        }
        result
    }

    fn send(&self, signal: Signal) -> io::Result<()> {
        match self.group {
            Group::New => signal_group(self.pid, signal).and(match signal {
                Signal::KILL => signal_descendants(signal),
                _ => Ok(()),
            }),
            // Our own group holds the caller's pipeline, too.
            Group::Inherited => signal_descendants(signal),
        }
    }

    /// Passes a signal on to the command alone.
    ///
    /// # Errors
    /// It belongs to somebody else (EPERM).
    pub fn pass_on(&self, signal: Signal) -> io::Result<()> {
        signal_process(self.pid, signal)
    }
}

/// What is said of a process that somebody else has reaped, which only happens to a debugger's victim.
fn lost() -> (ExitStatus, Usage) {
    (ExitStatus::Code(i32::from(u8::MAX)), Usage::default())
}

/// The input for a program that could not be started.
#[must_use]
pub fn cannot_start(error: SpawnError, shown_name: &str) -> Input {
    let SpawnError { kind, reason } = error;
    let reason = match kind {
        SpawnErrorKind::NotFound if !shown_name.contains('/') => "command not found".to_owned(),
        SpawnErrorKind::NotFound | SpawnErrorKind::NotExecutable | SpawnErrorKind::Resources => {
            reason
        }
    };
    Input::CannotStart { kind, error: format!("cannot run `{shown_name}`: {reason}") }
}
