//! The terminal that controls us: its modes and its foreground group, as they were when we started.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

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
        let was_ours = own_group().is_some_and(|ours| tcgetpgrp(&tty) == Ok(ours));
        Some(Terminal { tty, modes, was_ours })
    }

    /// Puts back what an attempt has changed: only in the foreground, since in the background the terminal is somebody else's.
    pub fn restore(&self) {
        self.put_back(self.modes.as_ref());
    }

    /// Takes back only the foreground, if the attempt took it: whoever waits for us could not read the terminal any more.
    pub fn take_back(&self) {
        self.put_back(None);
    }

    fn put_back(&self, modes: Option<&Termios>) {
        if !self.was_ours {
            return;
        }
        let Some(ours) = own_group() else { return };
        let mask = block_ttou();
        // A foreground group that has died was the command's; one that lives is the shell's, which moved us behind.
        if tcgetpgrp(&self.tty).is_ok_and(|group| group != ours && is_dead(group)) {
            let _kept_by_somebody = tcsetpgrp(&self.tty, ours);
        }
        if let Some(modes) = modes
            && tcgetpgrp(&self.tty) == Ok(ours)
        {
            // Now, not when all output is written: that may have been stopped by Ctrl-S.
            let _gone_with_its_terminal = tcsetattr(&self.tty, OptionalActions::Now, modes);
        }
        // SAFETY: the mask was written by sigprocmask.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &mask, ptr::null_mut()) };
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

/// The signal by which the kernel stops those who change a terminal from the background.
fn block_ttou() -> libc::sigset_t {
    let (mut ttou, mut old) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the set is initialised by sigemptyset; sigprocmask initialises the other and cannot fail with these arguments.
    unsafe {
        libc::sigemptyset(ttou.as_mut_ptr());
        libc::sigaddset(ttou.as_mut_ptr(), libc::SIGTTOU);
        libc::sigprocmask(libc::SIG_BLOCK, ttou.as_ptr(), old.as_mut_ptr());
        old.assume_init()
    }
}
