//! A pseudo-terminal, what a person at it sees and presses, and the program that runs on it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tempfile::TempDir;

use crate::test::{RETRYRUN, listen_like_anybody, path, profile};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command in a session of its own, with a pseudo-terminal as its controlling terminal and a folder of its own.
pub struct Session {
    child: Child,
    terminal: Option<File>,
    bytes: Vec<u8>,
    /// How much of it was waited for.
    seen: usize,
    folder: TempDir,
}

impl Session {
    pub fn start(words: &[&str]) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&master).expect("a pseudo-terminal");
        unlockpt(&master).expect("a pseudo-terminal");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("its name is text");
        let open = || File::options().read(true).write(true).open(&name).expect("it opens");
        let terminal: OwnedFd = open().into();
        resize(&terminal, 24, 80);
        let controlling = terminal.as_fd().try_clone_to_owned().expect("a second descriptor");
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (program, arguments) = words.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .envs([("PATH", path()), ("TERM", "xterm".to_owned())])
            .envs([("R", RETRYRUN), ("PS1", "$ "), ("LC_ALL", "C")])
            .env("HOME", folder.path())
            .envs(profile())
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(terminal));
        // SAFETY: setsid, signal and ioctl are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                listen_like_anybody();
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(&controlling)?;
                Ok(())
            });
        }
        let child = command.spawn().expect("it starts");
        // The handles that would keep the terminal alive after the command.
        drop(command);
        Session { child, terminal: Some(master.into()), bytes: Vec::new(), seen: 0, folder }
    }

    /// A bash with job control that does not show what is typed. `$R` is the program under test.
    pub fn shell() -> Session {
        let mut shell = Session::start(&["bash", "--norc", "--noprofile", "--noediting", "-i"]);
        shell.line("stty -echo; echo rea''dy");
        shell.wait_for("ready");
        shell
    }

    /// A script, which is no person's and so has no job control. `$R` is the program under test.
    pub fn script(script: &str) -> Session {
        Session::start(&["bash", "-c", script])
    }

    /// Reads until `text` has appeared, after what was waited for before.
    #[expect(
        clippy::disallowed_methods,
        reason = "only to notice what hangs, and shows a line that changes"
    )]
    pub fn wait_for(&mut self, text: &str) {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            assert!(began.elapsed() < PATIENCE, "waited in vain for {text:?}: {screen:?}");
            let new = self.bytes.get(self.seen..).unwrap_or_default();
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            assert!(self.read() > 0, "it ended without {text:?}: {:?}", self.screen());
        }
    }

    /// Waits for `text`, and answers the number that follows it in brackets.
    pub fn number_after(&mut self, text: &str) -> i32 {
        self.wait_for(&format!("{text}["));
        let from = self.seen;
        self.wait_for("]");
        let number = self.bytes.get(from..self.seen - 1).unwrap_or_default();
        String::from_utf8_lossy(number).parse().expect("a number")
    }

    fn read(&mut self) -> usize {
        let Some(terminal) = &mut self.terminal else { return 0 };
        let patience = Timespec::try_from(PATIENCE).expect("it is not long");
        let mut fds = [PollFd::new(terminal, PollFlags::IN)];
        let polled = poll(&mut fds, Some(&patience)).expect("it can be waited for");
        assert!(polled > 0, "it hangs: {:?}", String::from_utf8_lossy(&self.bytes));
        let mut buffer = [0; 65536];
        // A terminal whose last user has gone is an error (EIO).
        let read = terminal.read(&mut buffer).unwrap_or(0);
        self.bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
        read
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// What the terminal shows of it by now, row by row, without blanks at the ends.
    pub fn shown(&self, rows: u16, columns: u16) -> Vec<String> {
        shown(&self.bytes, rows, columns)
    }

    /// Whether the terminal gives lines, and shows what is typed.
    pub fn modes(&self) -> (bool, bool) {
        let terminal = self.terminal.as_ref().expect("it was not closed");
        let modes = tcgetattr(terminal).expect("a terminal has modes").local_modes;
        (modes.contains(LocalModes::ICANON), modes.contains(LocalModes::ECHO))
    }

    pub fn press(&mut self, keys: &str) {
        let mut terminal = self.terminal.as_ref().expect("it was not closed");
        terminal.write_all(keys.as_bytes()).expect("keys can be pressed");
    }

    /// Types a line.
    pub fn line(&mut self, line: &str) {
        self.press(&format!("{line}\n"));
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        resize(self.terminal.as_ref().expect("it was not closed"), rows, columns);
    }

    /// Closes the window.
    pub fn hang_up(&mut self) {
        self.terminal = None;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn pid(&self) -> i32 {
        rustix::process::Pid::from_child(&self.child).as_raw_nonzero().get()
    }

    /// Waits for the end of the command, and of all others that hold the terminal.
    pub fn finish(mut self) -> (ExitStatus, String) {
        self.read_to_end();
        (self.wait(), self.screen())
    }

    /// Reads until nobody has the terminal any more.
    pub fn read_to_end(&mut self) -> &[u8] {
        while self.read() > 0 {}
        &self.bytes
    }

    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("its end", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

/// What a terminal shows to which these bytes are written.
fn shown(bytes: &[u8], rows: u16, columns: u16) -> Vec<String> {
    let size = |count| NonZero::new(count).expect("it has a size");
    let mut parser = vt100::Parser::new(size(rows), size(columns), 0);
    parser.process(bytes);
    let shown = parser.screen().rows(0, columns).map(|row| row.trim_end().to_owned());
    let mut shown: Vec<String> = shown.collect();
    while shown.last().is_some_and(String::is_empty) {
        shown.pop();
    }
    shown
}

fn resize(terminal: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}

/// Looks again and again until something has come true.
#[expect(clippy::disallowed_methods, reason = "only to notice what hangs")]
pub fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fields of /proc/PID/stat from the third, the state, on; none of a process that is gone.
pub fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// `R`, `S`, `T` and so on; `X` for a process that is gone.
pub fn state(pid: i32) -> String {
    stat(pid).and_then(|stat| stat.first().cloned()).unwrap_or_else(|| "X".to_owned())
}

/// The living processes of a session.
pub fn members(session: i32) -> Vec<i32> {
    let folder = fs::read_dir("/proc").expect("there is a /proc");
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let session = session.to_string();
    pids.filter(|pid| {
        stat(*pid).is_some_and(|stat| {
            stat.get(3) == Some(&session) && stat.first().is_none_or(|state| state != "Z")
        })
    })
    .collect()
}

/// Sends a signal to a process, or to a group as its negative.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: plain numbers.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "kill {pid}: {}", std::io::Error::last_os_error());
}

impl Drop for Session {
    fn drop(&mut self) {
        // Its number is its session's, and nobody else's until it is reaped.
        for pid in members(self.pid()) {
            // SAFETY: plain numbers.
            let _already_ended = unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let _already_ended = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}
