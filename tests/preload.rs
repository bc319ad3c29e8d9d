//! Functions that stand before those of libc, so that a moment lasts until a test has used it, or a clock shows what a test wants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::test::Test;

/// A moment in the life of a new process.
#[derive(Clone, Copy)]
pub enum Moment {
    /// It is about to be made.
    Ordered,
    /// The same, with all signals blocked.
    Blocked,
    /// It has not yet asked to die with us, and nothing of ours is undone for the command.
    Forked,
    /// It could not execute a file that somebody writes.
    Busy,
}

/// Adds to the file `moments` that there is one, and goes on when there is a file `go`. Whatever becomes of the test, in half a minute.
/// Where the new process shares our memory, errno is ours, and stays as it is.
const HOLD: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long call(long number, long a, long b, long c, long d) {
#ifdef __x86_64__
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
    return result;
#else
    return syscall(number, a, b, c, d);
#endif
}
static void hold(void) {
    int file = call(SYS_openat, AT_FDCWD, (long)"moments", O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    call(SYS_write, file, (long)".", 1, 0);
    call(SYS_close, file, 0, 0, 0);
    struct timespec pause = {0, 5000000};
    for (int i = 0; i < 6000 && call(SYS_faccessat, AT_FDCWD, (long)"go", F_OK, 0); i++)
        call(SYS_nanosleep, (long)&pause, 0, 0, 0);
}
"#;

/// What comes meanwhile is let through at its end.
const ORDERED: &str = "
int sigprocmask(int how, const sigset_t *set, sigset_t *old) {
    if (how == SIG_SETMASK && old) {
        unsigned long all = -1, before;
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
        hold();
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, 0, 8);
    }
    return syscall(SYS_rt_sigprocmask, how, set, old, 8);
}
";

const BLOCKED: &str = "
int sigpending(sigset_t *set) {
    hold();
    return syscall(SYS_rt_sigpending, set, 8);
}
";

const FORKED: &str = "
int prctl(int option, ...) {
    va_list rest;
    va_start(rest, option);
    unsigned long a = va_arg(rest, unsigned long), b = va_arg(rest, unsigned long);
    unsigned long c = va_arg(rest, unsigned long), d = va_arg(rest, unsigned long);
    va_end(rest);
    if (option == PR_SET_PDEATHSIG) hold();
    return option == PR_SET_PDEATHSIG ? call(SYS_prctl, option, a, 0, 0) : syscall(SYS_prctl, option, a, b, c, d);
}
";

const BUSY: &str = "
int nanosleep(const struct timespec *time, struct timespec *rest) {
    hold();
    return call(SYS_nanosleep, (long)time, (long)rest, 0, 0);
}
";

/// Whenever somebody looks at the calendar, somebody else has set it by ten more days: ahead, or back where there is a file `back`.
const JUMP: &str = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    static long looks = 0;
    int result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += (access("back", F_OK) ? 864000 : -864000) * ++looks;
    return result;
}
"#;

/// The test with a moment that lasts: its file, and the one that ends it.
pub fn held(test: Test, moment: Moment) -> (Test, PathBuf, PathBuf) {
    let (moments, go) = (test.path("moments"), test.path("go"));
    let library = holding(&test.path("."), moment);
    (test.env("LD_PRELOAD", library), moments, go)
}

/// What has to be loaded so that a moment lasts.
pub fn holding(folder: &Path, moment: Moment) -> PathBuf {
    let source = match moment {
        Moment::Ordered => ORDERED,
        Moment::Blocked => BLOCKED,
        Moment::Forked => FORKED,
        Moment::Busy => BUSY,
    };
    compiled(folder, &[HOLD, source].concat())
}

/// The test with a calendar that jumps.
pub fn with_jumps(test: Test) -> Test {
    let library = compiled(&test.path("."), JUMP);
    test.env("LD_PRELOAD", library)
}

fn compiled(folder: &Path, source: &str) -> PathBuf {
    let (file, library) = (folder.join("preload.c"), folder.join("preload.so"));
    fs::write(&file, source).expect("a file");
    let status = Command::new("gcc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([&library, &file])
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("gcc runs").success());
    library
}
