//! What we do, put into words for whoever looks for a fault in retryrun (`-vv`).

use super::Driver;
use crate::engine::{Action, ExitStatus, Input, Refund, Sweep};
use crate::unix::output::Output;
use crate::unix::process::own_session;
use crate::unix::signals::Received;
use crate::unix::spawn::Group;

impl Driver {
    /// Where the command will stand among the other processes.
    pub(super) fn trace_place(&mut self) {
        let terminal = match self.terminal {
            Some(_) => "a terminal controls us",
            None => "no terminal controls us",
        };
        let place = match self.group {
            Group::Inherited => "stays in our process group",
            Group::New => "gets a process group of its own",
            Group::Session => "gets a session of its own",
        };
        self.sinks.trace(|| format!("{terminal} (session {}): the command {place}", own_session()));
    }

    /// What becomes of the streams of the attempt that is about to be started.
    pub(super) fn trace_streams(&mut self) {
        let streams = &self.streams;
        self.sinks.trace(|| {
            let input =
                if streams.stdin.theirs().is_some() { "is ours to feed" } else { "is inherited" };
            let output = |output| match streams.outputs.theirs(output) {
                Some(_) => "is read",
                None => "is inherited",
            };
            let (stdout, stderr) = (output(Output::Stdout), output(Output::Stderr));
            format!("stdin {input}, stdout {stdout}, stderr {stderr}")
        });
    }

    /// A signal that has come.
    pub(super) fn trace_signal(&mut self, received: Received) {
        let Received { signal, by_kernel, .. } = received;
        let sender = if by_kernel { "the kernel" } else { "a process" };
        self.sinks.trace(|| format!("{signal} came from {sender}"));
    }

    /// An order that is about to be carried out. What is only told is told.
    pub(super) fn trace_order(&mut self, order: &Action) {
        if matches!(order, Action::Tell(_)) {
            return;
        }
        self.sinks.trace(|| match order {
            Action::Start { attempt, trigger } => {
                format!("order: start attempt {attempt} ({trigger})")
            }
            Action::Kill(signal) => format!("order: send {signal} to what runs"),
            Action::Sweep { which: Sweep::Session, signal } => {
                format!("order: end what was left behind in the session, first with {signal}")
            }
            Action::Sweep { which: Sweep::All, signal } => {
                format!("order: end all that was left behind, first with {signal}")
            }
            Action::Hurry => "order: wait not much longer for who reads".to_owned(),
            Action::Ask(_) => "order: ask --retry-if".to_owned(),
            Action::Prepare { attempt, trigger } => {
                format!("order: prepare attempt {attempt} ({trigger})")
            }
            Action::TakeToken => "order: take a token from the budget".to_owned(),
            Action::PutBack(Refund::Token) => "order: put the token of the retry back".to_owned(),
            Action::PutBack(Refund::Share) => {
                "order: put a share of a token back, if any".to_owned()
            }
            Action::Abandon => "order: take leave of what cannot be killed".to_owned(),
            Action::Tell(_) => String::new(),
        });
    }

    /// The end of a process that ran an attempt, or was to.
    pub(super) fn trace_end(&mut self, pid: i32, input: &Input) {
        self.sinks.trace(|| {
            let how = if let Input::Exited { status, .. } = input {
                match status {
                    ExitStatus::Code(code) => format!("exit {code}"),
                    ExitStatus::Signal { signal, .. } => signal.to_string(),
                }
            } else {
                "it did not become the command".to_owned()
            };
            format!("process {pid} is reaped: {how}")
        });
    }
}
