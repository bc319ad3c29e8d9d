//! One test of the real program: a folder and an environment of its own, and what came out.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use retryrun::engine::history::{Attempt, History};
use tempfile::TempDir;

/// The program under test.
pub const RETRYRUN: &str = env!("CARGO_BIN_EXE_retryrun");

/// Our own scripted child: see `tests/actor/main.rs`.
pub fn actor() -> String {
    let folder = Path::new(RETRYRUN).parent().expect("it lies in a folder");
    let actor = folder.join("examples/actor");
    assert!(actor.exists(), "`cargo test` or `cargo build --examples` builds {}", actor.display());
    actor.into_os_string().into_string().expect("the path is text")
}

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

/// Where a program that is built to measure coverage writes it; nothing otherwise.
#[expect(clippy::disallowed_methods, reason = "only such a build sets it")]
pub fn profile() -> Option<(&'static str, OsString)> {
    const NAME: &str = "LLVM_PROFILE_FILE";
    std::env::var_os(NAME).map(|file| (NAME, file))
}

/// The time now, for promises about how long something takes at most.
#[expect(clippy::disallowed_methods, reason = "tests hold us to our limits from outside")]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
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
    stdout: Box<dyn BufRead + Send>,
    stderr: Box<dyn BufRead + Send>,
    /// Processes of which it has told, and for which nobody has asked yet.
    told: HashMap<String, Process>,
    folder: Option<TempDir>,
}

impl Test {
    /// With these options and the command's words.
    pub fn new<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Test {
        Test::of(RETRYRUN, words)
    }

    /// Another program, that starts ours.
    pub fn of<W: AsRef<OsStr>>(program: &str, words: impl IntoIterator<Item = W>) -> Test {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", path())
            .env("HOME", folder.path())
            .envs(profile())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: setsid and signal are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                listen_like_anybody();
                rustix::process::setsid().map(|_| ()).map_err(Into::into)
            });
        }
        Test { command, folder }
    }

    /// A script for bash that finds our program in `$R`.
    pub fn shell(script: &str) -> Test {
        Test::of("bash", ["-c", script]).env("R", RETRYRUN)
    }

    /// As [`Test::new`], with a script for `bash -c` as the command.
    pub fn bash(options: &[&str], script: &str) -> Test {
        Test::new(options.iter().copied().chain(["--", "bash", "-c", script]))
    }

    /// As [`Test::new`], with the words of a script for our actor.
    pub fn actor(options: &[&str], script: &str) -> Test {
        let actor = actor();
        let words = options.iter().copied().chain(["--", &actor]).chain(script.split_whitespace());
        Test::new(words)
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

    /// Runs it, and looks at its folder before that is removed.
    pub fn run_with<T>(self, look: impl FnOnce(&Path) -> T) -> (Ran, T) {
        let folder = self.folder.path().to_owned();
        self.start().finish_with(|| look(&folder))
    }

    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("the program under test");
        Running {
            stdout: reader(child.stdout.take()),
            stderr: reader(child.stderr.take()),
            child,
            told: HashMap::new(),
            folder: Some(self.folder),
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

    /// The first attempt of the history.
    pub fn first_attempt(&self) -> Attempt {
        self.history().attempts.into_iter().next().expect("there was one")
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
        let mut line = String::new();
        if self.stdout.read_line(&mut line).expect("it can be read") == 0 {
            let mut said = String::new();
            self.stderr.read_to_string(&mut said).expect("it can be read");
            panic!("it ended before a line of stdout came: {said}");
        }
        line
    }

    /// Waits for a line of stderr that contains `text`.
    pub fn stderr_with(&mut self, text: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("it can be read");
            assert!(read > 0, "it ended before it said `{text}`: {said}");
            if line.contains(text) {
                return line;
            }
            said += &line;
        }
    }

    /// Waits for lines `NAME PID` of stdout, one for each name, in any order.
    pub fn pids<const N: usize>(&mut self, names: [&str; N]) -> [Process; N] {
        while names.iter().any(|name| !self.told.contains_key(*name)) {
            let line = self.stdout_line();
            if let Some((name, pid)) = line.trim().split_once(' ') {
                self.told.insert(name.to_owned(), Process::of(pid.parse().expect("a pid")));
            }
        }
        names.map(|name| self.told.remove(name).expect("its line has come"))
    }

    /// Waits for our end alone: others may still hold the output.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
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

impl Running {
    /// Waits for the end, and looks at the folder before it is removed.
    pub fn finish_with<T>(mut self, look: impl FnOnce() -> T) -> (Ran, T) {
        let folder = self.folder.take();
        let ran = self.finish();
        let seen = look();
        drop(folder);
        (ran, seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A no-op for one that was waited for. Its command dies with it.
        let _already_ended = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

/// What comes out; nothing where the test put something else in the place of the pipe.
fn reader(output: Option<impl Read + Send + 'static>) -> Box<dyn BufRead + Send> {
    match output {
        Some(output) => Box::new(BufReader::new(output)),
        None => Box::new(std::io::empty()),
    }
}

/// A process that a run told of; killed, if it still lives, when the test ends.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    started: Option<String>,
}

impl Process {
    pub fn of(pid: i32) -> Process {
        Process { pid, started: state(pid).map(|(_, started)| started) }
    }

    /// The letter of its state in `/proc`; none if it has ended.
    pub fn state(&self) -> Option<String> {
        let (state, _) = state(self.pid).filter(|(_, now)| Some(now) == self.started.as_ref())?;
        Some(state).filter(|state| state != "Z" && state != "X")
    }

    pub fn lives(&self) -> bool {
        self.state().is_some()
    }

    /// Waits until it is in a state.
    pub fn wait_for_state(&self, state: &str) {
        wait_until(&format!("{self:?} is in state {state}"), || {
            self.state().as_deref() == Some(state)
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid).filter(|_| self.lives()) {
            let _ended_meanwhile =
                rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Of proc_pid_stat(5): the state and, 20th behind the name, the start time.
fn state(pid: i32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace().map(str::to_owned);
    Some((fields.next()?, fields.nth(18)?))
}

/// A copy of a program that can be run at once. Not by ourselves: a process that another test forks meanwhile would hold it open for
/// writing.
pub fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

/// What whoever runs the tests has ignored, as in the background, is ignored no more: all runs are alike, as without his terminal.
pub fn listen_like_anybody() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: a disposition that runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// The child of a process that has one.
pub fn child_of(pid: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.trim().parse().ok()
}

/// Waits for something that tells nobody when it happens.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if happened() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("not in half a minute: {what}");
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

/// Says what was not tested here.
#[expect(clippy::print_stderr, reason = "whoever reads a test's output learns what was not tested")]
pub fn say(text: &str) {
    eprintln!("{text}");
}
