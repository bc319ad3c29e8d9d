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

/// An attempt that began and has not ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u64,
    /// When it began.
    pub started: Time,
    limits: Limits,
    cut: Option<EndedBy>,
    told: bool,
    sent_by_processes: u32,
    grace_ends: Option<Duration>,
    killed: bool,
}

/// What ends an attempt, and how.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Its own limit.
    pub timeout: Option<Duration>,
    /// The end of the run, on the elapsed clock.
    pub deadline: Option<Duration>,
    /// What it is sent first.
    pub stop_signal: Signal,
    /// Time from there to SIGKILL.
    pub kill_after: Duration,
}

/// An order to send its processes a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The signal.
    pub signal: Signal,
    /// The limit that it enforces, where this is the first signal for it.
    pub cut: Option<EndedBy>,
}

impl Attempt {
    /// An attempt that begins now.
    #[must_use]
    pub fn new(number: u64, now: Time, limits: Limits) -> Attempt {
        Attempt {
            number,
            started: now,
            limits,
            cut: None,
            told: false,
            sent_by_processes: 0,
            grace_ends: None,
            killed: false,
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

    /// A signal to us that is to end the run: what to send, if anything.
    ///
    /// The keyboard's signals have reached the command already; Ctrl-C and Ctrl-\ start no grace, since a REPL
    /// or a pager lives through them. Everything else starts the grace, and the third one that a process sent
    /// ends it.
    pub fn tell(&mut self, now: Time, signal: Signal, sender: Sender) -> Option<Kill> {
        self.told = true;
        if sender == Sender::Keyboard {
            if !matches!(signal, Signal::INT | Signal::QUIT) {
                self.begin_grace(now);
            }
            return None;
        }
        self.sent_by_processes += 1;
        if self.sent_by_processes >= PATIENCE || self.limits.kill_after.is_zero() {
            return self.kill();
        }
        self.begin_grace(now);
        Some(Kill { signal, cut: None })
    }

    /// What is due by now.
    pub fn tick(&mut self, now: Time) -> Option<Kill> {
        if let Some(grace_ends) = self.grace_ends {
            return if now.active >= grace_ends { self.kill() } else { None };
        }
        let (_, _, ended_by) =
            self.limits_in_order(now).find(|(remaining, ..)| remaining.is_zero())?;
        self.cut = Some(ended_by);
        let signal = if self.limits.kill_after.is_zero() {
            self.grace_ends = Some(now.active);
            self.killed = true;
            Signal::KILL
        } else {
            self.begin_grace(now);
            self.limits.stop_signal
        };
        Some(Kill { signal, cut: Some(ended_by) })
    }

    /// How long until something is due, and what.
    #[must_use]
    pub fn wakeup(&self, now: Time) -> Option<(Duration, Why)> {
        if let Some(grace_ends) = self.grace_ends {
            let remaining = grace_ends.saturating_sub(now.active);
            return (!self.killed).then_some((remaining, Why::Grace));
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
        let timeout = self.limits.timeout.map(|timeout| {
            let end = self.started.active.saturating_add(timeout);
            (end.saturating_sub(now.active), Why::Timeout, EndedBy::Timeout)
        });
        deadline.into_iter().chain(timeout)
    }

    fn begin_grace(&mut self, now: Time) {
        // A second reason to end it does not lengthen the first one's grace.
        let ends = now.active.saturating_add(self.limits.kill_after);
        self.grace_ends.get_or_insert(ends);
    }

    fn kill(&mut self) -> Option<Kill> {
        if std::mem::replace(&mut self.killed, true) {
            return None;
        }
        self.grace_ends.get_or_insert(Duration::ZERO);
        Some(Kill { signal: Signal::KILL, cut: None })
    }
}
