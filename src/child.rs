//! One attempt's processes: starts them, and reports what becomes of them until all that have to end have ended.
//!
//! It obeys and never decides.

use std::ffi::CString;
use std::future::pending;
use std::io;

use rustix::process::Pid;

use crate::engine::event::{SpawnErrorKind, Usage};
use crate::engine::signal::Signal;
use crate::engine::{ExitStatus, Input};
use crate::streams::{Flow, Streams};
use crate::unix::cgroup::Cgroup;
use crate::unix::output::Output;
use crate::unix::process::{Watch, has_children, reap, reap_orphans, signal_group, signal_process};
use crate::unix::spawn::{Group, Program, SpawnError, Starting};
use crate::unix::stop;
use crate::unix::tree::{self, Tree};

/// The processes of an attempt.
pub struct Child {
    pid: Pid,
    name: CString,
    group: Group,
    watch: Watch,
    streams: Streams,
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
    /// An output of ours takes nothing, and is closed for the command.
    Broken(Output, io::Error),
}

impl Child {
    /// Starts a program, with `streams` in the place of our outputs and in a cgroup.
    ///
    /// # Errors
    /// A lack of processes, memory or descriptors.
    pub fn spawn(
        program: Program<'_>,
        group: Group,
        mut streams: Streams,
        cgroup: Option<Cgroup>,
    ) -> Result<Child, SpawnError> {
        let program = Program {
            stdout: streams.theirs(Output::Stdout),
            stderr: streams.theirs(Output::Stderr),
            cgroup: cgroup.as_ref().map(Cgroup::entrance),
            ..program
        };
        let starting = Starting::spawn(&program, group)?;
        let name = program.words.first().cloned().unwrap_or_default();
        streams.give_away();
        let pid = starting.pid();
        let watch = Watch::new(pid);
        let stage = Stage::Starting(starting);
        Ok(Child { pid, name, group, watch, streams, cgroup, stage, sent: Sent::Nothing })
    }

    /// Waits for the next thing to report. May be cancelled and called again; to be called again after each SIGCHLD.
    ///
    /// # Errors
    /// The program could not be executed; then there is nothing left to report.
    pub async fn report(&mut self, tree: &Tree) -> Result<Report, SpawnError> {
        loop {
            match &self.stage {
                Stage::Starting(starting) => {
                    let executed = starting.executed(&self.name).await;
                    self.stage = Stage::Running;
                    return match executed {
                        Ok(()) => {
                            let pid = self.pid.as_raw_nonzero().get().unsigned_abs();
                            Ok(Report::Input(Input::Started { pid }))
                        }
                        Err(error) => {
                            let _exit_status_of_ours = reap(self.pid);
                            Err(error)
                        }
                    };
                }
                Stage::Running => {
                    let flow = tokio::select! {
                        biased;
                        () = self.watch.ended() => None,
                        flow = self.streams.next(), if !self.streams.are_dry() => Some(flow),
                    };
                    match flow {
                        Some(flow) => {
                            if let Some(report) = report_of(flow) {
                                return Ok(report);
                            }
                        }
                        None => {
                            self.stage = Stage::Ended;
                            if !self.streams.are_dry() {
                                return Ok(Report::Input(Input::Ended));
                            }
                        }
                    }
                }
                Stage::Ended => {
                    if self.sent > Sent::Nothing {
                        // Nobody could write a last word to what is not read.
                        let flow = tokio::select! {
                            biased;
                            () = rest_ended(self.sent, self.cgroup.as_ref(), tree) => None,
                            flow = self.streams.next(), if !self.streams.are_dry() => Some(flow),
                        };
                        if let Some(flow) = flow {
                            if let Some(report) = report_of(flow) {
                                return Ok(report);
                            }
                            continue;
                        }
                    }
                    self.streams.begin_to_drain();
                    if let Some(report) = report_of(self.streams.next().await) {
                        return Ok(report);
                    }
                    return Ok(Report::Input(self.ended(tree)));
                }
            }
        }
    }

    fn ended(&mut self, tree: &Tree) -> Input {
        let (status, usage) = reap(self.pid).unwrap_or_else(|_| lost());
        stop::forget_target();
        reap_orphans(None);
        let in_cgroup = self.in_cgroup();
        // A look at all processes is expensive, and mostly nothing was left.
        let leftovers = if has_children() || !in_cgroup.is_empty() {
            tree.members(&in_cgroup).len() as u64
        } else {
            0
        };
        let died_of_pipe = matches!(status, ExitStatus::Signal { signal: Signal::PIPE, .. });
        Input::Exited {
            status,
            usage,
            leftovers,
            output_held: self.streams.were_held(),
            stdout_closed: self.streams.reader_is_gone()
                || (died_of_pipe && Output::Stdout.is_closed()),
        }
    }

    /// Sends a signal that is to end it to all of its processes. A stopped one is continued, so that it can obey.
    ///
    /// # Errors
    /// A process belongs to somebody else (EPERM); the others were sent it.
    pub fn end(&mut self, signal: Signal, tree: &Tree) -> io::Result<()> {
        self.hurry();
        let is_kill = signal == Signal::KILL;
        self.sent = self.sent.max(if is_kill { Sent::Kill } else { Sent::StopSignal });
        let result = self.send(signal, tree);
        if !is_kill {
            let _as_above = self.send(Signal::CONT, tree);
        }
        result
    }

    /// Somebody wants it to end: what it wrote, and nobody takes, is not waited for much longer.
    pub fn hurry(&mut self) {
        self.streams.hurry();
    }

    /// Its group at once, so that none escapes by forking, and what has left the group one by one. Without a group of its own all
    /// one by one: our own holds the caller's pipeline, too.
    fn send(&self, signal: Signal, tree: &Tree) -> io::Result<()> {
        if signal == Signal::KILL
            && let Some(cgroup) = &self.cgroup
        {
            cgroup.kill();
        }
        if matches!(self.stage, Stage::Starting(_)) {
            return signal_process(self.pid, signal);
        }
        let pid = self.pid.as_raw_nonzero().get();
        let (mut result, in_group) = match self.group {
            Group::New | Group::Session => (signal_group(self.pid, signal), pid),
            Group::Inherited => (Ok(()), 0),
        };
        for member in tree.members(&self.in_cgroup()) {
            if member.group != in_group {
                result = result.and(member.signal(signal));
            }
        }
        result
    }

    fn in_cgroup(&self) -> Vec<i32> {
        members_of(self.cgroup.as_ref())
    }

    /// The command's process, while it runs.
    #[must_use]
    pub fn running(&self) -> Option<Pid> {
        match self.stage {
            Stage::Starting(_) | Stage::Running => Some(self.pid),
            Stage::Ended => None,
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

    /// The terminal has another size. Whether the command has pseudo-terminals, which now have it, too.
    #[must_use]
    pub fn resize(&self) -> bool {
        self.streams.resize()
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
        let _not_ours_to_disturb = match self.stage {
            Stage::Starting(_) => signal_process(self.pid, signal),
            Stage::Running => signal_group(self.pid, signal),
            Stage::Ended => Ok(()),
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

/// Waits until nothing of the tree lives, once it is being ended.
async fn rest_ended(sent: Sent, cgroup: Option<&Cgroup>, tree: &Tree) {
    let members = tree.members(&members_of(cgroup));
    if members.is_empty() {
        return;
    }
    if sent == Sent::Kill {
        // Those that came since the last look.
        if let Some(cgroup) = cgroup {
            cgroup.kill();
        }
        for member in members {
            let _told_when_first_sent = member.signal(Signal::KILL);
        }
    }
    // The last of them is a child of ours, since orphans become that: we are woken by its SIGCHLD, and asked again.
    pending::<()>().await;
}

fn report_of(flow: Flow) -> Option<Report> {
    match flow {
        Flow::Output => Some(Report::Input(Input::Output)),
        Flow::Stalled => Some(Report::Input(Input::OutputStalled)),
        Flow::Broken(output, error) => Some(Report::Broken(output, error)),
        Flow::Dry => None,
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
