//! One test of the real program: a folder and an environment of its own, and what came out.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use retryrun::engine::history::History;
use tempfile::TempDir;

/// The program under test.
pub const RETRYRUN: &str = env!("CARGO_BIN_EXE_retryrun");

/// A run of the program that has not begun.
pub struct Test {
    command: Command,
    folder: TempDir,
}

/// Where programs are found.
#[expect(clippy::disallowed_methods, reason = "tests run what is installed")]
pub fn path() -> String {
    std::env::var("PATH").expect("PATH is text")
}

/// What came out of a run.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A run that goes on; ended, if it still is, when the test ends.
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    _folder: TempDir,
}

impl Test {
    /// With these options and the command's words.
    pub fn new<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Test {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut command = Command::new(RETRYRUN);
        command
            .args(words)
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: setsid is async-signal-safe. Without a terminal of whoever runs the tests, all runs are alike.
        unsafe {
            command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(Into::into));
        }
        Test { command, folder }
    }

    /// As [`Test::new`], with a script for `bash -c` as the command.
    pub fn bash(options: &[&str], script: &str) -> Test {
        Test::new(options.iter().copied().chain(["--", "bash", "-c", script]))
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Test {
        self.command.env(name, value);
        self
    }

    /// With a file in the test's folder, which is the run's working folder and its home.
    pub fn file(self, name: &str, content: &str) -> Test {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
        self
    }

    /// With other changes to how the program is started.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Test {
        change(&mut self.command);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(self) -> Ran {
        self.start().finish()
    }

    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("the program under test");
        Running {
            stdout: BufReader::new(child.stdout.take().expect("it is piped")),
            stderr: BufReader::new(child.stderr.take().expect("it is piped")),
            child,
            _folder: self.folder,
        }
    }
}

impl Ran {
    /// The exit code; none if it died of a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that it died of.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The history: the last line of stderr.
    pub fn history(&self) -> History {
        let last = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {:?}", self.stderr))
    }

    /// Stderr without the history.
    pub fn lines(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| !line.starts_with('{')).collect()
    }
}

impl Running {
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Sends us a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it runs");
    }

    /// Writes to its stdin, which was made a pipe.
    pub fn write_stdin(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("it was made a pipe");
        stdin.write_all(text.as_bytes()).expect("it is read");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for a line of stdout.
    pub fn stdout_line(&mut self) -> String {
        line_of(&mut self.stdout)
    }

    /// Waits for a line of stderr that contains `text`.
    pub fn stderr_with(&mut self, text: &str) -> String {
        loop {
            let line = line_of(&mut self.stderr);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for the end, and for the end of whatever holds its output.
    pub fn finish(mut self) -> Ran {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let stdout = &mut self.stdout;
        let stderr = &mut self.stderr;
        std::thread::scope(|scope| {
            scope.spawn(|| stdout.read_to_end(&mut out).expect("stdout can be read"));
            stderr.read_to_end(&mut err).expect("stderr can be read");
        });
        let status = self.child.wait().expect("it is our child");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { status, stdout: text(&out), stderr: text(&err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A no-op for one that was waited for. Its command dies with it.
        let _already_ended = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

fn line_of(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    let read = reader.read_line(&mut line).expect("it can be read");
    assert!(read > 0, "it ended before the line came that was waited for");
    line
}

/// A script that counts its runs in a file and then does what is said for that run: the last one repeats.
pub fn steps(steps: &[&str]) -> String {
    let cases: String = steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let pattern =
                if index + 1 == steps.len() { "*".to_owned() } else { (index + 1).to_string() };
            format!("{pattern}) {step};; ")
        })
        .collect();
    format!("n=$(($(cat n 2>/dev/null) + 1)); echo $n >n; case $n in {cases} esac")
}
