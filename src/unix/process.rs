//! A process of ours: to watch, to signal and to reap.
//!
//! Its end is noticed before it is reaped: the zombie keeps pid and group from being used again while the rest of
//! its tree is ended.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::readable::Readable;
use crate::engine::ExitStatus;
use crate::engine::event::Usage;
use crate::engine::signal::Signal;
use crate::engine::time::to_micros;

/// Becomes readable when a process ends.
pub struct Watch(Readable);

impl Watch {
    /// Watches a child of ours, or, where the kernel has pidfds, any process.
    ///
    /// # Errors
    /// The process is gone and not ours, or descriptors are lacking.
    pub fn new(pid: Pid) -> io::Result<Watch> {
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => Ok(Watch(Readable::new(pidfd)?)),
            // Old kernels and strict sandboxes have no pidfds.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Watch::by_thread(pid),
            Err(error) => Err(error.into()),
        }
    }

    /// A thread waits for the end and then closes a pipe.
    fn by_thread(pid: Pid) -> io::Result<Watch> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            while wait_without_reaping(pid, WaitIdOptions::empty()) == Err(Errno::INTR) {}
            drop(write);
        })?;
        Ok(Watch(Readable::new(read)?))
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        self.0.ready().await;
    }
}

fn wait_without_reaping(pid: Pid, more: WaitIdOptions) -> Result<bool, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | more;
    waitid(WaitId::Pid(pid), options).map(|status| status.is_some())
}

/// Sends a signal to one process. A process that is gone is no error.
///
/// # Errors
/// It belongs to somebody else (EPERM).
pub fn signal_process(pid: Pid, signal: Signal) -> io::Result<()> {
    debug_assert!(pid != Pid::INIT, "never the init process");
    // SAFETY: plain numbers.
    let result = unsafe { libc::kill(pid.as_raw_nonzero().get(), signal.number()) };
    gone_is_fine(result)
}

/// Sends a signal to all processes of a group. A group that is gone is no error.
///
/// # Errors
/// All of it belongs to somebody else (EPERM).
pub fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    debug_assert!(leader != Pid::INIT, "never the init process");
    // SAFETY: plain numbers.
    let result = unsafe { libc::killpg(leader.as_raw_nonzero().get(), signal.number()) };
    gone_is_fine(result)
}

fn gone_is_fine(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

/// Takes leave of a child that has ended: how, and what it used with the children that it waited for.
///
/// # Errors
/// It is no child of ours.
pub fn reap(pid: Pid) -> io::Result<(ExitStatus, Usage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both places are of the right types and outlive the call.
        let reaped =
            unsafe { libc::wait4(pid.as_raw_nonzero().get(), &mut status, 0, usage.as_mut_ptr()) };
        if reaped >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: all bytes were zeroed, which is a valid value, and then written by wait4.
    let usage = unsafe { usage.assume_init() };
    Ok((exit_status(status), used(&usage)))
}

/// Reaps whatever else has ended: orphans that the kernel gave to us.
pub fn reap_orphans() {
    // SAFETY: a null status is allowed; without children, or with none that has ended, the call only says so.
    while unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

fn exit_status(status: libc::c_int) -> ExitStatus {
    if libc::WIFSIGNALED(status)
        && let Some(signal) = Signal::new(libc::WTERMSIG(status))
    {
        return ExitStatus::Signal { signal, core_dumped: libc::WCOREDUMP(status) };
    }
    ExitStatus::Code(libc::WEXITSTATUS(status))
}

fn used(usage: &libc::rusage) -> Usage {
    let duration = |time: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        to_micros(seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0)))
    };
    Usage {
        cpu_user: Some(duration(usage.ru_utime)),
        cpu_system: Some(duration(usage.ru_stime)),
        // Linux counts in KiB: getrusage(2).
        max_rss: u64::try_from(usage.ru_maxrss).ok().map(|kib| kib.saturating_mul(1024)),
    }
}
