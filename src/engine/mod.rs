//! Deciding: given what happened, what is to be done. Pure: no clock, environment, file, terminal, source of
//! chance or async.
//!
//! A [`Run`] is fed one [`Input`] at a time by [`Run::handle`] and answers with [`Action`]s, to be carried out in
//! order. Then the caller waits for the next input or for the moment that [`Run::wakeup`] names, at which it
//! feeds [`Input::Tick`]. A tick that comes early or twice does nothing.

pub mod attempt;
pub mod backoff;
pub mod classify;
pub mod ending;
pub mod event;
pub mod exit;
pub mod history;
pub mod judged;
pub mod keyword;
pub mod next;
pub mod output;
pub mod policy;
pub mod resume;
pub mod rule;
pub mod run;
pub mod signal;
pub mod state;
mod table;
pub mod tally;
pub mod time;

pub use run::Run;

use classify::Hint;
use event::{Kept, Record, SpawnErrorKind, Trigger, Usage};
use output::Matches;
use signal::Signal;

/// What the world tells a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Begin: the first input, once.
    Begin,
    /// The attempt that was to be started runs.
    Started {
        /// The command's process id.
        pid: u32,
    },
    /// It could not be started.
    CannotStart {
        /// The kind of obstacle.
        kind: SpawnErrorKind,
        /// The obstacle in a sentence; fit to be shown.
        error: String,
    },
    /// The command itself has ended, and its output is still being read: no limit cuts it any more, and the deadline is only one for
    /// who takes what it wrote.
    Ended,
    /// The attempt's processes have ended.
    Exited {
        /// How the command itself ended.
        status: ExitStatus,
        /// What it used.
        usage: Usage,
        /// Processes that it left behind.
        leftovers: u64,
        /// Whether something still held its output when we stopped listening.
        output_held: bool,
        /// What it says of its failure itself.
        hint: Hint,
        /// What was kept of its output.
        kept: Kept,
        /// Whether our stdout turned out to be closed, as it died of SIGPIPE or as we wrote for it.
        stdout_closed: bool,
        /// What was found in its output; by default nothing was read.
        matches: Matches,
    },
    /// What a command needs of ours before it can be started cannot be made, for the reason given: neither can the next attempt's.
    CannotPrepare(String),
    /// The attempt wrote something.
    Output,
    /// What it writes is not taken: it cannot go on, and its silence is not its own.
    OutputStalled,
    /// What the user's own command says, as was asked for by [`Action::Ask`].
    Answered(Answer),
    /// What became of the token that was asked for by [`Action::TakeToken`].
    Token(Token),
    /// The input cannot be replayed any more: the attempt that runs is the last.
    InputLost,
    /// What the attempt wrote to stdout did not get there, for the reason given: it is no success.
    OutputLost(String),
    /// What has to be done for the attempt cannot be done any more, for the reason given: it is to end, and the run with it.
    Failed(String),
    /// What an ended attempt left behind has ended, as was ordered by [`Action::Sweep`].
    Swept {
        /// Whether something of it cannot be killed.
        survives: bool,
    },
    /// A signal that tells us to stop.
    Signal {
        /// Which.
        signal: Signal,
        /// Who sent it.
        sender: Sender,
    },
    /// What was ordered by [`Action::Prepare`] is done.
    Prepared,
    /// Somebody stops the run.
    Stop,
    /// Somebody wants the next attempt now: it ends a wait, and means nothing otherwise.
    RetryNow,
    /// Time has passed.
    Tick,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// Which.
        signal: Signal,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
}

/// Who sent us a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The terminal, to us and the command alike.
    Terminal,
    /// A process, to us alone: the command has a group of its own.
    Process,
    /// A process, to us and maybe to the whole group that the command shares with us.
    ProcessToGroup,
}

/// What a run orders, or tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start the attempt, and answer with [`Input::Started`] or [`Input::CannotStart`].
    Start {
        /// Its number, from 1.
        attempt: u64,
        /// Why it begins.
        trigger: Trigger,
    },
    /// Send the signal to all processes of the attempt.
    Kill(Signal),
    /// Wait not much longer for whoever does not take what the attempt wrote.
    Hurry,
    /// End what the last attempt left behind, and answer with [`Input::Swept`].
    Sweep {
        /// Which of it.
        which: Sweep,
        /// What it is sent before SIGKILL.
        signal: Signal,
    },
    /// Ask the user's own command whether the failure is to be retried, and answer with [`Input::Answered`].
    Ask(Record),
    /// Do what the user wants done before the attempt, and answer with [`Input::Prepared`].
    Prepare {
        /// The number of the attempt.
        attempt: u64,
        /// Why it begins.
        trigger: Trigger,
    },
    /// Take a token from the budget for a retry, and answer with [`Input::Token`].
    TakeToken,
    /// Put something back into the budget; nobody waits for it.
    PutBack(Refund),
    /// Take leave of what cannot be killed.
    Abandon,
    /// Pass on what happened.
    Tell(Record),
}

/// Whether a failure is to be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is.
    Retry,
    /// It is permanent.
    Stop,
}

/// What a budget says to a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// It is paid for.
    Granted,
    /// There is no token left.
    Refused,
    /// Nobody knows, and the run is not to go on without knowing.
    Unreachable,
}

/// What is put back into a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refund {
    /// The token of a retry that is not made.
    Token,
    /// The share of a token that a success at the first attempt earns.
    Share,
}

/// Which of the processes that an attempt left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Those that stayed in its session: what left it, left on purpose.
    Session,
    /// All.
    All,
}

/// What a wake-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The attempt's limit. On the active clock.
    Timeout,
    /// The limit on its silence. On the active clock.
    Idle,
    /// A signal that is to be passed on, should the command not have got it by itself. On the active clock.
    PassOn,
    /// The run's limit. On the elapsed clock.
    Deadline,
    /// SIGKILL after the grace. On the active clock.
    Grace,
    /// Giving up on what does not even die of SIGKILL. On the active clock.
    Unkillable,
    /// The next attempt. On the elapsed clock.
    Delay,
}
