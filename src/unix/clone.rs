//! A new process that runs code of ours first: in our own memory, where the kernel and the machine have that, or in a copy.
//!
//! Of what a fork costs most is the copy of the map of our memory, and a fault at each page that one of us writes afterwards.
//! posix_spawn and vfork copy nothing, but let the parent sleep until the child executes; here both go on.
//!
//! There is a price: exec counts the most memory that we ever had as used by the new process, too. Once we have had more than a run
//! needs, it has a copy.

use std::ffi::{c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use rustix::process::Pid;

use super::missed;

/// As much as the C library's posix_spawn takes for its child, and no more guarded than there.
const STACK_SIZE: usize = 32 * 1024;

/// How much more memory we may have had than when we made the first process, in KiB.
const MOST_GROWTH: libc::c_long = 2048;

/// The first Linux on which a signal that dumps core ends only the process that it is sent to, and not all that share its memory.
const FIRST_VERSION: (u32, u32) = (5, 16);

/// The stack of a process that shares our memory.
#[repr(align(16))]
pub(super) struct Stack {
    _bytes: [MaybeUninit<u8>; STACK_SIZE],
}

impl Stack {
    /// Room for one, of which nothing is written.
    pub(super) fn new() -> Box<MaybeUninit<Stack>> {
        Box::new_uninit()
    }
}

/// Makes a process that calls `code` with what it is given.
///
/// # Safety
/// Until the process executes a program or ends, what it is given and the stack stay where they are, and nobody else uses them.
/// All signals are blocked. The code never returns and never panics; it calls only what is async-signal-safe, and nothing that
/// can fail by way of errno or changes anything else of the calling thread, which it may share.
///
/// # Errors
/// Those of fork(2).
pub(super) unsafe fn clone<T>(
    code: unsafe extern "C" fn(*mut T) -> !,
    given: *mut T,
    stack: *mut MaybeUninit<Stack>,
) -> io::Result<Pid> {
    static AT_FIRST: OnceLock<libc::c_long> = OnceLock::new();
    let memory = most_memory();
    let may_share =
        memory - AT_FIRST.get_or_init(|| memory) <= MOST_GROWTH && version() >= FIRST_VERSION;
    // Last of all: what comes from here on, the kernel gives to the new process, too.
    missed::note_pending();
    if may_share {
        // SAFETY: as the caller promises.
        if let Some(pid) = unsafe { sharing::clone(code, given, stack) } {
            return Ok(pid);
        }
    }
    // Also where a filter of system calls refuses the other; if something is lacking, this says what.
    // SAFETY: as the caller promises.
    match unsafe { libc::fork() } {
        // SAFETY: as the caller promises.
        0 => unsafe { code(given) },
        pid => Pid::from_raw(pid.max(0)).ok_or_else(io::Error::last_os_error),
    }
}

/// The most memory that we had at any time, in KiB.
fn most_memory() -> libc::c_long {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the place is of the right type, and zeros are a valid value of it.
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init().ru_maxrss
    }
}

fn version() -> (u32, u32) {
    version_of(rustix::system::uname().release().to_bytes())
}

/// The version of a release such as `6.1.0-13-amd64`; zeros where it has none that we know.
fn version_of(release: &[u8]) -> (u32, u32) {
    let mut numbers = release.split(|byte| !byte.is_ascii_digit());
    let mut number = || str::from_utf8(numbers.next()?).ok()?.parse().ok();
    (number().unwrap_or(0), number().unwrap_or(0))
}

pub(super) use sharing::execute;

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))]
mod sharing {
    use std::arch::asm;
    use std::mem::zeroed;

    use super::*;

    pub(super) unsafe fn clone<T>(
        code: unsafe extern "C" fn(*mut T) -> !,
        given: *mut T,
        stack: *mut MaybeUninit<Stack>,
    ) -> Option<Pid> {
        // SAFETY: all of it is numbers, for which zero says that nothing is asked for.
        let mut how: libc::clone_args = unsafe { zeroed() };
        how.flags = libc::CLONE_VM.unsigned_abs().into();
        how.exit_signal = libc::SIGCHLD.unsigned_abs().into();
        how.stack = stack.expose_provenance() as u64;
        how.stack_size = STACK_SIZE as u64;
        let result: i64;
        // SAFETY: in the parent a system call that changes only the registers that are named. The child begins behind it at the upper
        // end of its stack, which is aligned as calls need it, with the same registers otherwise; it does not return.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, {given}",
                "call {code}",
                "ud2",
                "2:",
                given = in(reg) given,
                code = in(reg) code,
                inlateout("rax") libc::SYS_clone3 => result,
                in("rdi") &raw const how,
                in("rsi") size_of::<libc::clone_args>(),
                // Not `lateout`: the child still needs what it is given.
                out("rcx") _,
                out("r11") _,
            );
        }
        // What is negative is the number of an error.
        Pid::from_raw(i32::try_from(result).ok()?.max(0))
    }

    /// Becomes a program, as by execve(2); answers the number of the error, and leaves errno alone.
    ///
    /// # Safety
    /// Those of execve(2).
    pub(in super::super) unsafe fn execute(
        file: *const c_char,
        words: *const *const c_char,
        environment: *const *const c_char,
    ) -> c_int {
        let result: i64;
        // SAFETY: a system call that reads what the caller promises, and changes only the registers that are named.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") libc::SYS_execve => result,
                in("rdi") file,
                in("rsi") words,
                in("rdx") environment,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        i32::try_from(-result).unwrap_or(libc::EINVAL)
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64")))]
mod sharing {
    use super::*;

    pub(super) unsafe fn clone<T>(
        _code: unsafe extern "C" fn(*mut T) -> !,
        _given: *mut T,
        _stack: *mut MaybeUninit<Stack>,
    ) -> Option<Pid> {
        None
    }

    /// Becomes a program, as by execve(2); answers the number of the error.
    ///
    /// # Safety
    /// Those of execve(2).
    pub(in super::super) unsafe fn execute(
        file: *const c_char,
        words: *const *const c_char,
        environment: *const *const c_char,
    ) -> c_int {
        // SAFETY: as the caller promises; the process is a copy, whose errno is its own.
        unsafe {
            libc::execve(file, words, environment);
            *libc::__errno_location()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (release, version) in [
            ("6.1.0-13-amd64", (6, 1)),
            ("5.16", (5, 16)),
            ("5.4.0-150-generic", (5, 4)),
            ("7-rc1", (7, 0)),
            ("", (0, 0)),
            ("unknown", (0, 0)),
        ] {
            assert_eq!(version_of(release.as_bytes()), version, "{release}");
        }
        assert!(version_of(b"5.4.0") < FIRST_VERSION && version_of(b"5.16.0") >= FIRST_VERSION);
    }
}
