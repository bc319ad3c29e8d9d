//! On a terminal: a real pseudo-terminal, and what a person at it sees and presses.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::test::{RETRYRUN, path};

/// A command in a session of its own, with a pseudo-terminal as its controlling terminal.
struct Session {
    child: Child,
    terminal: File,
    screen: String,
}

impl Session {
    fn start(words: &[&str]) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("a pseudo-terminal");
        unlockpt(&master).expect("a pseudo-terminal");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("its name is text");
        let open = || File::options().read(true).write(true).open(&name).expect("it opens");
        let terminal: OwnedFd = open().into();
        let controlling = terminal.as_fd().try_clone_to_owned().expect("a second descriptor");
        let (program, arguments) = words.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs([("PATH", path()), ("TERM", "xterm".to_owned())])
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(terminal));
        // SAFETY: setsid and ioctl are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(&controlling)?;
                Ok(())
            });
        }
        let child = command.spawn().expect("it starts");
        // The handles that would keep the terminal alive after the command.
        drop(command);
        Session { child, terminal: master.into(), screen: String::new() }
    }

    /// Reads until `text` has appeared.
    fn wait_for(&mut self, text: &str) {
        while !self.screen.contains(text) {
            assert!(self.read() > 0, "it ended without {text:?}: {:?}", self.screen);
        }
    }

    fn read(&mut self) -> usize {
        let mut buffer = [0; 4096];
        // A terminal whose last user has gone is an error (EIO).
        let read = self.terminal.read(&mut buffer).unwrap_or(0);
        self.screen += &String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
        read
    }

    fn press(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("keys can be pressed");
    }

    fn finish(mut self) -> (ExitStatus, String) {
        while self.read() > 0 {}
        let status = self.child.wait().expect("it is our child");
        (status, std::mem::take(&mut self.screen))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

#[test]
fn the_command_has_the_terminal() {
    let script = "read -p 'name? ' name </dev/tty; echo \"hello $name\"; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo tty";
    let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", script]);
    session.wait_for("name? ");
    session.press("you\n");
    let (status, screen) = session.finish();
    assert!(status.success(), "{screen}");
    assert!(screen.ends_with("hello you\r\ntty\r\n"), "{screen:?}");
}

#[test]
fn ctrl_c_reaches_the_command_once_and_ends_the_run() {
    let script = "trap 'echo caught; exit 7' INT; echo up; while :; do sleep 0.05; done";
    let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", script]);
    session.wait_for("up");
    session.press("\u{3}");
    let (status, screen) = session.finish();
    assert_eq!(status.code(), Some(7), "{screen}");
    assert_eq!(screen.matches("caught\r\n").count(), 1, "{screen}");
    assert!(screen.contains("interrupted by SIGINT"), "{screen}");
}

#[test]
fn ctrl_c_of_a_command_that_does_not_handle_it_kills_both() {
    let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", "echo up; exec sleep 1000"]);
    session.wait_for("up");
    session.press("\u{3}");
    let (status, screen) = session.finish();
    assert_eq!(status.signal(), Some(libc::SIGINT), "{screen}");
}

#[test]
fn ctrl_c_ends_a_script_around_us() {
    let script = format!("{RETRYRUN} -- bash -c 'echo up; exec sleep 1000'; echo went on");
    let mut session = Session::start(&["bash", "-c", &script]);
    session.wait_for("up");
    session.press("\u{3}");
    let (_, screen) = session.finish();
    assert!(!screen.contains("went on"), "{screen}");
}

#[test]
fn a_timeout_ends_the_tree_and_spares_the_script_around_us() {
    let script = format!(
        "{RETRYRUN} -n0 -t0.3 -k0.2 --history=never -- bash -c 'sleep 1000 & sleep 1000'; echo status $?"
    );
    let (status, screen) = Session::start(&["bash", "-c", &script]).finish();
    assert!(status.success(), "{screen}");
    assert!(screen.ends_with("status 124\r\n"), "{screen:?}");
}

#[test]
fn on_a_terminal_the_history_is_indented_and_our_lines_are_coloured() {
    let (_, screen) = Session::start(&[RETRYRUN, "-n0", "false"]).finish();
    assert!(screen.contains("\r\n{\r\n  \"schema\": \"retryrun.history/1\",\r\n"), "{screen}");
    assert!(screen.ends_with("\r\n}\r\n"), "{screen}");
    assert!(screen.starts_with("\u{1b}["), "{screen:?}");
}
