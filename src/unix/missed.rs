//! Signals that the terminal sent to our group while there was no command in it yet: the command has missed them.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

use super::stop;
use crate::engine::signal::Signal;

/// What a terminal sends for its keys, and as it goes away.
const OF_A_TERMINAL: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP];

/// A bit for each that was missed.
static MISSED: AtomicU64 = AtomicU64::new(0);

/// Looks at a signal as it comes: async-signal-safe.
pub(super) fn handle(info: &libc::siginfo_t) {
    // A positive code is the kernel's.
    if info.si_code > 0 && !stop::has_target() {
        note(info.si_signo);
    }
}

/// Looks at those that wait until they are let through, with all of them blocked.
pub(super) fn note_pending() {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigpending initialises the set; it cannot fail with this argument.
    let pending = unsafe {
        libc::sigpending(pending.as_mut_ptr());
        pending.assume_init()
    };
    for number in OF_A_TERMINAL {
        // SAFETY: the set is initialised, and the number one of a signal.
        if unsafe { libc::sigismember(&pending, number) } == 1 {
            note(number);
        }
    }
}

/// Whether the command has missed a signal of the terminal's that came to us; asked again it has not.
#[must_use]
pub fn take(signal: Signal) -> bool {
    take_number(signal.number())
}

/// The same: async-signal-safe.
pub(super) fn take_number(number: libc::c_int) -> bool {
    MISSED.fetch_and(!bit(number), Ordering::Relaxed) & bit(number) != 0
}

fn note(number: libc::c_int) {
    MISSED.fetch_or(bit(number), Ordering::Relaxed);
}

fn bit(number: libc::c_int) -> u64 {
    1_u64.wrapping_shl(number.unsigned_abs())
}
