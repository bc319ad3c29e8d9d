//! A command of the user's that is run beside the attempts: what it is given, and how it ends in time.
//!
//! When one is run, and what its answer means, is the driver's and the run's.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::Pid;

use crate::engine::ExitStatus;
use crate::engine::keyword::keywords;
use crate::engine::signal::Signal;
use crate::error::Error;
use crate::unix::clock::Alarm;
use crate::unix::input::holding;
use crate::unix::output::{Output, discarding};
use crate::unix::process::{Watch, reap, signal_group, signal_process};
use crate::unix::spawn::{Entries, Group, Program, SpawnError, Starting};
use crate::unix::stop;

keywords! {
    /// When a hook is run. The names are those of its options.
    Kind {
        /// Asked before a retry.
        RetryIf = "retry-if",
        /// As each wait begins, beside it.
        OnRetry = "on-retry",
        /// Before each attempt but the first.
        BeforeAttempt = "before-attempt",
        /// After a success.
        OnSuccess = "on-success",
        /// When the run ends without success.
        OnGiveUp = "on-give-up",
    }
}

/// The commands of the user's own, where there are any.
#[derive(Default)]
pub struct Commands {
    /// For [`Kind::RetryIf`].
    pub retry_if: Option<CString>,
    /// For [`Kind::OnRetry`].
    pub on_retry: Option<CString>,
    /// For [`Kind::BeforeAttempt`].
    pub before_attempt: Option<CString>,
    /// For [`Kind::OnSuccess`].
    pub on_success: Option<CString>,
    /// For [`Kind::OnGiveUp`].
    pub on_give_up: Option<CString>,
    /// Limit on each.
    pub timeout: Option<Duration>,
    /// Time from the signal that ends one to SIGKILL; zero is SIGKILL at once.
    pub kill_after: Duration,
}

impl Commands {
    /// The command of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<&CStr> {
        let command = match kind {
            Kind::RetryIf => &self.retry_if,
            Kind::OnRetry => &self.on_retry,
            Kind::BeforeAttempt => &self.before_attempt,
            Kind::OnSuccess => &self.on_success,
            Kind::OnGiveUp => &self.on_give_up,
        };
        command.as_deref()
    }
}

/// A hook that runs: a shell, in a group of its own.
pub struct Hook {
    kind: Kind,
    pid: Pid,
    starting: Option<Starting>,
    watch: Watch,
    alarm: Alarm,
    kill_after: Duration,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Told to end, by us or by who tells us.
    Told {
        end: End,
    },
    Killed {
        end: End,
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
    /// It was stopped by the kernel, since it read from the terminal or wrote to one that refuses that to the background.
    WantedTheTerminal,
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
        kind: Kind,
        command: &CStr,
        environment: Entries,
        input: &[u8],
        limit: Option<Duration>,
        kill_after: Duration,
    ) -> Result<Hook, SpawnError> {
        let words = [c"/bin/sh".to_owned(), c"-c".to_owned(), command.to_owned()];
        let input = holding(input)?;
        // Our stdout is the command's, also where we have no stderr.
        let output = if Output::Stderr.was_open() { None } else { Some(discarding()?) };
        let program = Program {
            words: &words,
            environment,
            stdin: Some(input.as_fd()),
            stdout: Some(output.as_ref().map_or_else(|| Output::Stderr.fd(), AsFd::as_fd)),
            stderr: None,
            cgroup: None,
        };
        let alarm = Alarm::new()?;
        let starting = Starting::spawn(program, Group::New)?;
        let pid = starting.pid();
        if kind == Kind::OnRetry {
            // Those that run beside an attempt do not stop with it, and have ended before it or after.
            stop::forget_target();
        }
        if let Some(limit) = limit {
            alarm.set(limit);
        }
        Ok(Hook {
            kind,
            pid,
            starting: Some(starting),
            watch: Watch::new(pid),
            alarm,
            kill_after,
            stage: Stage::Running,
        })
    }

    /// When it is run.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
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
                Stage::Running => self.tell(Signal::TERM, End::TimedOut),
                Stage::Told { end } => self.kill(end),
                Stage::Killed { .. } => {}
            }
        }
    }

    async fn over(&mut self) -> Result<End, SpawnError> {
        if self.stage != Stage::Running {
            // What is told to end is told with all that it started; the zombie still keeps the group's number.
            let _nobody_left = signal_group(self.pid, Signal::KILL);
        }
        // First what may be cancelled; what cannot be asked twice last.
        let executed = match &mut self.starting {
            Some(starting) => starting.executed().await,
            None => Ok(()),
        };
        self.starting = None;
        if self.kind != Kind::OnRetry {
            stop::forget_target();
        }
        let status = reap(self.pid).map(|(status, _)| status);
        executed?;
        Ok(match (self.stage, status) {
            (Stage::Told { end } | Stage::Killed { end }, _) => end,
            (_, Ok(ExitStatus::Code(code))) => End::Exited(code),
            (_, Ok(ExitStatus::Signal { signal, .. })) => End::Killed(signal),
            // Somebody else has reaped it, which only happens to a debugger's victim.
            (_, Err(_)) => End::Exited(i32::from(u8::MAX)),
        })
    }

    /// Passes on a signal that is to end it; a second one kills.
    pub fn end(&mut self, signal: Signal) {
        match self.stage {
            Stage::Running => self.tell(signal, End::Stopped),
            Stage::Told { end } => self.kill(end),
            Stage::Killed { .. } => {}
        }
    }

    /// Passes on a signal that is not to end it.
    pub fn pass_on(&self, signal: Signal) {
        let _already_gone = signal_process(self.pid, signal);
    }

    /// Ends one that was stopped since it wants the terminal.
    pub fn end_for_the_terminal(&mut self) {
        if self.stage == Stage::Running {
            self.tell(Signal::TERM, End::WantedTheTerminal);
        }
    }

    fn tell(&mut self, signal: Signal, end: End) {
        if self.kill_after.is_zero() {
            return self.kill(end);
        }
        let _already_gone = signal_group(self.pid, signal);
        // One that is stopped can obey, too.
        let _already_gone = signal_group(self.pid, Signal::CONT);
        self.stage = Stage::Told { end };
        self.alarm.set(self.kill_after);
    }

    fn kill(&mut self, end: End) {
        let _already_gone = signal_group(self.pid, Signal::KILL);
        self.stage = Stage::Killed { end };
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
