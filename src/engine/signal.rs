//! Signals by name and number.
//!
//! Only names: sending and receiving them is `unix`'s.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::keyword::{did_you_mean, scalars};

/// A signal number of this system. Shown, and written to JSON, by its name: `SIGTERM`, `SIGRTMIN+3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// A timer of alarm(2).
    pub const ALRM: Signal = Signal(libc::SIGALRM);
    /// Abort.
    pub const ABRT: Signal = Signal(libc::SIGABRT);
    /// Bad memory access.
    pub const BUS: Signal = Signal(libc::SIGBUS);
    /// A child has ended, stopped or gone on.
    pub const CHLD: Signal = Signal(libc::SIGCHLD);
    /// Continue if stopped.
    pub const CONT: Signal = Signal(libc::SIGCONT);
    /// Arithmetic error.
    pub const FPE: Signal = Signal(libc::SIGFPE);
    /// The terminal went away.
    pub const HUP: Signal = Signal(libc::SIGHUP);
    /// Illegal instruction.
    pub const ILL: Signal = Signal(libc::SIGILL);
    /// Interrupt from the keyboard.
    pub const INT: Signal = Signal(libc::SIGINT);
    /// End at once; cannot be handled.
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// A write to what nobody reads.
    pub const PIPE: Signal = Signal(libc::SIGPIPE);
    /// Quit from the keyboard.
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    /// Invalid memory reference.
    pub const SEGV: Signal = Signal(libc::SIGSEGV);
    /// Stop; cannot be handled.
    pub const STOP: Signal = Signal(libc::SIGSTOP);
    /// Bad system call.
    pub const SYS: Signal = Signal(libc::SIGSYS);
    /// Please end.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// Trace trap.
    pub const TRAP: Signal = Signal(libc::SIGTRAP);
    /// Stop, from the keyboard.
    pub const TSTP: Signal = Signal(libc::SIGTSTP);
    /// Stop, for reading from the terminal in the background.
    pub const TTIN: Signal = Signal(libc::SIGTTIN);
    /// Stop, for writing to it there.
    pub const TTOU: Signal = Signal(libc::SIGTTOU);
    /// For the program's own use.
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    /// For the program's own use, too.
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    /// The terminal has another size.
    pub const WINCH: Signal = Signal(libc::SIGWINCH);
    /// CPU time limit.
    pub const XCPU: Signal = Signal(libc::SIGXCPU);
    /// File size limit.
    pub const XFSZ: Signal = Signal(libc::SIGXFSZ);

    /// Other spellings that `kill -l` of common systems knows.
    const ALIASES: [(&'static str, i32); 4] = [
        ("SIGIOT", libc::SIGABRT),
        ("SIGCLD", libc::SIGCHLD),
        ("SIGPOLL", libc::SIGIO),
        ("SIGUNUSED", libc::SIGSYS),
    ];

    /// The signal of that number, if the system has it.
    #[must_use]
    pub fn new(number: i32) -> Option<Signal> {
        (1..=libc::SIGRTMAX()).contains(&number).then_some(Signal(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// The exit status by which shells show a death by this signal: 128 and its number.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        128 + self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = signal_hook::low_level::signal_name(self.0) {
            return f.write_str(name);
        }
        match self.0 {
            libc::SIGSTKFLT => f.write_str("SIGSTKFLT"),
            libc::SIGPWR => f.write_str("SIGPWR"),
            number if number == libc::SIGRTMIN() => f.write_str("SIGRTMIN"),
            number if number > libc::SIGRTMIN() => {
                write!(f, "SIGRTMIN+{}", number - libc::SIGRTMIN())
            }
            number => write!(f, "SIG{number}"),
        }
    }
}

impl FromStr for Signal {
    type Err = String;

    /// Takes a name in any case, with or without `SIG`, or a number.
    fn from_str(text: &str) -> Result<Signal, String> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && let Ok(number) = text.parse::<i32>() {
            return Signal::new(number)
                .ok_or_else(|| format!("expected a signal number from 1 to {}", libc::SIGRTMAX()));
        }
        let name = text.to_ascii_uppercase();
        let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
        if let Some((_, number)) = Signal::ALIASES.iter().find(|(alias, _)| *alias == name) {
            return Ok(Signal(*number));
        }
        let all = || (1..=libc::SIGRTMAX()).map(Signal);
        all().find(|signal| signal.to_string() == name).ok_or_else(|| {
            // Without the prefix that they have in common, by which all of them would be near.
            let bare = |name: &str| name.trim_start_matches("SIG").to_owned();
            let names: Vec<String> = all().map(|signal| bare(&signal.to_string())).collect();
            let hint = did_you_mean(&bare(&name), names.iter().map(String::as_str));
            format!("expected a signal: a name such as `TERM` or `SIGTERM`, or a number{hint}")
        })
    }
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

scalars!(WordOrWhole: Signal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name_that_reads_back() {
        for number in 1..=libc::SIGRTMAX() {
            let signal = Signal(number);
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }

    #[test]
    fn real_time_signals_are_counted_from_the_first() {
        let first = libc::SIGRTMIN();
        assert_eq!(Signal(first).to_string(), "SIGRTMIN");
        assert_eq!(Signal(first + 3).to_string(), "SIGRTMIN+3");
        assert_eq!("RTMIN+3".parse().map(Signal::number), Ok(first + 3));
        // The C library keeps those before it to itself.
        assert_eq!(Signal(first - 1).to_string(), format!("SIG{}", first - 1));
    }

    #[test]
    fn names_are_read_in_any_case_and_without_sig() {
        for text in ["TERM", "term", "SIGTERM", "sigterm", "15"] {
            assert_eq!(text.parse(), Ok(Signal::TERM), "{text}");
        }
        for text in ["", "SIG", "0", "-1", "65", "TERMINATE", "SIGSIGTERM"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
