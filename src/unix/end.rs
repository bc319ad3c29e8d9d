//! How we end: with a status, or by the signal that we are to die of.

use std::mem::MaybeUninit;
use std::process;
use std::ptr;

use crate::engine::exit::Exit;
use crate::engine::signal::Signal;

/// Ends the process.
#[expect(clippy::disallowed_methods, reason = "the one place where the process ends")]
pub fn end(exit: Exit) -> ! {
    if let Exit::Signal(signal) = exit {
        die_of(signal);
    }
    process::exit(exit.code())
}

/// Dies of the signal, so that whoever waits for us sees it; without a core dump, which would be one of the wrong
/// program. Returns where the system does not let it happen: as process 1, whom the kernel spares, and for a signal
/// that does not kill.
fn die_of(signal: Signal) {
    // SAFETY: plain numbers and a set that sigemptyset initialises; the default disposition runs no code.
    unsafe {
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &limit);
        libc::signal(signal.number(), libc::SIG_DFL);
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal.number());
        libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        libc::raise(signal.number());
    }
}
