//! One attempt's life: its limits, and how it is ended when it will not end by itself.
//!
//! Whether another one follows is `run`'s.

use std::time::Duration;

use super::event::EndedBy;
use super::signal::Signal;
use super::time::Time;
use super::{Sender, Why};

/// After so many signals sent by processes the grace is over.
const PATIENCE: u32 = 3;

/// How long a signal is held back that the command may have got by itself, since its sender signalled the whole group.
const PASS_ON_AFTER: Duration = Duration::from_millis(50);

/// What still lives so long after SIGKILL sits in an uninterruptible wait of the kernel.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);

/// An attempt that began and has not ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u64,
    /// When it began.
    pub started: Time,
    limits: Limits,
    /// Since when it has been silent, on the active clock; none while what it writes is not taken.
    silent_since: Option<Duration>,
    /// When the command ended by itself.
    ended: Option<Time>,
    hurried: bool,
    cut: Option<EndedBy>,
    told: bool,
    sent_by_processes: u32,
    /// Signals that are held back, each until when.
    held_back: Vec<(Duration, Signal)>,
    grace_ends: Option<Duration>,
    killed: Option<Duration>,
}

/// What ends an attempt, and how.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Its own limit.
    pub timeout: Option<Duration>,
    /// The limit on its silence.
    pub idle_timeout: Option<Duration>,
    /// The end of the run, on the elapsed clock.
    pub deadline: Option<Duration>,
    /// What it is sent first.
    pub stop_signal: Signal,
    /// Time from there to SIGKILL.
    pub kill_after: Duration,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send its processes a signal.
    Kill {
        /// The signal.
        signal: Signal,
        /// The limit that it enforces, where this is the first signal for it.
        cut: Option<EndedBy>,
    },
    /// The command has ended, and is not waited for any longer by way of who does not take what it wrote.
    Hurry,
    /// It does not die.
    Unkillable,
}

impl Attempt {
    /// An attempt that begins now.
    #[must_use]
    pub fn new(number: u64, now: Time, limits: Limits) -> Attempt {
        Attempt {
            number,
            started: now,
            limits,
            silent_since: Some(now.active),
            ended: None,
            hurried: false,
            cut: None,
            told: false,
            sent_by_processes: 0,
            held_back: Vec::new(),
            grace_ends: None,
            killed: None,
        }
    }

    /// The limit that ended it, if one did.
    #[must_use]
    pub fn cut(&self) -> Option<EndedBy> {
        self.cut
    }

    /// Whether a signal to us came while it ran.
    #[must_use]
    pub fn was_told(&self) -> bool {
        self.told
    }

    /// Whether we have begun to end it, which a key alone does not.
    #[must_use]
    pub fn is_being_ended(&self) -> bool {
        self.grace_ends.is_some() || self.killed.is_some()
    }

    /// The command has ended: from now on no limit cuts it. The end of the run only ends the wait for who reads it.
    pub fn ended(&mut self, now: Time) {
        self.ended.get_or_insert(now);
    }

    /// When it was over, as seen from now: where nobody ends what the command left, not the listening to that counts.
    #[must_use]
    pub fn over(&self, now: Time) -> Time {
        self.ended.filter(|_| !self.is_being_ended()).unwrap_or(now)
    }

    /// It wrote something, and it was taken.
    pub fn wrote(&mut self, now: Time) {
        self.silent_since = Some(now.active);
    }

    /// What it writes is not taken: until it is, the clock of its silence stands still.
    pub fn stalled(&mut self) {
        self.silent_since = None;
    }

    /// A signal to us that is to end the run: what to send, if anything.
    ///
    /// The terminal's signals have reached the command already; Ctrl-C and Ctrl-\ start no grace, since a REPL
    /// or a pager lives through them. Everything else starts the grace, and the third one that a process sent
    /// ends it.
    pub fn tell(&mut self, now: Time, signal: Signal, sender: Sender) -> Option<Due> {
        self.told = true;
        if sender == Sender::Terminal {
            if !matches!(signal, Signal::INT | Signal::QUIT) {
                self.begin_grace(now);
            }
            return None;
        }
        self.sent_by_processes += 1;
        if self.sent_by_processes >= PATIENCE || self.limits.kill_after.is_zero() {
            return self.kill(now);
        }
        self.begin_grace(now);
        if sender == Sender::ProcessToGroup {
            if !self.held_back.iter().any(|(_, held)| *held == signal) {
                self.held_back.push((now.active.saturating_add(PASS_ON_AFTER), signal));
            }
            return None;
        }
        Some(Due::Kill { signal, cut: None })
    }

    /// It is to end, for a reason of ours.
    pub fn stop(&mut self, now: Time) -> Option<Due> {
        if self.grace_ends.is_some() || self.killed.is_some() {
            return None;
        }
        Some(self.cut_by(now, EndedBy::Stop))
    }

    /// What is due by now.
    pub fn tick(&mut self, now: Time) -> Option<Due> {
        if let Some(killed) = self.killed {
            let is_due = now.active >= killed.saturating_add(UNKILLABLE_AFTER);
            return is_due.then_some(Due::Unkillable);
        }
        if let Some(grace_ends) = self.grace_ends {
            if now.active >= grace_ends {
                return self.kill(now);
            }
            let (_, signal) =
                self.held_back.extract_if(.., |(until, _)| now.active >= *until).next()?;
            return Some(Due::Kill { signal, cut: None });
        }
        let (_, _, ended_by) =
            self.limits_in_order(now).find(|(remaining, ..)| remaining.is_zero())?;
        if self.ended.is_some() {
            self.hurried = true;
            return Some(Due::Hurry);
        }
        Some(self.cut_by(now, ended_by))
    }

    fn cut_by(&mut self, now: Time, ended_by: EndedBy) -> Due {
        self.cut = Some(ended_by);
        let signal = if self.limits.kill_after.is_zero() {
            self.killed = Some(now.active);
            Signal::KILL
        } else {
            self.begin_grace(now);
            self.limits.stop_signal
        };
        Due::Kill { signal, cut: Some(ended_by) }
    }

    /// How long until something is due, and what.
    #[must_use]
    pub fn wakeup(&self, now: Time) -> Option<(Duration, Why)> {
        let until = |moment: Duration| moment.saturating_sub(now.active);
        if let Some(killed) = self.killed {
            return Some((until(killed.saturating_add(UNKILLABLE_AFTER)), Why::Unkillable));
        }
        if let Some(grace_ends) = self.grace_ends {
            let held_back = self.held_back.iter().map(|(moment, _)| (until(*moment), Why::PassOn));
            return held_back.chain([(until(grace_ends), Why::Grace)]).min_by_key(|due| due.0);
        }
        self.limits_in_order(now)
            .min_by_key(|(remaining, ..)| *remaining)
            .map(|(remaining, why, _)| (remaining, why))
    }

    /// Its limits with the time that is left of each; of two that are due together the first names the ending.
    fn limits_in_order(&self, now: Time) -> impl Iterator<Item = (Duration, Why, EndedBy)> {
        let deadline = self.limits.deadline.map(|deadline| {
            (deadline.saturating_sub(now.elapsed), Why::Deadline, EndedBy::Deadline)
        });
        let active = |since: Option<Duration>, limit: Option<Duration>| {
            Some(since?.saturating_add(limit?).saturating_sub(now.active))
        };
        let timeout = active(Some(self.started.active), self.limits.timeout)
            .map(|remaining| (remaining, Why::Timeout, EndedBy::Timeout));
        let idle = active(self.silent_since, self.limits.idle_timeout)
            .map(|remaining| (remaining, Why::Idle, EndedBy::IdleTimeout));
        let is_left =
            |ended_by| self.ended.is_none() || (ended_by == EndedBy::Deadline && !self.hurried);
        let limits = deadline.into_iter().chain(timeout).chain(idle);
        limits.filter(move |(_, _, ended_by)| is_left(*ended_by))
    }

    fn begin_grace(&mut self, now: Time) {
        // A second reason to end it does not lengthen the first one's grace.
        let ends = now.active.saturating_add(self.limits.kill_after);
        self.grace_ends.get_or_insert(ends);
    }

    fn kill(&mut self, now: Time) -> Option<Due> {
        if self.killed.is_some() {
            return None;
        }
        self.killed = Some(now.active);
        Some(Due::Kill { signal: Signal::KILL, cut: None })
    }
}
