//! A command of the user's that is run beside the attempts: what it is given, and how it ends in time.
//!
//! When one is run, and what its answer means, is the driver's and the run's.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::Pid;

use crate::engine::ExitStatus;
use crate::engine::signal::Signal;
use crate::error::Error;
use crate::unix::clock::Alarm;
use crate::unix::input::holding;
use crate::unix::output::Output;
use crate::unix::process::{Watch, reap, signal_group, signal_process};
use crate::unix::spawn::{Group, Program, SpawnError, Starting};

/// Time from the signal that ends it to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// A hook that runs: a shell, in a group of its own.
pub struct Hook {
    pid: Pid,
    starting: Option<Starting>,
    watch: Watch,
    alarm: Alarm,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Told to end, by us or by who tells us.
    Told {
        by_limit: bool,
    },
    Killed {
        by_limit: bool,
    },
}

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Killed(Signal),
    /// It took too long.
    TimedOut,
    /// Whoever told us to stop ended it, too.
    Stopped,
}

impl Hook {
    /// Runs `sh -c command`: the text is the user's own, and facts are never pasted into it. It reads `input`, and what it
    /// prints goes to our stderr.
    ///
    /// # Errors
    /// A lack of processes, memory or descriptors.
    pub fn start(
        command: &CStr,
        environment: Vec<&CStr>,
        input: &[u8],
        limit: Option<Duration>,
    ) -> Result<Hook, SpawnError> {
        let words = [c"/bin/sh".to_owned(), c"-c".to_owned(), command.to_owned()];
        let input = holding(input)?;
        let program = Program {
            words: &words,
            environment,
            stdin: Some(input.as_fd()),
            stdout: Output::Stderr.was_open().then(|| Output::Stderr.fd()),
            stderr: None,
            cgroup: None,
        };
        let alarm = Alarm::new()?;
        let starting = Starting::spawn(&program, Group::New)?;
        let pid = starting.pid();
        if let Some(limit) = limit {
            alarm.set(limit);
        }
        Ok(Hook {
            pid,
            starting: Some(starting),
            watch: Watch::new(pid),
            alarm,
            stage: Stage::Running,
        })
    }

    /// Its process, which is not to be reaped by others.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end. May be cancelled and called again; to be called again after each SIGCHLD.
    ///
    /// # Errors
    /// The shell could not be started.
    pub async fn ended(&mut self) -> Result<End, SpawnError> {
        loop {
            let ended = tokio::select! {
                biased;
                () = self.watch.ended() => true,
                () = self.alarm.rings() => false,
            };
            if ended {
                return self.over().await;
            }
            match self.stage {
                Stage::Running => self.tell(Signal::TERM, true),
                Stage::Told { by_limit } => self.kill(by_limit),
                Stage::Killed { .. } => {}
            }
        }
    }

    async fn over(&mut self) -> Result<End, SpawnError> {
        // What it started is ended with it; the zombie still keeps the group's number.
        let _nobody_left = signal_group(self.pid, Signal::KILL);
        let status = reap(self.pid).map(|(status, _)| status);
        if let Some(starting) = self.starting.take() {
            starting.executed(c"/bin/sh").await?;
        }
        Ok(match (self.stage, status) {
            (Stage::Told { by_limit: true } | Stage::Killed { by_limit: true }, _) => End::TimedOut,
            (Stage::Told { .. } | Stage::Killed { .. }, _) => End::Stopped,
            (_, Ok(ExitStatus::Code(code))) => End::Exited(code),
            (_, Ok(ExitStatus::Signal { signal, .. })) => End::Killed(signal),
            // Somebody else has reaped it, which only happens to a debugger's victim.
            (_, Err(_)) => End::Exited(i32::from(u8::MAX)),
        })
    }

    /// Passes on a signal that is to end it; a second one kills.
    pub fn end(&mut self, signal: Signal) {
        match self.stage {
            Stage::Running => self.tell(signal, false),
            Stage::Told { by_limit } => self.kill(by_limit),
            Stage::Killed { .. } => {}
        }
    }

    /// Passes on a signal that is not to end it.
    pub fn pass_on(&self, signal: Signal) {
        let _already_gone = signal_process(self.pid, signal);
    }

    fn tell(&mut self, signal: Signal, by_limit: bool) {
        let _already_gone = signal_group(self.pid, signal);
        self.stage = Stage::Told { by_limit };
        self.alarm.set(GRACE);
    }

    fn kill(&mut self, by_limit: bool) {
        let _already_gone = signal_group(self.pid, Signal::KILL);
        self.stage = Stage::Killed { by_limit };
    }
}

/// A hook's text, which cannot hold a zero byte: nobody can write one.
///
/// # Errors
/// It does.
pub fn command(text: String) -> Result<CString, Error> {
    CString::new(text).map_err(|error| {
        let text = String::from_utf8_lossy(error.into_vec().as_slice()).into_owned();
        Error::Usage(format!("a command of yours holds a zero byte: {text:?}"))
    })
}
