//! What we were started with: signal dispositions and mask, closed descriptors, environment.
//!
//! Noted before Rust's runtime alters any of it, so that the command can be given the same.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use rustix::event::EventfdFlags;

use super::signals::with_handlers;
use crate::engine::signal::Signal;

/// What we were started with.
pub struct Start {
    ignored: Vec<Signal>,
    mask: libc::sigset_t,
    closed: [bool; 3],
}

static START: OnceLock<Start> = OnceLock::new();

/// Signals whose disposition we change for ourselves alone: a closed pipe and a full file must be errors, and an
/// inherited SIG_IGN for SIGCHLD would let the command's exit status get lost.
pub(super) const OURS_ALONE: [libc::c_int; 3] = [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGCHLD];

// Rust's runtime ignores SIGPIPE and opens closed standard descriptors before `main`; the loader calls this earlier.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

extern "C" fn note() {
    START.get_or_init(Start::read);
}

impl Start {
    /// What was noted.
    #[must_use]
    pub fn get() -> &'static Start {
        START.get_or_init(Start::read)
    }

    fn read() -> Start {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: with a null set the mask is only read, into a place of the right type; the call cannot fail.
        let mask = unsafe {
            libc::sigprocmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
            mask.assume_init()
        };
        // SAFETY: F_GETFD only asks whether the descriptor is open.
        let is_closed = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1;
        Start {
            ignored: changed()
                .filter(|number| is_ignored(*number))
                .filter_map(Signal::new)
                .collect(),
            mask,
            closed: [is_closed(0), is_closed(1), is_closed(2)],
        }
    }

    /// Whether the signal was ignored: then it stays so, and nobody handles it. Async-signal-safe.
    #[must_use]
    pub fn ignored(&self, signal: Signal) -> bool {
        if changed().any(|number| number == signal.number()) {
            self.ignored.contains(&signal)
        } else {
            // There are many others, and few that anybody asks about.
            is_ignored(signal.number())
        }
    }

    /// The signal mask.
    pub(super) fn mask(&self) -> &libc::sigset_t {
        &self.mask
    }

    /// Which of the descriptors 0 to 2 were closed.
    pub(super) fn closed(&self) -> [bool; 3] {
        self.closed
    }
}

/// Signals whose disposition we change, so that it has to be noted before.
fn changed() -> impl Iterator<Item = libc::c_int> {
    OURS_ALONE.into_iter().chain(with_handlers())
}

fn is_ignored(number: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new action the old one is only read, into a place of the right type, which is looked at
    // only if the call succeeded.
    unsafe {
        libc::sigaction(number, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Does what Rust's runtime does before `main`, where that is not there: without descriptors 0 to 2 a file of ours would become
/// one of them, and a closed pipe is to be an error.
pub fn take_the_place_of_the_runtime() {
    for _ in Start::get().closed().into_iter().filter(|closed| *closed) {
        // SAFETY: the path is a C string. The new descriptor is the lowest that is free, and is never closed.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    }
    set_disposition(libc::SIGPIPE, libc::SIG_IGN);
}

/// Sets up the process's own dispositions for supervising: see `OURS_ALONE`.
pub fn prepare() {
    set_disposition(libc::SIGPIPE, libc::SIG_IGN);
    set_disposition(libc::SIGXFSZ, libc::SIG_IGN);
    set_disposition(libc::SIGCHLD, libc::SIG_DFL);
}

/// As many descriptors as supervising a command takes at one time.
const NEEDED_DESCRIPTORS: u64 = 20;

/// Checks that there are enough descriptors, where there are so few that it may be in doubt: no run is to fail half-way.
///
/// # Errors
/// There are too few (EMFILE).
pub fn check_descriptors() -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if limit.is_none_or(|limit| limit > 10 * NEEDED_DESCRIPTORS) {
        return Ok(());
    }
    let opened = (0..NEEDED_DESCRIPTORS).map(|_| rustix::event::eventfd(0, EventfdFlags::CLOEXEC));
    let _closed_again = opened.collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

/// Async-signal-safe.
pub(super) fn set_disposition(number: libc::c_int, disposition: libc::sighandler_t) {
    // SAFETY: SIG_IGN and SIG_DFL are the only dispositions ever passed; they run no code of ours.
    unsafe {
        libc::signal(number, disposition);
    }
}

/// The environment as it was given, also entries that are no `NAME=VALUE`.
#[must_use]
pub fn environment() -> Vec<&'static CStr> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: environ is a null-terminated array of C strings. Nothing in this program changes the environment,
    // so that the strings live as long as the process.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            entries.push(CStr::from_ptr(*entry));
            entry = entry.add(1);
        }
    }
    entries
}
