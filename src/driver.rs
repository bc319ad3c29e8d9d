//! The run in the world: feeds the engine with what happens, and carries out what it orders.
//!
//! It alone waits for everything at once, and decides nothing.

use std::ffi::{CStr, CString};
use std::future::{pending, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;
use signal_hook_tokio::SignalsInfo;

use crate::child::{Child, cannot_start};
use crate::config::environment::{Environment, FACTS};
use crate::engine::exit::Exit;
use crate::engine::history::History;
use crate::engine::signal::Signal;
use crate::engine::time::Time;
use crate::engine::{Action, Input, Run, Sender, Why};
use crate::error::{Error, reason};
use crate::report::Sinks;
use crate::unix::clock::{Alarm, Clock};
use crate::unix::spawn::{Group, Program, SpawnError};
use crate::unix::start::{self, Start};
use crate::unix::{terminal, tree};

/// Signals that tell us to stop.
const STOP_SIGNALS: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// Signals that are the command's, and would end us.
const PASSED_ON: [Signal; 3] = [Signal::USR1, Signal::USR2, Signal::ALRM];

/// What is run, and how it is shown.
pub struct Command {
    /// The command's words.
    pub words: Vec<CString>,
    /// The first of them, fit to be shown.
    pub shown_name: String,
    /// What it inherits.
    pub environment: Environment,
}

/// Carries a run through to its end.
///
/// # Errors
/// The system refuses what supervising needs; nothing was run then.
pub fn drive(run: Run, command: Command, sinks: Sinks) -> Result<Exit, Error> {
    let fail = |source| Error::System { action: "supervise a command", source };
    start::prepare(&STOP_SIGNALS);
    tree::become_subreaper();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(fail)?;
    runtime.block_on(async {
        let mut driver = Driver {
            run,
            command,
            sinks,
            clock: Clock::start(),
            signals: signals().map_err(fail)?,
            alarm: Alarm::new().map_err(fail)?,
            child: None,
            reported: None,
            has_terminal: terminal::is_controlling(),
        };
        Ok(driver.drive().await)
    })
}

struct Driver {
    run: Run,
    command: Command,
    sinks: Sinks,
    clock: Clock,
    signals: SignalsInfo<WithRawSiginfo>,
    alarm: Alarm,
    child: Option<Child>,
    reported: Option<Input>,
    has_terminal: bool,
}

/// Handlers for all signals of ours that were not ignored when we started: those stay so.
fn signals() -> io::Result<SignalsInfo<WithRawSiginfo>> {
    let start = Start::get();
    let wanted = STOP_SIGNALS.into_iter().chain(PASSED_ON).filter(|signal| !start.ignored(*signal));
    SignalsInfo::with_exfiltrator(wanted.map(Signal::number), WithRawSiginfo)
}

impl Driver {
    async fn drive(&mut self) -> Exit {
        let (mut now, mut input) = (Time::default(), Input::Begin);
        loop {
            let answer = self.handle(now, input);
            if let Some(exit) = self.run.exit() {
                return exit;
            }
            input = match answer {
                Some(input) => input,
                None => self.next_input().await,
            };
            now = self.clock.now();
        }
    }

    /// Feeds one input and carries out the actions; an action may have an answer at once.
    fn handle(&mut self, now: Time, input: Input) -> Option<Input> {
        let mut answer = None;
        for action in self.run.handle(now, input) {
            match action {
                Action::Start { attempt, .. } => answer = self.start(attempt),
                Action::Kill(signal) => self.end(signal),
                Action::Tell(record) => self.sinks.tell(&record, self.run.history()),
            }
        }
        answer
    }

    fn start(&mut self, attempt: u64) -> Option<Input> {
        let facts = facts(attempt, self.run.history());
        let inherited = self.command.environment.entries().filter(|entry| !is_fact(entry));
        let mut environment: Vec<&CStr> = inherited.collect();
        environment.extend(facts.iter().map(CString::as_c_str));
        let program = Program { words: &self.command.words, environment };
        let group = if self.has_terminal { Group::Inherited } else { Group::New };
        match Child::spawn(&program, group) {
            Ok(child) => {
                self.child = Some(child);
                None
            }
            Err(error) => Some(cannot_start(error, &self.command.shown_name)),
        }
    }

    fn end(&mut self, signal: Signal) {
        let Some(child) = &mut self.child else { return };
        if let Err(error) = child.end(signal) {
            let reason = reason(&error);
            self.sinks.warn(&format!("cannot send {signal} to all processes: {reason}"));
        }
    }

    async fn next_input(&mut self) -> Input {
        let now = self.clock.now();
        let remaining = self.run.wakeup().map(|(at, why)| remaining(now, at, why));
        if let Some(remaining) = remaining {
            self.alarm.set(remaining);
        }
        loop {
            tokio::select! {
                biased;
                info = next_signal(&mut self.signals) => {
                    if let Some(input) = signalled(info, self.child.as_ref(), self.has_terminal) {
                        return input;
                    }
                }
                () = ready(()), if self.reported.is_some() => {
                    // Not taken in the branch's expression: that is evaluated also where another branch wins.
                    if let Some(input) = self.reported.take() {
                        return input;
                    }
                }
                report = next_report(self.child.as_mut()) => self.report(report).await,
                () = self.alarm.rings(), if remaining.is_some() => return Input::Tick,
            }
        }
    }

    /// Keeps a report until it is known that no signal came before it. A signal that ended the command, such as Ctrl-C, has reached
    /// us, too, but the event loop may have been told of the command first.
    async fn report(&mut self, report: Result<Input, SpawnError>) {
        let input = report.unwrap_or_else(|error| cannot_start(error, &self.command.shown_name));
        if !matches!(input, Input::Started { .. }) {
            self.child = None;
        }
        self.reported = Some(input);
        tokio::task::yield_now().await;
    }
}

/// How long until a moment, by the clock that its reason is measured by.
fn remaining(now: Time, at: Time, why: Why) -> Duration {
    match why {
        Why::Timeout | Why::Grace => at.active.saturating_sub(now.active),
        Why::Deadline | Why::Delay => at.elapsed.saturating_sub(now.elapsed),
    }
}

async fn next_signal(signals: &mut SignalsInfo<WithRawSiginfo>) -> libc::siginfo_t {
    match poll_fn(|context| Pin::new(&mut *signals).poll_next(context)).await {
        Some(info) => info,
        // The stream ends only when it is closed, which nobody does.
        None => pending().await,
    }
}

async fn next_report(child: Option<&mut Child>) -> Result<Input, SpawnError> {
    match child {
        Some(child) => child.report().await,
        None => pending().await,
    }
}

/// What a signal means for the run; one that is the command's is passed on.
fn signalled(info: libc::siginfo_t, child: Option<&Child>, has_terminal: bool) -> Option<Input> {
    let signal = Signal::new(info.si_signo)?;
    if STOP_SIGNALS.contains(&signal) {
        // A positive code is the kernel's: the terminal sends to all of its foreground group, and so to the command.
        let sender =
            if info.si_code > 0 && has_terminal { Sender::Keyboard } else { Sender::Process };
        return Some(Input::Signal { signal, sender });
    }
    match child {
        Some(child) => {
            // If it cannot be sent, the command is somebody else's, and not to be disturbed.
            let _not_ours_to_tell = child.pass_on(signal);
            None
        }
        None => (signal == Signal::USR1).then_some(Input::RetryNow),
    }
}

fn is_fact(entry: &CStr) -> bool {
    let name = entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    FACTS.iter().any(|fact| fact.as_bytes() == name)
}

/// What the command is told in its environment.
fn facts(attempt: u64, history: &History) -> Vec<CString> {
    let max_attempts = history.max_attempts().map_or(String::new(), |max| max.to_string());
    let mut facts = vec![
        ("RETRYRUN_ATTEMPT", attempt.to_string()),
        ("RETRYRUN_MAX_ATTEMPTS", max_attempts),
        ("RETRYRUN_RUN_ID", history.run_id.clone()),
    ];
    if let Some(deadline) = history.policy.deadline {
        let at = history.started_at.as_duration().saturating_add(deadline);
        // Whole seconds, for the arithmetic of shells; rounded up, since the outer run keeps the exact time anyway.
        let seconds = at.as_secs() + u64::from(at.subsec_nanos() > 0);
        facts.push(("RETRYRUN_DEADLINE_AT", seconds.to_string()));
    }
    if let Some(last) = history.last_attempt() {
        let text = |value: Option<String>| value.unwrap_or_default();
        facts.push(("RETRYRUN_LAST_EXIT_CODE", text(last.exit_code.map(|code| code.to_string()))));
        facts.push(("RETRYRUN_LAST_SIGNAL", text(last.signal.map(|signal| signal.to_string()))));
        facts.push(("RETRYRUN_LAST_REASON", text(last.reason.clone())));
    }
    let entries = facts.into_iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    entries.map(|entry| entry.expect("our own words have no zero bytes")).collect()
}
