//! A new process that runs code of ours first: in our own memory, where the kernel and the machine have that, or in a copy.
//!
//! Of what a fork costs most is the copy of the map of our memory, and a fault at each page that one of us writes afterwards.
//! posix_spawn and vfork copy nothing, but let the parent sleep until the child executes; here both go on.

use std::ffi::{c_char, c_int};
use std::io;
use std::mem::MaybeUninit;

use rustix::process::Pid;

/// As much as the C library's posix_spawn takes for its child.
const STACK_SIZE: usize = 32 * 1024;

/// The stack of a process that shares our memory.
#[repr(align(16))]
pub(super) struct Stack {
    _bytes: [MaybeUninit<u8>; STACK_SIZE],
}

impl Stack {
    /// One of which no page is touched.
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
    // SAFETY: as the caller promises.
    if let Some(pid) = unsafe { sharing::clone(code, given, stack) } {
        return Ok(pid);
    }
    // The kernel is older than clone3 (5.3), or a filter of system calls refuses it; or it says now what is lacking.
    // SAFETY: as the caller promises.
    match unsafe { libc::fork() } {
        // SAFETY: as the caller promises.
        0 => unsafe { code(given) },
        pid => Pid::from_raw(pid.max(0)).ok_or_else(io::Error::last_os_error),
    }
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
