//! A child for the tests that does what its words say, one after the other: it speaks, forks, leaves, listens, dies.
//!
//! Whatever becomes of the test that started it, each of its processes ends within a minute.

use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;
use std::thread::sleep;
use std::time::Duration;

const LIFETIME: u32 = 60;

const NAMES: [(&str, libc::c_int); 29] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("SEGV", libc::SIGSEGV),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("XCPU", libc::SIGXCPU),
    ("STKFLT", libc::SIGSTKFLT),
    ("BUS", libc::SIGBUS),
    ("SYS", libc::SIGSYS),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    Actor::new().play(&words);
}

struct Actor {
    /// Signals on which listening ends, each with the status to exit with.
    exits: Vec<(libc::c_int, libc::c_int)>,
}

impl Actor {
    /// A process with a minute to live. By CPU-independent means that a listener for SIGALRM cannot hear.
    fn new() -> Actor {
        // SAFETY: plain numbers; the timer's places are of the right types. A child of fork inherits no timer.
        unsafe {
            let mut event = MaybeUninit::<libc::sigevent>::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            let mut timer = MaybeUninit::uninit();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) != 0 {
                fail("it cannot limit its life");
            }
            let mut time = MaybeUninit::<libc::itimerspec>::zeroed().assume_init();
            time.it_value.tv_sec = LIFETIME.into();
            libc::timer_settime(timer.assume_init(), 0, &time, ptr::null_mut());
        }
        Actor { exits: Vec::new() }
    }

    fn play(&mut self, words: &[String]) {
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            let (verb, value) = word.split_once('=').unwrap_or((word, ""));
            if verb == "fork" {
                let (inner, behind) = scene(rest);
                // SAFETY: there is one thread.
                if unsafe { libc::fork() } == 0 {
                    Actor::new().play(inner);
                    exit(0);
                }
                rest = behind;
            } else {
                self.act(verb, value);
            }
        }
    }

    fn act(&mut self, verb: &str, value: &str) {
        // SAFETY: plain numbers, and dispositions that run no code of ours.
        unsafe {
            match verb {
                "say" => write(1, value),
                "complain" => write(2, value),
                "pid" => write(1, &format!("{value} {}", libc::getpid())),
                "ignore" => drop(libc::signal(number(value), libc::SIG_IGN)),
                "exit-on" => {
                    let (name, status) = value.split_once(':').unwrap_or((value, "0"));
                    self.exits.push((number(name), integer(status)));
                }
                "listen" => self.listen(),
                "session" => drop(libc::setsid()),
                "group" => drop(libc::setpgid(0, 0)),
                "root" => drop(libc::setresuid(0, 0, 0)),
                "note" => drop(fs::write(value, format!("{}\n", libc::getpid()))),
                "touch" => drop(fs::write(value, "")),
                "await" => {
                    while fs::remove_file(Path::new(value)).is_err() {
                        sleep(Duration::from_millis(2));
                    }
                }
                "wait" => while libc::wait(ptr::null_mut()) > 0 {},
                "nap" => sleep(Duration::from_millis(u64::from(integer(value).unsigned_abs()))),
                "sleep" => loop {
                    libc::pause();
                },
                "close" => drop(libc::close(integer(value))),
                "stop" => drop(libc::raise(libc::SIGSTOP)),
                "exit" => exit(integer(value)),
                "die" => {
                    libc::signal(number(value), libc::SIG_DFL);
                    libc::raise(number(value));
                }
                "refork" => refork(),
                "open" => {
                    let path = CString::new(value).unwrap_or_default();
                    libc::open(path.as_ptr(), libc::O_RDWR);
                }
                _ => fail(&format!("it does not know how to {verb}")),
            }
        }
    }

    /// Names every signal that comes, but those that are ignored.
    fn listen(&self) {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the set is initialised by sigemptyset before it is used.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in (1..=libc::SIGRTMAX()).filter(|signal| !is_ignored(*signal)) {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let set = set.assume_init();
            libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut());
            set
        };
        write(1, "listening");
        loop {
            let mut signal = 0;
            // SAFETY: both places are of the right types.
            if unsafe { libc::sigwait(&set, &mut signal) } != 0 {
                continue;
            }
            write(1, &name(signal));
            if let Some((_, status)) = self.exits.iter().find(|(number, _)| *number == signal) {
                exit(*status);
            }
        }
    }
}

/// The words of a forked child, up to their `end`, and those behind it.
fn scene(words: &[String]) -> (&[String], &[String]) {
    let mut depth = 1;
    for (index, word) in words.iter().enumerate() {
        match word.as_str() {
            "fork" => depth += 1,
            "end" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let (inner, behind) = words.split_at(index);
            return (inner, behind.split_first().map_or(&[], |(_, behind)| behind));
        }
    }
    fail("a fork has no end")
}

/// Forks, and goes on in the child alone, again and again.
fn refork() {
    // Nobody else has much left while it does.
    let end = monotonic() + 10;
    while monotonic() < end {
        // SAFETY: there is one thread.
        match unsafe { libc::fork() } {
            0 => {}
            // Who cannot fork any more would live on.
            -1 => exit(1),
            _ => exit(0),
        }
    }
}

fn monotonic() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null new action the old one is only read, into a place of the right type.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn number(name: &str) -> libc::c_int {
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| fail(&format!("{name} is no signal")), |(_, number)| *number)
}

fn name(signal: libc::c_int) -> String {
    let found = NAMES.iter().find(|(_, number)| *number == signal);
    found.map_or_else(|| signal.to_string(), |(name, _)| (*name).to_owned())
}

fn integer(text: &str) -> libc::c_int {
    text.parse().unwrap_or_else(|_| fail(&format!("{text} is no number")))
}

/// A line, in one piece.
fn write(fd: libc::c_int, text: &str) {
    let line = format!("{text}\n");
    // SAFETY: the bytes are there, as many as said.
    unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) };
}

fn fail(message: &str) -> ! {
    write(2, &format!("actor: {message}"));
    exit(99)
}

fn exit(status: libc::c_int) -> ! {
    // SAFETY: plain numbers; nothing of ours waits to be written.
    unsafe { libc::_exit(status) }
}
