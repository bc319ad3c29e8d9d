//! One attempt's processes: starts them, and reports what becomes of them until all that have to end have ended.
//!
//! It obeys and never decides.

use std::fmt;
use std::future::pending;
use std::io;
use std::path::PathBuf;

use rustix::process::Pid;
use tokio::task::yield_now;

use crate::engine::classify::Hint;
use crate::engine::event::{Kept, SpawnErrorKind, Usage};
use crate::engine::signal::Signal;
use crate::engine::{ExitStatus, Input};
use crate::error::reason;
use crate::hint::asked_delay;
use crate::streams::Streams;
use crate::streams::outputs::{Flow, Remains};
use crate::unix::cgroup::Cgroup;
use crate::unix::clock::timestamp;
use crate::unix::output::Output;
use crate::unix::process::{
    Watch, has_children, leads_its_group, reap, signal_group, signal_process,
};
use crate::unix::spawn::{Group, Program, SpawnError, Starting};
use crate::unix::stop;
use crate::unix::tree::{self, Tree};

/// The processes of an attempt.
pub struct Child {
    pid: Pid,
    group: Group,
    watch: Watch,
    cgroup: Option<Cgroup>,
    stage: Stage,
    sent: Sent,
}

enum Stage {
    /// It has not yet become the program.
    Starting(Starting),
    /// It has.
    Running,
    /// It has ended, a zombie that keeps its pid and its group's number from being used again.
    Ended,
    /// Its tree has ended where it has to, and its outputs are dry.
    Dry,
}

/// The strongest thing that was sent to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    Nothing,
    StopSignal,
    Kill,
}

/// What happened to an attempt.
#[derive(Debug)]
pub enum Report {
    /// Something that the run has to know.
    Input(Input),
    /// Something went wrong with its streams.
    Trouble(Trouble),
}

/// What can go wrong with the streams of an attempt.
#[derive(Debug)]
pub enum Trouble {
    /// An output of ours takes nothing, and is closed for the command.
    Broken(Output, io::Error),
    /// Stdout cannot be held back any more.
    Unheld(io::Error),
    /// What it writes cannot be logged any more.
    Unlogged(io::Error),
    /// The input cannot be replayed any more.
    InputLost(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error) = match self {
            Trouble::Broken(Output::Stdout, error) => ("write to stdout", error),
            Trouble::Broken(Output::Stderr, error) => ("write to stderr", error),
            Trouble::Unheld(error) => ("hold stdout back", error),
            Trouble::Unlogged(error) => ("log what the command writes", error),
            Trouble::InputLost(error) => ("keep the input for another attempt", error),
        };
        write!(f, "cannot {what}: {}", reason(error))
    }
}

impl Child {
    /// Starts a program, with `streams` in the place of ours and in a cgroup.
    ///
    /// # Errors
    /// A lack of processes, memory or descriptors.
    pub fn spawn(
        program: Program<'_>,
        group: Group,
        streams: &mut Streams,
        cgroup: Option<Cgroup>,
    ) -> Result<Child, SpawnError> {
        let program = Program {
            stdin: streams.stdin.theirs(),
            stdout: streams.outputs.theirs(Output::Stdout),
            stderr: streams.outputs.theirs(Output::Stderr),
            cgroup: cgroup.as_ref().map(Cgroup::entrance),
            ..program
        };
        let starting = Starting::spawn(program, group)?;
        streams.stdin.give_away();
        streams.outputs.give_away();
        let pid = starting.pid();
        let watch = Watch::new(pid);
        let stage = Stage::Starting(starting);
        Ok(Child { pid, group, watch, cgroup, stage, sent: Sent::Nothing })
    }

    /// Waits for the next thing to report. May be cancelled and called again; to be called again after each SIGCHLD.
    ///
    /// # Errors
    /// The program could not be executed; then there is nothing left to report.
    pub async fn report(
        &mut self,
        streams: &mut Streams,
        tree: &Tree,
    ) -> Result<Report, SpawnError> {
        loop {
            match &mut self.stage {
                Stage::Starting(starting) => {
                    let executed = starting.executed().await;
                    self.stage = Stage::Running;
                    return match executed {
                        Ok(()) => {
                            let pid = self.pid.as_raw_nonzero().get().unsigned_abs();
                            Ok(Report::Input(Input::Started { pid }))
                        }
                        Err(error) => {
                            stop::forget_target();
                            let _exit_status_of_ours = reap(self.pid);
                            Err(error)
                        }
                    };
                }
                Stage::Running => {
                    let Streams { stdin, outputs } = &mut *streams;
                    let are_dry = outputs.are_dry();
                    tokio::select! {
                        biased;
                        () = self.watch.ended() => {
                            self.stage = Stage::Ended;
                            if !are_dry {
                                return Ok(Report::Input(Input::Ended));
                            }
                        }
                        flow = outputs.next(), if !are_dry => {
                            if let Some(report) = report_of(flow) {
                                return Ok(report);
                            }
                        }
                        error = stdin.feed() => {
                            return Ok(Report::Trouble(Trouble::InputLost(error)));
                        }
                    }
                }
                Stage::Ended => {
                    if self.sent > Sent::Nothing {
                        // Nobody could write a last word to what is not read.
                        let outputs = &mut streams.outputs;
                        let are_dry = outputs.are_dry();
                        let cgroup = self.cgroup.as_ref();
                        let flow = tokio::select! {
                            biased;
                            () = rest_ended(self.pid, self.sent, cgroup, tree) => None,
                            flow = outputs.next(), if !are_dry => Some(flow),
                        };
                        if let Some(flow) = flow {
                            if let Some(report) = report_of(flow) {
                                return Ok(report);
                            }
                            continue;
                        }
                    }
                    streams.outputs.begin_to_drain();
                    if let Some(report) = report_of(streams.outputs.next().await) {
                        return Ok(report);
                    }
                    self.stage = Stage::Dry;
                    if let Some(error) = streams.stdin.end() {
                        return Ok(Report::Trouble(Trouble::InputLost(error)));
                    }
                }
                Stage::Dry => return Ok(Report::Input(self.ended(streams.outputs.end(), tree))),
            }
        }
    }

    fn ended(&mut self, mut remains: Remains, tree: &Tree) -> Input {
        // First, since from then on another process may have its pid.
        stop::forget_target();
        let (status, usage) = reap(self.pid).unwrap_or_else(|_| lost());
        tree.reap_orphans(None);
        let in_cgroup = self.in_cgroup();
        // A look at all processes is expensive, and mostly nothing was left.
        let leftovers = if has_children() || !in_cgroup.is_empty() {
            tree.members(&in_cgroup).len() as u64
        } else {
            0
        };
        let asked = remains.asked_delay.as_deref().and_then(|text| asked_delay(text, timestamp()));
        let died_of_pipe = matches!(status, ExitStatus::Signal { signal: Signal::PIPE, .. });
        Input::Exited {
            status,
            usage,
            leftovers,
            output_held: remains.were_held,
            stdout_closed: remains.reader_is_gone || (died_of_pipe && Output::Stdout.is_closed()),
            matches: std::mem::take(&mut remains.matches),
            hint: Hint { retry_after: asked, ..Hint::default() },
            kept: kept(remains),
        }
    }

    /// Sends a signal that is to end it to all of its processes. A stopped one is continued, so that it can obey.
    ///
    /// # Errors
    /// A process belongs to somebody else (EPERM); the others were sent it.
    pub fn end(&mut self, signal: Signal, tree: &Tree) -> io::Result<()> {
        let is_kill = signal == Signal::KILL;
        self.sent = self.sent.max(if is_kill { Sent::Kill } else { Sent::StopSignal });
        let result = self.send(signal, tree);
        if !is_kill {
            let _as_above = self.send(Signal::CONT, tree);
        }
        result
    }

    /// Somebody else may have sent it a signal that is to end it: what it leaves is to end, too.
    pub fn begin_to_end(&mut self) {
        self.sent = self.sent.max(Sent::StopSignal);
    }

    /// Its group at once, so that none escapes by forking, and what has left the group one by one. Without a group of its own all
    /// one by one: our own holds the caller's pipeline, too.
    fn send(&self, signal: Signal, tree: &Tree) -> io::Result<()> {
        if signal == Signal::KILL
            && let Some(cgroup) = &self.cgroup
        {
            cgroup.kill();
        }
        let (mut result, in_group) = match self.has_group() {
            true => (signal_group(self.pid, signal), self.pid.as_raw_nonzero().get()),
            false => (Ok(()), 0),
        };
        let members = tree.members(&self.in_cgroup());
        for member in &members {
            result = result.and(match member.group == in_group {
                // It has got it already. A group takes a signal if one of its processes does.
                true => member.check(),
                false => member.signal(signal),
            });
        }
        let leader = self.pid.as_raw_nonzero().get();
        if in_group == 0 && !members.iter().any(|member| member.pid == leader) {
            // It has ended, or /proc does not show us who there is.
            result = result.and(self.pass_on(signal));
        }
        result
    }

    /// Whether it leads a group of its own: it may not do so yet, and may do much before we hear of it.
    fn has_group(&self) -> bool {
        self.group != Group::Inherited && leads_its_group(self.pid)
    }

    fn in_cgroup(&self) -> Vec<i32> {
        members_of(self.cgroup.as_ref())
    }

    /// The command's process, while it runs.
    #[must_use]
    pub fn running(&self) -> Option<Pid> {
        match self.stage {
            Stage::Starting(_) | Stage::Running => Some(self.pid),
            Stage::Ended | Stage::Dry => None,
        }
    }

    /// The command's process, which may have ended, and is not reaped.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The cgroup, for what was left behind in it.
    #[must_use]
    pub fn into_cgroup(self) -> Option<Cgroup> {
        self.cgroup
    }

    /// Passes a signal on to the command alone.
    ///
    /// # Errors
    /// It belongs to somebody else (EPERM).
    pub fn pass_on(&self, signal: Signal) -> io::Result<()> {
        match self.running() {
            Some(pid) => signal_process(pid, signal),
            None => Ok(()),
        }
    }

    /// Passes on to the command's group what a key sent to ours.
    pub fn pass_key_on(&self, signal: Signal) {
        let _not_ours_to_disturb = match self.running() {
            Some(leader) if self.has_group() => signal_group(leader, signal),
            Some(leader) => signal_process(leader, signal),
            None => Ok(()),
        };
    }

    /// Continues it and its descendants, if it is stopped.
    pub fn wake(&self, tree: &Tree) {
        let pid = self.pid.as_raw_nonzero().get();
        if self.running().is_none() || !tree::read(pid).is_some_and(|leader| leader.is_stopped()) {
            return;
        }
        for member in tree.members(&self.in_cgroup()).iter().filter(|member| member.is_stopped()) {
            let _not_ours_to_wake = member.signal(Signal::CONT);
        }
    }
}

fn members_of(cgroup: Option<&Cgroup>) -> Vec<i32> {
    cgroup.map(Cgroup::members).unwrap_or_default()
}

/// Waits until nothing of the tree lives, once it is being ended. The leader, a zombie meanwhile, is left to be reaped.
async fn rest_ended(leader: Pid, sent: Sent, cgroup: Option<&Cgroup>, tree: &Tree) {
    loop {
        let in_cgroup = members_of(cgroup);
        let is_empty = tree.members(&in_cgroup).is_empty();
        let was_busy = tree.reap_orphans(Some(leader));
        if is_empty && !was_busy {
            return;
        }
        if sent == Sent::Kill {
            // Those that came since the last look.
            if let Some(cgroup) = cgroup {
                cgroup.kill();
            }
            tree.kill(&in_cgroup, |_| true);
        }
        if was_busy {
            yield_now().await;
        } else {
            // The last of them is a child of ours, since orphans become that: we are woken by its SIGCHLD, and asked again.
            pending::<()>().await;
        }
    }
}

fn report_of(flow: Flow) -> Option<Report> {
    match flow {
        Flow::Output => Some(Report::Input(Input::Output)),
        Flow::Stalled => Some(Report::Input(Input::OutputStalled)),
        Flow::Broken(output, error) => Some(Report::Trouble(Trouble::Broken(output, error))),
        Flow::Unheld(error) => Some(Report::Trouble(Trouble::Unheld(error))),
        Flow::Unlogged(error) => Some(Report::Trouble(Trouble::Unlogged(error))),
        Flow::Dry => None,
    }
}

fn kept(remains: Remains) -> Kept {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    Kept {
        stderr_tail: remains.stderr_tail,
        stdout_log: remains.stdout_log.map(path),
        stderr_log: remains.stderr_log.map(path),
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
        SpawnErrorKind::NotFound
        | SpawnErrorKind::NotExecutable
        | SpawnErrorKind::Resources
        | SpawnErrorKind::Descriptors => reason,
    };
    Input::CannotStart { kind, error: format!("cannot run `{shown_name}`: {reason}") }
}

/// Why a program cannot be started for want of something of ours. Not what the error would mean for the command itself, such as that
/// there is no such command.
#[must_use]
pub fn cannot_make(what: &str, error: io::Error) -> SpawnError {
    let SpawnError { kind, reason } = SpawnError::from(error);
    let kind = match kind {
        SpawnErrorKind::NotFound => SpawnErrorKind::NotExecutable,
        SpawnErrorKind::NotExecutable | SpawnErrorKind::Resources | SpawnErrorKind::Descriptors => {
            kind
        }
    };
    SpawnError { kind, reason: format!("cannot make {what}: {reason}") }
}
