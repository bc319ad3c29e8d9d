//! Starting a process: our own fork and exec.
//!
//! Not posix_spawn or vfork: a stop from the keyboard between vfork and exec leaves the parent in an uninterruptible
//! sleep. What the command is given differs from what we were given only by its environment.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::readable::Readable;
use super::signals::with_handlers;
use super::start::{OURS_ALONE, Start, set_disposition};
use super::stop;
use crate::engine::event::SpawnErrorKind;
use crate::engine::signal::Signal;
use crate::error::reason;

/// How often exec is tried while somebody writes to the file, and the pause between.
const TEXT_BUSY_TRIES: u32 = 10;
const TEXT_BUSY_PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };

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

/// A command's words and its whole environment, as C strings, and what else a new process is given.
pub struct Program<'a> {
    /// The command and its arguments.
    pub words: &'a [CString],
    /// Entries, usually `NAME=VALUE`.
    pub environment: Vec<&'a CStr>,
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
}

/// Why a program could not be started.
#[derive(Debug)]
pub struct SpawnError {
    /// The kind of obstacle.
    pub kind: SpawnErrorKind,
    /// The obstacle in a few words.
    pub reason: String,
}

/// What the child says when it cannot go on: at which step, and the number of the error.
type Failure = [i32; 2];

/// The steps that can fail.
const ENTER_CGROUP: i32 = 1;
const EXECUTE: i32 = 2;

impl Starting {
    /// Forks, and lets the new process execute the program.
    ///
    /// # Errors
    /// A lack of processes, memory or descriptors.
    pub fn spawn(program: &Program<'_>, group: Group) -> io::Result<Starting> {
        let (failure, report) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let failure = Readable::new(failure)?;
        let raw = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd());
        let plan = Plan {
            words: pointers(program.words.iter().map(CString::as_c_str)),
            environment: pointers(program.environment.iter().copied()),
            group,
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            report: report.as_raw_fd(),
            standard: [raw(program.stdin), raw(program.stdout), raw(program.stderr)],
            cgroup: raw(program.cgroup),
        };
        // Before the fork: a signal that came between would find a process that nobody knows.
        let mask = block_all_signals();
        // SAFETY: the process has a single thread here, or others that hold no lock which the child takes: until
        // exec the child calls only async-signal-safe functions.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: we are the child of a fork, and both arrays are null-terminated.
            unsafe { plan.execute() }
        }
        let forked = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) };
        if let (Ok(pid), Group::New) = (&forked, group) {
            // The child does the same: whoever comes first, nobody finds it in our group. It fails after the exec.
            // SAFETY: plain numbers.
            unsafe { libc::setpgid(*pid, *pid) };
        }
        let target = match group {
            Group::Inherited => pid,
            Group::New | Group::Session => -pid,
        };
        stop::set_target(if pid > 0 { target } else { 0 });
        restore_signals(&mask);
        let pid = Pid::from_raw(forked?).ok_or(io::ErrorKind::Other)?;
        Ok(Starting { pid, failure })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the program runs, or says why it does not; then its process is about to exit.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn executed(&self, program: &CStr) -> Result<(), SpawnError> {
        let mut failure = [0u8; size_of::<Failure>()];
        match self.failure.read(&mut failure).await {
            // They are written at once or not at all.
            Ok(8) => {
                let [s0, s1, s2, s3, e0, e1, e2, e3] = failure;
                let step = i32::from_ne_bytes([s0, s1, s2, s3]);
                Err(SpawnError::of(step, i32::from_ne_bytes([e0, e1, e2, e3]), program))
            }
            // The pipe was closed by exec.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const libc::c_char> {
    strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
}

/// All that the child needs, ready before the fork: it must not allocate.
struct Plan {
    words: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    group: Group,
    parent: libc::pid_t,
    report: libc::c_int,
    /// What is to be descriptors 0 to 2, -1 for ours.
    standard: [libc::c_int; 3],
    cgroup: libc::c_int,
}

impl Plan {
    /// The child's part: becomes the program, or reports the error and exits.
    ///
    /// # Safety
    /// We are the child of a fork; `words` and `environment` are null-terminated.
    unsafe fn execute(&self) -> ! {
        // SAFETY: all functions are async-signal-safe; the arrays are as the caller promises.
        unsafe {
            match self.group {
                Group::Inherited => {}
                Group::New => drop(libc::setpgid(0, 0)),
                Group::Session => drop(libc::setsid()),
            }
            // If we are killed outright, so is the command. The signal is lost if we died before.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != self.parent {
                libc::raise(libc::SIGKILL);
            }
            if self.cgroup >= 0 && libc::write(self.cgroup, c"0".as_ptr().cast(), 1) != 1 {
                self.fail(ENTER_CGROUP);
            }
            self.restore_what_we_were_given();
            for _ in 0..TEXT_BUSY_TRIES {
                // Searches PATH, and runs a file without `#!` by /bin/sh, as shells do.
                let words = self.words.as_ptr();
                libc::execvpe(*words, words, self.environment.as_ptr());
                if *libc::__errno_location() != libc::ETXTBSY {
                    break;
                }
                libc::nanosleep(&TEXT_BUSY_PAUSE, ptr::null_mut());
                *libc::__errno_location() = libc::ETXTBSY;
            }
            self.fail(EXECUTE)
        }
    }

    /// Descriptors, dispositions and, last, the mask.
    unsafe fn restore_what_we_were_given(&self) {
        let start = Start::get();
        // SAFETY: as in `execute`, whose part this is.
        unsafe {
            // A handler of ours would run in the child, too, where the signal is the command's to die of.
            for number in OURS_ALONE.into_iter().chain(with_handlers()) {
                let ignored = Signal::new(number).is_some_and(|signal| start.ignored(signal));
                set_disposition(number, if ignored { libc::SIG_IGN } else { libc::SIG_DFL });
            }
            for (fd, closed) in (0..).zip(start.closed()) {
                if closed {
                    libc::close(fd);
                }
            }
            for (number, fd) in (0..).zip(self.standard) {
                if fd >= 0 {
                    libc::dup2(fd, number);
                }
            }
            libc::sigprocmask(libc::SIG_SETMASK, start.mask(), ptr::null_mut());
        }
    }

    unsafe fn fail(&self, step: i32) -> ! {
        // SAFETY: as in `execute`, whose part this is.
        unsafe {
            let failure: Failure = [step, *libc::__errno_location()];
            libc::write(self.report, failure.as_ptr().cast(), size_of::<Failure>());
            libc::_exit(127)
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
    fn of(step: i32, errno: i32, program: &CStr) -> SpawnError {
        if step == ENTER_CGROUP {
            let reason = reason(&io::Error::from_raw_os_error(errno));
            let reason = format!("cannot enter its cgroup: {reason}");
            return SpawnError { kind: SpawnErrorKind::NotExecutable, reason };
        }
        if errno == libc::ENOENT
            && let Some(file) = find(program)
        {
            // The kernel says ENOENT for what the file needs as well.
            return SpawnError {
                kind: SpawnErrorKind::NotExecutable,
                reason: missing_interpreter(&file),
            };
        }
        SpawnError::from(io::Error::from_raw_os_error(errno))
    }
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> SpawnError {
        const PASSING: [i32; 5] =
            [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ETXTBSY];
        let kind = match error.raw_os_error() {
            Some(libc::ENOENT) => SpawnErrorKind::NotFound,
            Some(errno) if PASSING.contains(&errno) => SpawnErrorKind::Resources,
            Some(_) | None => SpawnErrorKind::NotExecutable,
        };
        SpawnError { kind, reason: reason(&error) }
    }
}

/// The file that exec would have taken, if there is one.
fn find(program: &CStr) -> Option<PathBuf> {
    let name = Path::new(OsStr::from_bytes(program.to_bytes()));
    if name.as_os_str().is_empty() {
        return None;
    }
    if program.to_bytes().contains(&b'/') {
        return name.exists().then(|| name.to_owned());
    }
    let path = super::start::environment()
        .into_iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="))?;
    std::env::split_paths(OsStr::from_bytes(path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn missing_interpreter(file: &Path) -> String {
    let mut head = [0u8; 256];
    let length = File::open(file).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let line = head.get(..length).and_then(|head| head.split(|byte| *byte == b'\n').next());
    match line.and_then(|line| line.strip_prefix(b"#!")) {
        Some(rest) => {
            let rest = String::from_utf8_lossy(rest);
            let interpreter = rest.split_whitespace().next().unwrap_or_default();
            format!("its interpreter `{interpreter}` is missing")
        }
        None => "a file that it needs to start is missing".to_owned(),
    }
}
