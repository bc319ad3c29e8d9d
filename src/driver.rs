//! The run in the world: feeds the engine with what happens, and carries out what it orders.
//!
//! It alone waits for everything at once, and decides nothing.

use std::ffi::{CStr, CString};
use std::future::{pending, ready};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::getsid;

use crate::child::{Child, Report, cannot_start};
use crate::config::environment::{Environment, FACTS};
use crate::config::value::ProcessGroup;
use crate::engine::event::{Event, Record, Trigger};
use crate::engine::exit::Exit;
use crate::engine::history::History;
use crate::engine::signal::Signal;
use crate::engine::time::Time;
use crate::engine::{Action, Input, Run, Sender, Sweep, Why};
use crate::error::{Error, reason};
use crate::leftovers::Leftovers;
use crate::report::Sinks;
use crate::streams::{Capture, Streams};
use crate::unix::cgroup::Cgroup;
use crate::unix::clock::{Alarm, Clock};
use crate::unix::output::Output;
use crate::unix::process::{reap_orphans, stopped_by};
use crate::unix::signals::{Received, Signals, let_the_second_kill};
use crate::unix::spawn::{Group, Program, SpawnError};
use crate::unix::start::{self, Start};
use crate::unix::stop::stop;
use crate::unix::terminal::Terminal;
use crate::unix::tree::{self, Tree};

/// Signals that tell us to stop.
const STOP_SIGNALS: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// How long a command has to be stopped before we stop with it: one that only passes through is left alone.
const STOPPED_FOR: Duration = Duration::from_millis(20);

/// What is run, how it is shown, and how it is to be held.
pub struct Command {
    /// The command's words.
    pub words: Vec<CString>,
    /// The first of them, fit to be shown.
    pub shown_name: String,
    /// What it inherits.
    pub environment: Environment,
    /// Where it stands among the other processes.
    pub process_group: ProcessGroup,
    /// The folder of cgroups in which each attempt gets its own.
    pub cgroup: Option<PathBuf>,
    /// Whether what it writes has to be noticed.
    pub is_listened_to: bool,
}

/// Carries a run through to its end.
///
/// # Errors
/// The system refuses what supervising needs; nothing was run then.
pub fn drive(run: Run, command: Command, sinks: Sinks) -> Result<Exit, Error> {
    let fail = |source| Error::System { action: "supervise a command", source };
    start::check_descriptors().map_err(fail)?;
    start::prepare();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(fail)?;
    runtime.block_on(async {
        let terminal = Terminal::controlling();
        let group = match (command.process_group, &terminal) {
            (ProcessGroup::Auto, Some(_)) | (ProcessGroup::Inherit, _) => Group::Inherited,
            (ProcessGroup::Auto, None) | (ProcessGroup::New, _) => Group::New,
            (ProcessGroup::Session, _) => Group::Session,
        };
        let mut driver = Driver {
            run,
            sinks,
            clock: Clock::start(),
            signals: Signals::listen().map_err(fail)?,
            alarm: Alarm::new().map_err(fail)?,
            tree: Tree::new(),
            capture: if command.is_listened_to { Capture::both() } else { Capture::Nothing },
            command,
            group,
            terminal,
            child: None,
            reported: None,
            ended: None,
            leftovers: None,
            stopped: None,
            broken: Vec::new(),
        };
        Ok(driver.drive().await)
    })
}

struct Driver {
    run: Run,
    command: Command,
    sinks: Sinks,
    clock: Clock,
    signals: Signals,
    alarm: Alarm,
    tree: Tree,
    capture: Capture,
    group: Group,
    terminal: Option<Terminal>,
    child: Option<Child>,
    reported: Option<Input>,
    /// An attempt that has ended: its session, and its cgroup for what was left behind.
    ended: Option<(i32, Option<Cgroup>)>,
    leftovers: Option<Leftovers>,
    /// The signal that stopped the command, until it is known whether it stays so.
    stopped: Option<(Signal, Alarm)>,
    /// Outputs of which it was said that they take nothing.
    broken: Vec<Output>,
}

impl Driver {
    async fn drive(&mut self) -> Exit {
        let (mut now, mut input) = (Time::default(), Input::Begin);
        loop {
            let answer = self.handle(now, input);
            if let Some(exit) = self.run.exit() {
                self.leave();
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
        let mut actions = self.run.handle(now, input);
        // To say so may take its time, where nobody reads it.
        actions.sort_by_key(|action| !matches!(action, Action::Kill(_)));
        for action in actions {
            match action {
                Action::Start { attempt, trigger } => answer = self.start(attempt, trigger),
                Action::Kill(signal) => self.end(signal),
                Action::Sweep { which, signal } => answer = self.sweep(which, signal),
                Action::Abandon => self.child = None,
                Action::Tell(record) => self.tell(&record),
            }
        }
        answer
    }

    fn tell(&mut self, record: &Record) {
        if matches!(record.event, Event::RunStopped(_)) && self.run.history().has_failed() {
            // What is left is to say so, which does not take long.
            let_the_second_kill(&STOP_SIGNALS);
        }
        self.sinks.tell(record, self.run.history());
    }

    fn start(&mut self, attempt: u64, trigger: Trigger) -> Option<Input> {
        if let Some(terminal) = self.terminal.as_ref().filter(|_| attempt > 1) {
            terminal.restore();
        }
        self.leftovers = None;
        self.ended = None;
        self.tree.begin();
        match self.spawn(attempt, trigger) {
            Ok(child) => {
                self.child = Some(child);
                None
            }
            Err(error) => Some(cannot_start(error, &self.command.shown_name)),
        }
    }

    fn spawn(&self, attempt: u64, trigger: Trigger) -> Result<Child, SpawnError> {
        let history = self.run.history();
        let facts = facts(attempt, trigger, history);
        let inherited = self.command.environment.entries().filter(|entry| !is_fact(entry));
        let mut environment: Vec<&CStr> = inherited.collect();
        environment.extend(facts.iter().map(CString::as_c_str));
        let cgroup = match &self.command.cgroup {
            Some(parent) => {
                let name = format!("retryrun-{}-{attempt}", history.run_id);
                Some(Cgroup::create(parent, &name)?)
            }
            None => None,
        };
        let words = &self.command.words;
        let program = Program { words, environment, stdout: None, stderr: None, cgroup: None };
        Child::spawn(program, self.group, Streams::open(self.capture)?, cgroup)
    }

    fn end(&mut self, signal: Signal) {
        let Some(child) = &mut self.child else { return };
        if let Err(error) = child.end(signal, &self.tree) {
            let reason = reason(&error);
            self.sinks.warn(&format!("cannot send {signal} to all processes: {reason}"));
        }
    }

    fn sweep(&mut self, which: Sweep, signal: Signal) -> Option<Input> {
        let (session, cgroup) = self.ended.take().unwrap_or_default();
        match Leftovers::new(which, signal, session, cgroup) {
            Ok(leftovers) => {
                self.leftovers = Some(leftovers);
                None
            }
            Err(error) => {
                let reason = reason(&error);
                self.sinks.warn(&format!("cannot end what the attempt left behind: {reason}"));
                Some(Input::Swept { survives: false })
            }
        }
    }

    /// The last things of a run.
    fn leave(&mut self) {
        if let Some(leftovers) = &self.leftovers {
            leftovers.kill(&self.tree);
        }
        let has_changed_the_terminal = self.run.history().last_attempt().is_some_and(|last| {
            // One that ended by itself is left to its effect.
            last.exit_code.is_none() || last.was_cut() || self.run.was_told()
        });
        match &self.terminal {
            Some(terminal) if has_changed_the_terminal => terminal.restore(),
            Some(terminal) => terminal.take_back(),
            None => {}
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
                received = self.signals.next() => {
                    if let Some(input) = self.signalled(received) {
                        return input;
                    }
                }
                () = ready(()), if self.reported.is_some() => {
                    // Not taken in the branch's expression: that is evaluated also where another branch wins.
                    if let Some(input) = self.reported.take() {
                        return input;
                    }
                }
                report = next_report(self.child.as_mut(), &self.tree) => self.report(report).await,
                survives = swept(self.leftovers.as_mut(), &self.tree) => {
                    self.leftovers = None;
                    return Input::Swept { survives };
                }
                () = stays_stopped(self.stopped.as_ref()) => self.stop_with_the_command(),
                () = self.alarm.rings(), if remaining.is_some() => return Input::Tick,
            }
        }
    }

    /// Keeps a report until it is known that no signal came before it. A signal that ended the command, such as Ctrl-C, has reached
    /// us, too, but the event loop may have been told of the command first.
    async fn report(&mut self, report: Result<Report, SpawnError>) {
        let input = match report {
            Ok(Report::Input(input)) => input,
            Ok(Report::Broken(output, error)) => {
                // Once: it does not mend from one attempt to the next.
                if !self.broken.contains(&output) {
                    self.broken.push(output);
                    let (name, reason) = (output.name(), reason(&error));
                    self.sinks.warn(&format!("cannot write to {name}: {reason}"));
                }
                return;
            }
            Err(error) => cannot_start(error, &self.command.shown_name),
        };
        let is_over = matches!(input, Input::Exited { .. } | Input::CannotStart { .. });
        if is_over && let Some(child) = self.child.take() {
            self.stopped = None;
            let session = match self.group {
                Group::Session => child.pid().as_raw_nonzero().get(),
                Group::Inherited | Group::New => own_session(),
            };
            self.ended = Some((session, child.into_cgroup()));
        }
        self.reported = Some(input);
        tokio::task::yield_now().await;
    }

    /// What a signal means for the run; one that is the command's is passed on.
    fn signalled(&mut self, Received { signal, by_kernel }: Received) -> Option<Input> {
        let shares_the_terminal = self.group == Group::Inherited && self.terminal.is_some();
        if STOP_SIGNALS.contains(&signal) {
            if let Some(child) = &mut self.child {
                child.hurry();
            }
            let is_key = by_kernel && self.terminal.is_some();
            if is_key
                && self.group != Group::Inherited
                && let Some(child) = &self.child
            {
                // What the terminal does for its foreground group, it does not do for the command's.
                child.pass_key_on(signal);
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
            reap_orphans(None);
            return (signal == Signal::USR1).then_some(Input::RetryNow);
        };
        // If a signal cannot be sent, the command is somebody else's, and not to be disturbed.
        match signal {
            Signal::CHLD => {
                reap_orphans(Some(child.pid()));
                if shares_the_terminal
                    && let Some(by) = child.running().and_then(stopped_by)
                    && let Ok(alarm) = Alarm::new()
                {
                    alarm.set(STOPPED_FOR);
                    self.stopped = Some((by, alarm));
                }
            }
            // Whoever continued us may have continued the whole group; a command that runs is not told twice.
            Signal::CONT if self.group == Group::Inherited => child.wake(&self.tree),
            Signal::WINCH if child.resize() => drop(child.pass_on(signal)),
            Signal::WINCH if by_kernel && self.group == Group::Inherited => {}
            _ => drop(child.pass_on(signal)),
        }
        None
    }

    /// Where the shell waits for us as a job, a command that stops stops us, too; and goes on when we do.
    fn stop_with_the_command(&mut self) {
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

fn own_session() -> i32 {
    getsid(None).map_or(0, |session| session.as_raw_nonzero().get())
}

/// How long until a moment, by the clock that its reason is measured by.
fn remaining(now: Time, at: Time, why: Why) -> Duration {
    match why {
        Why::Timeout | Why::Idle | Why::PassOn | Why::Grace | Why::Unkillable => {
            at.active.saturating_sub(now.active)
        }
        Why::Deadline | Why::Delay => at.elapsed.saturating_sub(now.elapsed),
    }
}

async fn next_report(child: Option<&mut Child>, tree: &Tree) -> Result<Report, SpawnError> {
    match child {
        Some(child) => child.report(tree).await,
        None => pending().await,
    }
}

async fn swept(leftovers: Option<&mut Leftovers>, tree: &Tree) -> bool {
    match leftovers {
        Some(leftovers) => leftovers.swept(tree).await,
        None => pending().await,
    }
}

async fn stays_stopped(stopped: Option<&(Signal, Alarm)>) {
    match stopped {
        Some((_, alarm)) => alarm.rings().await,
        None => pending().await,
    }
}

fn is_fact(entry: &CStr) -> bool {
    let name = entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    FACTS.iter().any(|fact| fact.as_bytes() == name)
}

/// What the command is told in its environment.
fn facts(attempt: u64, trigger: Trigger, history: &History) -> Vec<CString> {
    let max_attempts = history.max_attempts_with_next(trigger);
    let max_attempts = max_attempts.map_or(String::new(), |max| max.to_string());
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
