//! Signals to us: those that are ours to answer, and those that are the command's.
//!
//! What was ignored when we started stays ignored. What the signals mean is the driver's.

use std::ffi::c_void;
use std::future::poll_fn;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{FromRawFd, OwnedFd};
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use std::task::{Poll, ready};

use futures_core::Stream;
use rustix::process::Pid;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;
use signal_hook_tokio::SignalsInfo;

use super::readable::Readable;
use super::start::Start;
use super::{missed, stop};
use crate::engine::signal::Signal;

/// Signals with a handler: what tells us to stop, where each one counts, however late we look.
const HANDLED: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// What happens to our children, and to us as a job: however often it came, we look once.
const LOOKED_AT: [libc::c_int; 2] = [libc::SIGCHLD, libc::SIGCONT];

/// What stops us as a job: the handler knows how long it lasted.
const STOPS: [libc::c_int; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Signals that would end us, or are told to whoever asks, and are the command's; the real-time ones, too. A fault of our own ends us
/// all the same: such a signal is not kept back by the kernel.
const FOR_THE_COMMAND: [libc::c_int; 17] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGXCPU,
    libc::SIGSTKFLT,
    libc::SIGWINCH,
];

/// What has handlers of ours: reset in a child before it unblocks anything.
pub(super) fn with_handlers() -> impl Iterator<Item = libc::c_int> {
    HANDLED.into_iter().chain(STOPS)
}

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// Whether the kernel sent it, as the terminal does for a key, and not a process.
    pub by_kernel: bool,
    /// The child that has ended, where it tells of one: there may be others.
    pub ended: Option<Pid>,
}

/// All signals to us.
pub struct Signals {
    handled: SignalsInfo<WithRawSiginfo>,
    others: Readable,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn listen() -> io::Result<Signals> {
        let start = Start::get();
        let is_heard = |number: &libc::c_int| {
            Signal::new(*number).is_some_and(|signal| !start.ignored(signal))
        };
        let heard = HANDLED.into_iter().filter(is_heard);
        let handled = SignalsInfo::with_exfiltrator(heard.clone(), WithRawSiginfo)?;
        heard.clone().chain(STOPS.into_iter().filter(is_heard)).for_each(be_told_first);
        change_mask(libc::SIG_UNBLOCK, heard.chain(STOPS));
        let others = LOOKED_AT.into_iter().chain(FOR_THE_COMMAND);
        // Also those that were ignored, which are sorted out when one comes: to ask takes a system call for each.
        let others = others.chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
        let set = change_mask(libc::SIG_BLOCK, others);
        // SAFETY: the set is initialised; a new descriptor is ours alone.
        let others = unsafe {
            match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        Ok(Signals { handled, others: Readable::new(others)? })
    }

    /// Waits for the next one. May be cancelled and called again.
    pub async fn next(&mut self) -> Received {
        poll_fn(|context| {
            if let Poll::Ready(Some(info)) = Pin::new(&mut self.handled).poll_next(context)
                && let Some(signal) = Signal::new(info.si_signo)
            {
                let by_kernel = info.si_code > 0;
                return Poll::Ready(Received { signal, by_kernel, ended: None });
            }
            loop {
                let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
                let read = ready!(self.others.poll_read(context, &mut info));
                if read.is_ok_and(|length| length == info.len())
                    && let Some(received) = received(&info)
                    && is_for_us(received.signal)
                {
                    return Poll::Ready(received);
                }
            }
        })
        .await
    }
}

/// What was ignored is nobody's. But that SIGCHLD was is no wish of the caller's for us: it would lose exit statuses.
fn is_for_us(signal: Signal) -> bool {
    signal == Signal::CHLD || !Start::get().ignored(signal)
}

fn received(info: &[u8; size_of::<libc::signalfd_siginfo>()]) -> Option<Received> {
    // SAFETY: the kernel filled all of it, and every pattern of bytes is a valid value of its plain numbers.
    let info = unsafe { ptr::read_unaligned(info.as_ptr().cast::<libc::signalfd_siginfo>()) };
    let signal = Signal::new(i32::try_from(info.ssi_signo).ok()?)?;
    let by_kernel = info.ssi_code > 0;
    let has_ended = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&info.ssi_code);
    let child = i32::try_from(info.ssi_pid).ok().filter(|_| signal == Signal::CHLD && has_ended);
    let ended = child.and_then(Pid::from_raw);
    // Where the kernel counts our time, that of the command is not up.
    (signal != Signal::XCPU || !by_kernel).then_some(Received { signal, by_kernel, ended })
}

/// Blocks or unblocks signals; answers the set of them.
fn change_mask(how: libc::c_int, signals: impl Iterator<Item = libc::c_int>) -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset before it is used; the calls cannot fail with these arguments.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::sigprocmask(how, set.as_ptr(), ptr::null_mut());
        set.assume_init()
    }
}

/// Whether one that tells us to stop is deadly.
static DEADLY: AtomicU8 = AtomicU8::new(NONE);
const NONE: u8 = 0;
const SECOND: u8 = 1;
const NEXT: u8 = 2;

/// From now on the first signal that tells us to stop changes nothing, and a second one is deadly: for the last things that a process
/// does, which are short.
pub fn let_the_second_kill() {
    DEADLY.store(SECOND, Ordering::Relaxed);
}

/// From now on none is deadly.
pub fn let_none_kill() {
    DEADLY.store(NONE, Ordering::Relaxed);
}

/// The handler of signal-hook, which all of its signals share.
static NEXT_HANDLER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Puts our handler before the one that there is, if any: for signal-hook to have several costs more than all else here.
fn be_told_first(number: libc::c_int) {
    // SAFETY: all bytes zero are a valid value of both; sigaction writes the one and reads the other.
    let before = unsafe {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        let mut ours = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        ours.sa_sigaction = handle as *const () as libc::sighandler_t;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(number, &ours, before.as_mut_ptr());
        before.assume_init().sa_sigaction
    };
    if HANDLED.contains(&number) {
        NEXT_HANDLER.store(ptr::with_exposed_provenance_mut(before), Ordering::Relaxed);
    }
}

/// Handles what tells us to stop and what stops us as a job: async-signal-safe.
extern "C" fn handle(number: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the place is the thread's own.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel gives what it says.
    let told = unsafe { &*info };
    if STOPS.contains(&number) {
        stop::handle(told);
    } else {
        missed::handle(told);
        match DEADLY.load(Ordering::Relaxed) {
            SECOND => DEADLY.store(NEXT, Ordering::Relaxed),
            NEXT => drop(signal_hook::low_level::emulate_default_handler(number)),
            _ => {}
        }
        let next = NEXT_HANDLER.load(Ordering::Relaxed);
        if !next.is_null() {
            // SAFETY: it is a handler of this form, as its flags have said.
            unsafe {
                let next: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(next);
                next(number, info, context);
            }
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}
