//! Being stopped, as by Ctrl-Z: we stop by the same means as any program, and know how long it lasted.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::reading;
use super::{keys, line, missed};
use crate::engine::signal::Signal;

/// Whom a stop that a process asked for is passed on to: a pid, a group as its negative, or 0 for nobody.
static TARGET: AtomicI32 = AtomicI32::new(0);

/// How long we were stopped, by our own doing, in nanoseconds of CLOCK_MONOTONIC.
static STOPPED: AtomicU64 = AtomicU64::new(0);

/// Whether we were stopped, by our own doing, since this was last asked.
static HAS_STOPPED: AtomicBool = AtomicBool::new(false);

/// Whether we were stopped, but by SIGSTOP, since this was last asked.
#[must_use]
pub fn has_stopped_us() -> bool {
    HAS_STOPPED.swap(false, Ordering::Relaxed)
}

/// How long we were stopped in all by [`stop`].
pub(super) fn stopped() -> Duration {
    Duration::from_nanos(STOPPED.load(Ordering::Relaxed))
}

/// Nobody is left to stop with us.
pub fn forget_target() {
    set_target(0);
}

/// Names the processes that stop with us where somebody asks us alone: those of an attempt; 0 is none.
pub(super) fn set_target(target: libc::pid_t) {
    TARGET.store(target, Ordering::Relaxed);
}

/// Whether there are such processes: async-signal-safe.
pub(super) fn has_target() -> bool {
    TARGET.load(Ordering::Relaxed) != 0
}

/// Handles SIGTSTP, SIGTTIN and SIGTTOU: async-signal-safe.
pub(super) fn handle(info: &libc::siginfo_t) {
    let signal = info.si_signo;
    let target = TARGET.load(Ordering::Relaxed);
    // A positive code is the kernel's, which has sent it to our whole group: to the command as well, unless that has its own.
    let has_own_group = target < 0;
    let has_missed_it = missed::take_number(signal);
    let is_to_pass_on = target != 0 && (has_own_group || has_missed_it || info.si_code <= 0);
    // SAFETY: plain numbers; kill is async-signal-safe.
    let pass_on = |signal| unsafe { libc::kill(target, signal) };
    if is_to_pass_on {
        pass_on(signal);
    }
    stop_by(signal);
    if is_to_pass_on {
        // We were continued, or not even stopped: the kernel stops no group that nobody could continue.
        pass_on(libc::SIGCONT);
    }
}

/// Stops us by the signal's default action. Returns when we are continued; at once if the kernel does not let us stop.
pub fn stop(signal: Signal) {
    stop_by(signal.number());
}

/// Never by SIGSTOP: in an orphaned group, as under `ssh -t`, the kernel ignores the other stop signals, and nobody would
/// continue us.
fn stop_by(number: libc::c_int) {
    // Whoever has the terminal while we are stopped finds it as we did.
    line::erase();
    keys::give_back();
    // SAFETY: all places are of the right types and initialised before they are read; the calls are async-signal-safe.
    unsafe {
        let before = reading(libc::CLOCK_MONOTONIC);
        let mut default = MaybeUninit::<libc::sigaction>::zeroed();
        (*default.as_mut_ptr()).sa_sigaction = libc::SIG_DFL;
        let mut handler = MaybeUninit::<libc::sigaction>::zeroed();
        libc::sigaction(number, default.as_ptr(), handler.as_mut_ptr());
        let mut only = MaybeUninit::uninit();
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), number);
        let mut mask = MaybeUninit::uninit();
        libc::pthread_sigmask(libc::SIG_UNBLOCK, only.as_ptr(), mask.as_mut_ptr());
        libc::raise(number);
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
        libc::sigaction(number, handler.as_ptr(), ptr::null_mut());
        let lasted = reading(libc::CLOCK_MONOTONIC).saturating_sub(before).as_nanos();
        STOPPED.fetch_add(u64::try_from(lasted).unwrap_or(u64::MAX), Ordering::Relaxed);
        HAS_STOPPED.store(true, Ordering::Relaxed);
    }
}
