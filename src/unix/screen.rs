//! The whole screen of the terminal that controls us, as an editor takes it: drawn again and again, until it is given back as it was.
//!
//! What is shown, and what keys mean, is others'. Its escape sequences are those of ECMA-48, and of xterm for the other screen, the
//! cursor and the wrapping of long lines. Nothing that it writes is waited for so long that a signal would not be heard.

use std::collections::VecDeque;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize,
    tcsetattr,
};

use super::stop::stop;
use crate::engine::signal::Signal;

/// The other screen, no cursor, and lines that are cut where they are too long.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What a terminal has that does not say so.
const USUAL_SIZE: Size = Size { rows: 24, columns: 80 };

/// How long the rest of a key's sequence may take: an escape alone is a key, too.
const REST_OF_A_KEY: Duration = Duration::from_millis(50);

/// How long it may take to give the screen back.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Signals that are heard here: what tells us to stop, and what happens to us as a job or to the terminal.
const HEARD: [libc::c_int; 7] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Characters in each.
    pub columns: usize,
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// A page back.
    PageUp,
    /// A page on.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Enter, or Return.
    Enter,
    /// Escape.
    Escape,
    /// What is printed on it.
    Character(u8),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Somebody pressed a key.
    Pressed(Key),
    /// The screen has to be drawn again: its size has changed, or we were stopped.
    Disturbed,
    /// We are told to stop, or the terminal is gone.
    Told(Signal),
    /// Nothing, for so long.
    Nothing,
}

/// The screen.
pub struct Screen {
    tty: OwnedFd,
    modes: Termios,
    signals: OwnedFd,
    mask: libc::sigset_t,
    /// What was typed and not taken yet.
    typed: VecDeque<u8>,
}

/// Whether our stdin and stdout are terminals: then somebody sees and presses keys.
#[must_use]
pub fn is_there() -> bool {
    isatty(rustix::stdio::stdin()) && isatty(rustix::stdio::stdout())
}

impl Screen {
    /// Takes the screen.
    ///
    /// # Errors
    /// No terminal controls us, or it cannot be changed.
    pub fn open() -> io::Result<Screen> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = open("/dev/tty", flags, Mode::empty())?;
        let modes = tcgetattr(&tty)?;
        let (signals, mask) = hear()?;
        let mut screen = Screen { tty, modes, signals, mask, typed: VecDeque::new() };
        screen.enter()?;
        Ok(screen)
    }

    /// How much there is room for.
    #[must_use]
    pub fn size(&self) -> Size {
        match tcgetwinsize(&self.tty) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                Size { rows: size.ws_row.into(), columns: size.ws_col.into() }
            }
            Ok(_) | Err(_) => USUAL_SIZE,
        }
    }

    /// Draws lines, those that are marked in reverse. They have to fit, and to hold nothing but text.
    pub fn draw(&self, lines: &[(String, bool)]) {
        let mut text = String::from("\x1b[H");
        for (index, (line, is_marked)) in lines.iter().enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            match is_marked {
                true => text.extend(["\x1b[7m", line, "\x1b[0m\x1b[K"]),
                false => text.extend([line, "\x1b[K"]),
            }
        }
        text.push_str("\x1b[J");
        self.write(text.as_bytes());
    }

    /// Waits until something happens, but not for longer than this.
    ///
    /// # Errors
    /// The system refuses to wait.
    pub fn next(&mut self, within: Duration) -> io::Result<Happened> {
        loop {
            if let Some(key) = self.typed_key()? {
                return Ok(Happened::Pressed(key));
            }
            let [is_typed, is_told] = self.wait(PollFlags::IN, Some(within))?;
            if is_told && let Some(signal) = self.received() {
                return self.answer(signal);
            }
            if is_typed && !self.read() {
                return Ok(Happened::Told(Signal::HUP));
            }
            if !is_typed && !is_told {
                return Ok(Happened::Nothing);
            }
        }
    }

    fn answer(&mut self, signal: Signal) -> io::Result<Happened> {
        match signal {
            Signal::WINCH => Ok(Happened::Disturbed),
            Signal::TSTP => {
                self.leave();
                stop(signal);
                self.enter()?;
                Ok(Happened::Disturbed)
            }
            // Somebody else may have had the terminal.
            Signal::CONT => {
                self.enter()?;
                Ok(Happened::Disturbed)
            }
            _ => Ok(Happened::Told(signal)),
        }
    }

    /// Whether the terminal and the signals are ready.
    fn wait(&self, flags: PollFlags, within: Option<Duration>) -> io::Result<[bool; 2]> {
        let within = within.map(|within| Timespec::try_from(within).unwrap_or_default());
        let mut fds = [PollFd::new(&self.tty, flags), PollFd::new(&self.signals, PollFlags::IN)];
        match poll(&mut fds, within.as_ref()) {
            Ok(_) => Ok(fds.map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => Ok([false, true]),
            Err(error) => Err(error.into()),
        }
    }

    /// The next of the signals that came.
    fn received(&self) -> Option<Signal> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        let length = rustix::io::read(&self.signals, &mut info).ok()?;
        // Its first field is the number, in 32 bits.
        let number = info.get(..length)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))?;
        Signal::new(i32::try_from(number).ok()?)
    }

    /// Takes what is typed. Whether the terminal is still there.
    fn read(&mut self) -> bool {
        let mut bytes = [0u8; 256];
        match rustix::io::read(&self.tty, &mut bytes) {
            Ok(0) => false,
            Ok(length) => {
                self.typed.extend(bytes.iter().take(length));
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }

    /// The first key that was typed.
    fn typed_key(&mut self) -> io::Result<Option<Key>> {
        const ESCAPE: u8 = 0x1b;
        let Some(byte) = self.typed.pop_front() else { return Ok(None) };
        if byte != ESCAPE {
            return Ok(Some(match byte {
                b'\r' | b'\n' => Key::Enter,
                byte => Key::Character(byte),
            }));
        }
        if self.typed.is_empty() && self.wait(PollFlags::IN, Some(REST_OF_A_KEY))? == [true, false]
        {
            self.read();
        }
        match self.typed.front() {
            Some(b'[' | b'O') => match self.rest_of_a_sequence() {
                Some(key) => Ok(Some(key)),
                None => self.typed_key(),
            },
            Some(_) | None => Ok(Some(Key::Escape)),
        }
    }

    /// What a sequence of ECMA-48 or of the keypad says, if we know it: parameters, and a final byte.
    fn rest_of_a_sequence(&mut self) -> Option<Key> {
        self.typed.pop_front();
        let mut parameters = Vec::new();
        while let Some(byte) = self.typed.pop_front() {
            if !(0x40..=0x7e).contains(&byte) {
                parameters.push(byte);
                continue;
            }
            return match (parameters.as_slice(), byte) {
                (_, b'A') => Some(Key::Up),
                (_, b'B') => Some(Key::Down),
                (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
                (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
                (b"5", b'~') => Some(Key::PageUp),
                (b"6", b'~') => Some(Key::PageDown),
                _ => None,
            };
        }
        None
    }

    /// Takes the terminal. In the background that stops us, until we are in the foreground.
    fn enter(&mut self) -> io::Result<()> {
        let mut modes = self.modes.clone();
        // Keys come one by one, and are not shown. Ctrl-C and Ctrl-Z stay what they are.
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&self.tty, OptionalActions::Now, &modes)?;
        self.write(ENTER);
        Ok(())
    }

    /// Gives it back.
    fn leave(&self) {
        let mut fds = [PollFd::new(&self.tty, PollFlags::OUT)];
        let patience = Timespec::try_from(LAST_WORDS).unwrap_or_default();
        // Where nobody takes what was drawn, nobody sees it.
        if poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0) {
            let _full = rustix::io::write(&self.tty, LEAVE);
        }
        let _gone_with_its_terminal = tcsetattr(&self.tty, OptionalActions::Now, &self.modes);
    }

    /// Writes, as long as nobody tells us anything: the terminal may have been stopped by Ctrl-S.
    fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match rustix::io::write(self.tty.as_fd(), bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN) => match self.wait(PollFlags::OUT, None) {
                    Ok([true, false]) => {}
                    Ok(_) | Err(_) => return,
                },
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
        // SAFETY: the mask was written by sigprocmask.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.mask, ptr::null_mut()) };
    }
}

/// Has the signals told by a descriptor, and answers the mask of before.
fn hear() -> io::Result<(OwnedFd, libc::sigset_t)> {
    let (mut set, mut mask) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the set is initialised by sigemptyset, the mask by sigprocmask, which cannot fail with these arguments; a new
    // descriptor is ours alone.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for number in HEARD {
            libc::sigaddset(set.as_mut_ptr(), number);
        }
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), mask.as_mut_ptr());
        Ok((OwnedFd::from_raw_fd(fd), mask.assume_init()))
    }
}
