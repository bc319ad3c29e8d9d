//! What a new process does until it is the program, laid out before it begins.
//!
//! What the program is given differs from what we were given only by its environment, and the streams that stand for ours.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, setpgid, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::clone::execute;
use super::signals::with_handlers;
use super::spawn::{Entries, Group, Program};
use super::start::{OURS_ALONE, Start, set_disposition};
use crate::engine::signal;

/// How often exec is tried while somebody writes to the file, and the pause between.
const TEXT_BUSY_TRIES: u32 = 10;
const TEXT_BUSY_PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// What runs a file that the kernel does not know how to run.
const SHELL: &CStr = c"/bin/sh";

/// Where programs are looked for without a PATH, as the C library says by confstr(3).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// What the process says when it cannot go on: at which step, and the number of the error.
pub(super) type Failure = [i32; 2];

/// The steps that can fail.
pub(super) const ENTER_CGROUP: i32 = 1;
const EXECUTE: i32 = 2;

/// All that the process needs: it must not allocate. What is pointed to belongs to the plan, or stays as long as we do.
pub(super) struct Plan {
    /// The shell, the command's words, and a null pointer.
    words: Vec<*const c_char>,
    /// The environment, and a null pointer.
    environment: Vec<*const c_char>,
    /// The program, with a zero byte at its end.
    name: Vec<u8>,
    /// Where it is looked for, if it is: folders with `:` between them.
    path: Option<&'static [u8]>,
    /// The file that is tried, with a zero byte at its end; with room for all that will be.
    file: Vec<u8>,
    group: Group,
    parent: Option<Pid>,
    report: c_int,
    /// What is to be descriptors 0 to 2, -1 for ours.
    standard: [c_int; 3],
    cgroup: c_int,
    _pointed_to: (Vec<u8>, Vec<CString>),
}

impl Plan {
    /// For a program, and the pipe by which a failure is told.
    pub(super) fn new(program: Program<'_>, group: Group, report: BorrowedFd<'_>) -> Plan {
        let raw = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd());
        let Entries { inherited, added } = program.environment;
        let name = program.words.first().map_or(&b"\0"[..], |name| name.as_bytes_with_nul());
        let path = (name != b"\0" && !name.contains(&b'/')).then(|| path(&inherited));
        let file = Vec::with_capacity(path.map_or(0, |path| path.len() + 1) + name.len());
        let environment = inherited.iter().copied().chain(added.iter().map(CString::as_c_str));
        let text =
            program.words.iter().map(CString::as_bytes_with_nul).collect::<Vec<_>>().concat();
        let begins = program.words.iter().scan(0, |end, word| {
            let begin = *end;
            *end += word.as_bytes_with_nul().len();
            Some(begin)
        });
        let words = begins.map(|begin| text.as_ptr().wrapping_add(begin).cast());
        Plan {
            words: [SHELL.as_ptr()].into_iter().chain(words).chain([ptr::null()]).collect(),
            environment: environment.map(CStr::as_ptr).chain([ptr::null()]).collect(),
            name: name.to_vec(),
            path,
            file,
            group,
            parent: Some(getpid()),
            report: report.as_raw_fd(),
            standard: [program.stdin, program.stdout, program.stderr].map(raw),
            cgroup: raw(program.cgroup),
            _pointed_to: (text, added),
        }
    }

    /// The first file that could have been the program, if there is one.
    pub(super) fn find(&mut self) -> Option<&Path> {
        let found = match self.path {
            Some(path) => folders(path).any(|folder| self.name_file(folder).is_file()),
            None => self.name_file(b"").is_file(),
        };
        found.then(|| self.file())
    }

    /// Names the file that is tried: the program in a folder, or as it is called.
    fn name_file(&mut self, folder: &[u8]) -> &Path {
        self.file.clear();
        if !folder.is_empty() {
            self.file.extend_from_slice(folder);
            self.file.push(b'/');
        }
        self.file.extend_from_slice(&self.name);
        self.file()
    }

    fn file(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.file.strip_suffix(b"\0").unwrap_or_default()))
    }

    /// The process's part: becomes the program, or reports the error and exits.
    ///
    /// # Safety
    /// We are a process that `clone` has made, with a plan that nobody else uses.
    pub(super) unsafe extern "C" fn carry_out(plan: *mut Plan) -> ! {
        // SAFETY: as the caller promises.
        unsafe { (*plan).execute() }
    }

    /// All that is called here is async-signal-safe, and either sets no errno, as rustix on Linux, or does not fail.
    unsafe fn execute(&mut self) -> ! {
        match self.group {
            Group::Inherited => {}
            Group::New => {
                let _cannot_fail_here = setpgid(None, None);
            }
            Group::Session => {
                let _cannot_fail_here = setsid();
            }
        }
        // If we are killed outright, so is the command. The signal is lost if we died before.
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if getppid() != self.parent {
            let _deadly = kill_process(getpid(), Signal::KILL);
        }
        if self.cgroup >= 0 {
            // SAFETY: the descriptor was open when the plan was made, and what is ours alone is closed by exec.
            let entrance = unsafe { BorrowedFd::borrow_raw(self.cgroup) };
            if let Err(error) = rustix::io::write(entrance, b"0") {
                self.fail(ENTER_CGROUP, error.raw_os_error());
            }
        }
        // SAFETY: the process is a new one, as the caller promises.
        let errno = match unsafe { self.restore_what_we_were_given() } {
            Ok(()) => self.become_the_program(),
            Err(error) => error.raw_os_error(),
        };
        self.fail(EXECUTE, errno)
    }

    /// Descriptors, dispositions and, last, the mask.
    unsafe fn restore_what_we_were_given(&self) -> Result<(), Errno> {
        let start = Start::get();
        // A handler of ours would run here, too, where the signal is the command's to die of.
        for number in OURS_ALONE.into_iter().chain(with_handlers()) {
            let ignored = signal::Signal::new(number).is_some_and(|signal| start.ignored(signal));
            set_disposition(number, if ignored { libc::SIG_IGN } else { libc::SIG_DFL });
        }
        for (fd, closed) in (0..).zip(start.closed()) {
            if closed {
                // SAFETY: it was opened in the place of one that was closed, and nobody uses it here.
                unsafe { rustix::io::close(fd) };
            }
        }
        let given = |fd| {
            // SAFETY: the descriptor was open when the plan was made.
            (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
        };
        let [stdin, stdout, stderr] = self.standard.map(given);
        stdin.map_or(Ok(()), dup2_stdin)?;
        stdout.map_or(Ok(()), dup2_stdout)?;
        stderr.map_or(Ok(()), dup2_stderr)?;
        // SAFETY: a mask that the kernel wrote.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, start.mask(), ptr::null_mut()) };
        Ok(())
    }

    /// Tries one place after the other, as execvp(3), but a place that is no folder is one without the program; answers the number of the
    /// error that tells most.
    fn become_the_program(&mut self) -> c_int {
        let Some(path) = self.path else {
            self.name_file(b"");
            return self.become_file();
        };
        let mut found = libc::ENOENT;
        for folder in folders(path) {
            self.name_file(folder);
            match self.become_file() {
                libc::EACCES => found = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                errno => return errno,
            }
        }
        found
    }

    fn become_file(&mut self) -> c_int {
        let file = self.file.as_ptr().cast();
        let environment = self.environment.as_ptr();
        let mut errno = libc::ETXTBSY;
        for attempt in 0..TEXT_BUSY_TRIES {
            if attempt > 0 {
                // SAFETY: the places are of the right types. No handler is left that could cut it short, and nobody cancels threads.
                unsafe { libc::nanosleep(&TEXT_BUSY_PAUSE, ptr::null_mut()) };
            }
            // SAFETY: these are C strings, and arrays of them that end with a null pointer; the words begin behind the shell.
            errno = unsafe { execute(file, self.words.as_ptr().add(1), environment) };
            if errno != libc::ETXTBSY {
                break;
            }
        }
        if errno != libc::ENOEXEC {
            return errno;
        }
        // A script without `#!`, as shells run it: by the name under which it was found.
        let Some(place) = self.words.get_mut(1) else { return errno };
        let name = std::mem::replace(place, file);
        // SAFETY: as above.
        errno = unsafe { execute(SHELL.as_ptr(), self.words.as_ptr(), environment) };
        if let Some(place) = self.words.get_mut(1) {
            *place = name;
        }
        errno
    }

    fn fail(&self, step: i32, errno: c_int) -> ! {
        let failure: Failure = [step, errno];
        let [s, e] = failure.map(i32::to_ne_bytes);
        let [s0, s1, s2, s3] = s;
        let [e0, e1, e2, e3] = e;
        // SAFETY: the pipe was open when the plan was made, and what is ours alone is closed by exec.
        let report = unsafe { BorrowedFd::borrow_raw(self.report) };
        let _only_then_silent = rustix::io::write(report, &[s0, s1, s2, s3, e0, e1, e2, e3]);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(127) }
    }
}

/// Where programs are looked for: as our own environment says, whatever the command's says, as execvp(3) does.
fn path(environment: &[&'static CStr]) -> &'static [u8] {
    let path = environment.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(DEFAULT_PATH)
}

/// The folders of a PATH. A longer one than any path holds nothing, and would be an error that ends the search.
fn folders(path: &'static [u8]) -> impl Iterator<Item = &'static [u8]> {
    const LONGEST: usize = libc::PATH_MAX as usize;
    path.split(|byte| *byte == b':').filter(|folder| folder.len() < LONGEST)
}
