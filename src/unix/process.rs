//! A process of ours: to watch, to signal and to reap.
//!
//! Its end is noticed before it is reaped: the zombie keeps pid and group from being used again while the rest of
//! its tree is ended.

use std::fs;
use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, getpgid, pidfd_open, waitid};

use super::readable::Readable;
use crate::engine::ExitStatus;
use crate::engine::event::Usage;
use crate::engine::signal::Signal;
use crate::engine::time::to_micros;

/// The end of a child of ours.
pub struct Watch {
    pid: Pid,
    /// Readable when it has ended. Old kernels and strict sandboxes have none; there SIGCHLD wakes us to look again.
    pidfd: Option<Readable>,
}

impl Watch {
    /// Watches a child.
    #[must_use]
    pub fn new(pid: Pid) -> Watch {
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from);
        Watch { pid, pidfd: pidfd.and_then(Readable::new).ok() }
    }

    /// Waits for the end. To be asked again after each SIGCHLD.
    pub async fn ended(&self) {
        match &self.pidfd {
            Some(pidfd) => pidfd.ready().await,
            None if self.has_ended() => {}
            None => pending().await,
        }
    }

    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }
}

/// The signal by which a child of ours was stopped since this was last asked.
#[must_use]
pub fn stopped_by(pid: Pid) -> Option<Signal> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    let status = waitid(WaitId::Pid(pid), options).ok()??;
    Signal::new(status.stopping_signal()?)
}

/// The session that we are in; 0 where its leader is outside of our PID namespace, as /proc shows it, too.
#[must_use]
pub fn own_session() -> i32 {
    // SAFETY: plain numbers; of ourselves it cannot fail.
    unsafe { libc::getsid(0) }
}

/// Whether we lead our session.
#[must_use]
pub fn leads_the_session() -> bool {
    own_session() == rustix::process::getpid().as_raw_nonzero().get()
}

/// Whether a process, be it a zombie, leads a group.
#[must_use]
pub fn leads_its_group(pid: Pid) -> bool {
    getpgid(Some(pid)) == Ok(pid)
}

/// Whether we have a child, be it a zombie.
#[must_use]
pub fn has_children() -> bool {
    next_ended() != Err(Errno::CHILD)
}

/// A child that has ended and was not reaped, if there is one; ECHILD if there are no children at all.
fn next_ended() -> Result<Option<Pid>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    // SAFETY: the place is of the right type; all bytes of it are zeroed, and the call only writes valid values.
    unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) == -1 {
            return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::CHILD));
        }
        Ok(Pid::from_raw(info.assume_init().si_pid()))
    }
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

/// Reaps what has ended but for those that are `kept` for whoever waits for them: orphans that the kernel gave to us. Answers
/// whether there were any: who looked for living processes meanwhile may have missed one that such an orphan has forked.
pub(super) fn reap_all_but(kept: &[Pid]) -> bool {
    let mut any = false;
    while let Ok(Some(pid)) = next_ended() {
        if kept.contains(&pid) {
            return reap_behind(kept) || any;
        }
        any |= reap_if_ended(pid);
    }
    any
}

/// The kernel answers with the child that it lists first. Those behind a dead one that is kept have to be asked for one by one: a
/// daemon that forks for ever would fill the table of processes meanwhile.
fn reap_behind(kept: &[Pid]) -> bool {
    let us = rustix::process::getpid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/self/task/{us}/children")).unwrap_or_default();
    let pids = children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
    pids.filter(|pid| !kept.contains(pid) && reap_if_ended(*pid)).count() > 0
}

fn reap_if_ended(child: Pid) -> bool {
    // SAFETY: a null status is allowed; with WNOHANG the call does not block.
    unsafe { libc::waitpid(child.as_raw_nonzero().get(), ptr::null_mut(), libc::WNOHANG) > 0 }
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
