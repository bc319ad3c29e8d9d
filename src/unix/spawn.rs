//! Starting a process: our own fork, in our memory where that can be, and exec.
//!
//! Not posix_spawn or vfork: a stop from the keyboard between vfork and exec leaves the parent in an uninterruptible
//! sleep.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::ptr;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::clone::{Stack, clone};
use super::plan::{ENTER_CGROUP, Failure, Plan};
use super::readable::Readable;
use super::stop;
use crate::engine::event::SpawnErrorKind;
use crate::error::reason;

/// Where a new process stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// In our group: what the terminal sends to us reaches both.
    Inherited,
    /// In a group of its own: what is sent to our group reaches it once, through us.
    New,
    /// In a session of its own, without a terminal.
    Session,
}

/// Entries of an environment, usually `NAME=VALUE`.
pub struct Entries {
    /// Of our own, which lives as long as we do.
    pub inherited: Vec<&'static CStr>,
    /// What is added.
    pub added: Vec<CString>,
}

/// A command's words and its whole environment, as C strings, and what else a new process is given.
pub struct Program<'a> {
    /// The command and its arguments.
    pub words: &'a [CString],
    /// Its environment.
    pub environment: Entries,
    /// Its stdin, where it is not ours.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Its stdout, where it is not ours.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Its stderr, where it is not ours.
    pub stderr: Option<BorrowedFd<'a>>,
    /// The file by which a process enters a cgroup.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A process that is about to execute a program.
pub struct Starting {
    pid: Pid,
    failure: Readable,
    /// What it said of a failure.
    said: Option<Failure>,
    /// What it uses until it has executed or ended: left to it where nobody waits for that.
    lent: Option<Lent>,
}

/// What belongs to a new process, which may share our memory.
struct Lent {
    plan: *mut Plan,
    stack: *mut MaybeUninit<Stack>,
}

impl Lent {
    fn new(plan: Plan) -> Lent {
        Lent { plan: Box::into_raw(Box::new(plan)), stack: Box::into_raw(Stack::new()) }
    }

    /// Makes it ours again.
    ///
    /// # Safety
    /// No process uses it.
    unsafe fn take_back(self) -> Box<Plan> {
        // SAFETY: both were boxes, as the caller promises.
        unsafe {
            drop(Box::from_raw(self.stack));
            Box::from_raw(self.plan)
        }
    }
}

/// Why a program could not be started.
#[derive(Debug)]
pub struct SpawnError {
    /// The kind of obstacle.
    pub kind: SpawnErrorKind,
    /// The obstacle in a few words.
    pub reason: String,
}

impl Starting {
    /// Forks, and lets the new process execute the program.
    ///
    /// # Errors
    /// A lack of processes, memory or descriptors.
    pub fn spawn(program: Program<'_>, group: Group) -> io::Result<Starting> {
        let (failure, report) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let failure = Readable::new(failure)?;
        let lent = Lent::new(Plan::new(program, group, report.as_fd()));
        // Before the fork: a signal that came between would find a process that nobody knows.
        let mask = block_all_signals();
        // SAFETY: what is lent stays until the process has executed or ended, and the plan is carried out as is asked of its code.
        let cloned = unsafe { clone(Plan::carry_out, lent.plan, lent.stack) };
        let raw = cloned.as_ref().map_or(0, |pid| pid.as_raw_nonzero().get());
        if group == Group::New && raw > 0 {
            // The child does the same: whoever comes first, nobody finds it in our group. It fails after the exec.
            // SAFETY: plain numbers.
            unsafe { libc::setpgid(raw, raw) };
        }
        stop::set_target(match group {
            Group::Inherited => raw,
            Group::New | Group::Session => -raw,
        });
        restore_signals(&mask);
        match cloned {
            Ok(pid) => Ok(Starting { pid, failure, said: None, lent: Some(lent) }),
            Err(error) => {
                // SAFETY: there is no process.
                drop(unsafe { lent.take_back() });
                Err(error)
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the program runs, or says why it does not; then its process has ended. May be cancelled and called again.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn executed(&mut self) -> Result<(), SpawnError> {
        let mut said = [0; size_of::<Failure>()];
        loop {
            match self.failure.read(&mut said).await {
                Ok(0) => break,
                Ok(_) => {
                    // It is written at once or not at all.
                    let [s0, s1, s2, s3, e0, e1, e2, e3] = said;
                    self.said = Some([[s0, s1, s2, s3], [e0, e1, e2, e3]].map(i32::from_ne_bytes));
                }
                // The event loop shuts down. Nobody knows what the process does.
                Err(_) => return Ok(()),
            }
        }
        // SAFETY: the kernel closes the pipe after the process has left our memory: at exec it gives it memory of its own before it
        // closes what is to be closed, and at the end it takes memory away before files.
        let plan = self.lent.take().map(|lent| unsafe { lent.take_back() });
        match (self.said, plan) {
            (Some([step, errno]), Some(mut plan)) => Err(SpawnError::of(step, errno, plan.find())),
            (None, _) | (_, None) => Ok(()),
        }
    }
}

/// Blocks all signals for the calling thread; answers what was blocked before.
pub(super) fn block_all_signals() -> libc::sigset_t {
    let (mut all, mut old) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: sigfillset initialises the one, sigprocmask the other; neither can fail with these arguments.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        old.assume_init()
    }
}

/// Blocks what was blocked before.
pub(super) fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the mask was written by sigprocmask.
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, mask, ptr::null_mut());
    }
}

impl SpawnError {
    fn of(step: i32, errno: i32, file: Option<&Path>) -> SpawnError {
        if step == ENTER_CGROUP {
            let reason = reason(&io::Error::from_raw_os_error(errno));
            let reason = format!("cannot enter its cgroup: {reason}");
            return SpawnError { kind: SpawnErrorKind::NotExecutable, reason };
        }
        if errno == libc::ENOENT
            && let Some(file) = file
        {
            // The kernel says ENOENT for what the file needs as well.
            return SpawnError {
                kind: SpawnErrorKind::NotExecutable,
                reason: missing_interpreter(file),
            };
        }
        SpawnError::from(io::Error::from_raw_os_error(errno))
    }
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> SpawnError {
        const PASSING: [i32; 3] = [libc::EAGAIN, libc::ENOMEM, libc::ETXTBSY];
        let kind = match error.raw_os_error() {
            Some(libc::ENOENT) => SpawnErrorKind::NotFound,
            Some(libc::EMFILE | libc::ENFILE) => SpawnErrorKind::Descriptors,
            Some(errno) if PASSING.contains(&errno) => SpawnErrorKind::Resources,
            Some(_) | None => SpawnErrorKind::NotExecutable,
        };
        SpawnError { kind, reason: reason(&error) }
    }
}

fn missing_interpreter(file: &Path) -> String {
    let mut head = [0u8; 256];
    let length = File::open(file).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let line = head.get(..length).and_then(|head| head.split(|byte| *byte == b'\n').next());
    match line.and_then(|line| line.strip_prefix(b"#!")) {
        Some(rest) => {
            // As the kernel reads it: a carriage return is a part of the name.
            let rest = String::from_utf8_lossy(rest);
            let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
            let interpreter = words.next().unwrap_or_default();
            match interpreter.strip_suffix('\r') {
                Some(name) => format!(
                    "its interpreter `{name}\\r` is missing: its lines end with CR LF, as on Windows"
                ),
                None => format!("its interpreter `{interpreter}` is missing"),
            }
        }
        None => "a file that it needs to start is missing".to_owned(),
    }
}
