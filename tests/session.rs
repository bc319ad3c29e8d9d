//! A pseudo-terminal, what a person at it sees and presses, and the program that runs on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::test::path;

/// A command in a session of its own, with a pseudo-terminal as its controlling terminal.
pub struct Session {
    child: Child,
    terminal: File,
    screen: String,
}

impl Session {
    pub fn start(words: &[&str]) -> Session {
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
    pub fn wait_for(&mut self, text: &str) {
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

    pub fn press(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("keys can be pressed");
    }

    pub fn finish(mut self) -> (ExitStatus, String) {
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
