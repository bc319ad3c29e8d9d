//! Signals to us: those that are ours to answer, and those that are the command's.
//!
//! What was ignored when we started stays ignored. What the signals mean is the driver's.

use std::future::poll_fn;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{FromRawFd, OwnedFd};
use std::pin::Pin;
use std::ptr;
use std::task::{Poll, ready};

use futures_core::Stream;
use rustix::process::Pid;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;
use signal_hook_tokio::SignalsInfo;

use super::readable::Readable;
use super::start::Start;
use super::stop;
use crate::engine::signal::Signal;

/// Signals with a handler: what tells us to stop, where each one counts, however late we look.
const HANDLED: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// What happens to our children, and to us as a job: however often it came, we look once.
const LOOKED_AT: [libc::c_int; 2] = [libc::SIGCHLD, libc::SIGCONT];

/// Signals that would end us, or are told to whoever asks, and are the command's; the real-time ones, too.
const FOR_THE_COMMAND: [libc::c_int; 10] = [
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
    HANDLED.into_iter().chain([libc::SIGTSTP])
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
        if is_heard(&libc::SIGTSTP) {
            // SAFETY: the handler is async-signal-safe.
            unsafe { signal_hook_registry::register_sigaction(libc::SIGTSTP, stop::handle)? };
        }
        change_mask(libc::SIG_UNBLOCK, heard.chain([libc::SIGTSTP]));
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

/// From now on the first of these signals changes nothing, and a second one is deadly: for the last things that a process
/// does, which are short.
pub fn let_the_second_kill(signals: &[Signal]) {
    let armed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in signals.iter().filter(|signal| !Start::get().ignored(**signal)) {
        let number = signal.number();
        // They fail only for signals that cannot be handled.
        let _deadly = signal_hook::flag::register_conditional_default(number, armed.clone());
        let _arms = signal_hook::flag::register(number, armed.clone());
    }
}
