//! The terminal that controls us: its modes and its foreground group, as they were when we started.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp,
};

use super::tree::Tree;

/// The terminal, and what is to be put back.
pub struct Terminal {
    tty: OwnedFd,
    modes: Option<Termios>,
    /// Whether we were in its foreground.
    was_ours: bool,
}

impl Terminal {
    /// The terminal that controls us, if there is one: not whether a standard stream is a terminal, since a password prompt
    /// opens `/dev/tty` also where none is.
    #[must_use]
    pub fn controlling() -> Option<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = open("/dev/tty", flags, Mode::empty()).ok()?;
        let modes = tcgetattr(&tty).ok();
        let was_ours = is_ours(&tty);
        Some(Terminal { tty, modes, was_ours })
    }

    /// Whether what is typed was shown when we started.
    #[must_use]
    pub fn echoed(&self) -> bool {
        let echoes = |modes: &Termios| modes.local_modes.contains(LocalModes::ECHO);
        self.modes.as_ref().is_some_and(echoes)
    }

    /// We were continued: notes the modes, where we have been brought to the foreground only now.
    pub fn continued(&mut self) {
        if !self.was_ours && is_ours(&self.tty) {
            self.was_ours = true;
            self.modes = tcgetattr(&self.tty).ok();
        }
    }

    /// Puts back what an attempt has changed: only in the foreground, since in the background the terminal is somebody else's.
    pub fn restore(&self, tree: &Tree) {
        self.put_back(self.modes.as_ref(), tree);
    }

    /// Takes back only the foreground, if the attempt took it: whoever waits for us could not read the terminal any more.
    pub fn take_back(&self, tree: &Tree) {
        self.put_back(None, tree);
    }

    fn put_back(&self, modes: Option<&Termios>, tree: &Tree) {
        if !self.was_ours {
            return;
        }
        let Some(ours) = own_group() else { return };
        let _undisturbed = Undisturbed::begin();
        // A foreground group that has died was the command's, and so is one of processes that it left; else it is the shell's, which
        // moved us behind.
        let is_of_the_command = |group| is_dead(group) || tree.has_group(group);
        if tcgetpgrp(&self.tty).is_ok_and(|group| group != ours && is_of_the_command(group)) {
            let _kept_by_somebody = tcsetpgrp(&self.tty, ours);
        }
        if let Some(modes) = modes
            && tcgetpgrp(&self.tty) == Ok(ours)
        {
            // Now, not when all output is written: that may have been stopped by Ctrl-S.
            let _gone_with_its_terminal = tcsetattr(&self.tty, OptionalActions::Now, modes);
        }
    }
}

/// Our group; none where its leader is outside of our PID namespace.
fn own_group() -> Option<Pid> {
    // SAFETY: plain numbers; it cannot fail.
    Pid::from_raw(unsafe { libc::getpgrp() })
}

fn is_dead(group: Pid) -> bool {
    test_kill_process_group(group) == Err(Errno::SRCH)
}

/// Whether we are in the foreground of a terminal that controls us. Async-signal-safe.
pub(super) fn is_ours(terminal: impl AsFd) -> bool {
    own_group().is_some_and(|ours| tcgetpgrp(terminal) == Ok(ours))
}

/// While it lives, job control does not stop us: neither between two looks at a terminal that belong together, nor for changing
/// one from the background. Async-signal-safe.
pub(super) struct Undisturbed {
    before: libc::sigset_t,
}

impl Undisturbed {
    /// From now on.
    pub(super) fn begin() -> Undisturbed {
        let (mut stops, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the set is initialised by sigemptyset; pthread_sigmask initialises the other and cannot fail with these
        // arguments.
        unsafe {
            libc::sigemptyset(stops.as_mut_ptr());
            for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
                libc::sigaddset(stops.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, stops.as_ptr(), before.as_mut_ptr());
            Undisturbed { before: before.assume_init() }
        }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        // SAFETY: the mask was written by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}
