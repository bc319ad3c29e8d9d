//! One stream of a command: from its end to where it goes, byte for byte.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::task::{Context, Poll, ready};

use super::logs::{Content, Log};
use super::spool::Spool;
use super::tail::Tail;
use crate::engine::output::Stream;
use crate::patterns::Matcher;
use crate::patterns::delay::DelaySearch;
use crate::unix::lines::Stderr;
use crate::unix::outlet::{Moved, Outlet};
use crate::unix::output::{Channel, Output};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// As much as a pipe can hold: what the command wrote is no more, and what others write has no end.
const LAST_CALL: usize = 1024 * 1024;

/// How much is moved at once, if there is so much.
const MOVED: usize = 1024 * 1024;

/// A stream, and what of it was read and not yet written.
pub(super) struct Relay {
    pub(super) output: Output,
    stream: Stream,
    pub(super) channel: Channel,
    /// What is there is still read, but no more than this, and then no more.
    last_call: Option<usize>,
    /// How much of what the command itself has written is not taken yet, once it has ended.
    owed: usize,
    /// What is not taken at once is dropped.
    pub(super) is_impatient: bool,
    sink: Sink,
    /// Whether it goes where our own lines go.
    is_at_our_lines: bool,
    log: Option<Log>,
    tail: Option<Tail>,
    buffer: Box<[u8]>,
    pending: Range<usize>,
    is_stalled: bool,
    /// Nobody looks at what goes through, and the kernel can move it.
    is_moved: bool,
}

/// Where a stream goes.
pub(super) enum Sink {
    /// On to ours.
    Outlet(Outlet),
    /// Into the spool.
    Held,
}

/// Who else wants what goes through, for all streams of a run.
pub(super) struct Readers<'a> {
    pub(super) held: &'a mut Spool,
    pub(super) matcher: Option<&'a mut Matcher>,
    pub(super) delay: Option<&'a mut DelaySearch>,
}

/// What happened to a stream.
pub(super) enum Step {
    /// Something was written, and taken.
    Wrote,
    /// Something was written, and is not taken.
    Stalled,
    /// It is at its end.
    Ended,
    /// Somebody still has it, and is not listened to any more.
    Held,
    /// Ours does not take it.
    Refused(io::Error),
    /// It cannot be held back.
    Unheld(io::Error),
    /// The log cannot be written.
    Unlogged(io::Error),
}

/// What rules call an output.
pub(super) fn stream_of(output: Output) -> Stream {
    match output {
        Output::Stdout => Stream::Stdout,
        Output::Stderr => Stream::Stderr,
    }
}

fn unread() -> Step {
    Step::Refused(io::Error::new(ErrorKind::TimedOut, "nobody reads it"))
}

impl Relay {
    pub(super) fn open(
        output: Output,
        content: Content,
        sink: Sink,
        log: Option<Log>,
        tail: usize,
        is_searched: bool,
    ) -> io::Result<Relay> {
        let has_tail = tail > 0 && content != Content::Stdout;
        let channel = Channel::open(output)?;
        let can_be_moved = match &sink {
            Sink::Outlet(outlet) => outlet.can_be_moved_to() && channel.can_be_moved(),
            Sink::Held => channel.can_be_moved(),
        };
        Ok(Relay {
            output,
            stream: stream_of(output),
            channel,
            is_at_our_lines: content != Content::Stdout,
            is_moved: can_be_moved && !has_tail && log.is_none() && !is_searched,
            last_call: None,
            owed: 0,
            is_impatient: false,
            sink,
            log,
            tail: has_tail.then(|| Tail::new(tail)),
            buffer: vec![0; CHUNK].into(),
            pending: 0..0,
            is_stalled: false,
        })
    }

    /// Whether it has something that is not taken.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// The command has ended: what is there may be its own. What comes later is others'.
    pub(super) fn note_the_end(&mut self) {
        self.owed = self.pending.len() + self.channel.waiting().unwrap_or(LAST_CALL);
    }

    /// What is there is still read, and no more.
    pub(super) fn begin_last_call(&mut self) {
        self.last_call.get_or_insert(LAST_CALL);
    }

    /// The same, but what others wrote is dropped, whoever reads it: it may have no end.
    pub(super) fn keep_the_commands_own(&mut self) {
        self.pending.end = self.pending.end.min(self.pending.start + self.owed);
        let rest = self.owed - self.pending.len();
        self.last_call = Some(self.last_call.map_or(rest, |last_call| last_call.min(rest)));
    }

    /// The end of what went through, where it is kept.
    pub(super) fn take_tail(&mut self) -> Option<Tail> {
        self.tail.take()
    }

    /// Reads and writes until there is something to tell. While our reader is stalled nothing is read, so that the command
    /// stalls, too, as it would without us.
    pub(super) fn poll_step(
        &mut self,
        context: &mut Context<'_>,
        readers: &mut Readers<'_>,
    ) -> Poll<Step> {
        loop {
            let pending = self.buffer.get(self.pending.clone()).unwrap_or_default();
            if !pending.is_empty() {
                match &self.sink {
                    Sink::Held => match readers.held.append(pending) {
                        Ok(()) => {
                            self.owed = self.owed.saturating_sub(pending.len());
                            self.pending = 0..0;
                        }
                        Err(error) => return Poll::Ready(Step::Unheld(error)),
                    },
                    Sink::Outlet(outlet) => match outlet.poll_write(context, pending) {
                        Poll::Ready(Ok(written)) => {
                            if self.is_at_our_lines {
                                Stderr::note(pending.get(..written).unwrap_or_default());
                            }
                            self.owed = self.owed.saturating_sub(written);
                            self.pending.start += written;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Step::Refused(error)),
                        Poll::Pending if self.is_impatient => return Poll::Ready(unread()),
                        Poll::Pending if self.is_stalled => return Poll::Pending,
                        Poll::Pending => {
                            self.is_stalled = true;
                            return Poll::Ready(Step::Stalled);
                        }
                    },
                }
                if self.pending.is_empty() {
                    self.is_stalled = false;
                    return Poll::Ready(Step::Wrote);
                }
                continue;
            }
            if self.is_moved && self.last_call.is_none() {
                let moved = match &self.sink {
                    Sink::Outlet(_) => self.poll_move(context),
                    Sink::Held => self.poll_hold(context, readers.held),
                };
                if let Some(step) = ready!(moved) {
                    return Poll::Ready(step);
                }
            }
            let read = match self.last_call {
                None => ready!(self.channel.poll_read(context, &mut self.buffer)),
                Some(rest) => {
                    // Whether it is at its end is asked for in any case.
                    let most = rest.clamp(1, CHUNK);
                    self.channel.read_now(self.buffer.get_mut(..most).unwrap_or_default())
                }
            };
            match read {
                Ok(0) => return Poll::Ready(Step::Ended),
                Ok(_) if self.last_call == Some(0) => return Poll::Ready(Step::Held),
                Ok(length) => {
                    self.pending = 0..length;
                    self.last_call = self.last_call.map(|rest| rest.saturating_sub(length));
                    if let Some(error) = self.look(length, readers) {
                        return Poll::Ready(Step::Unlogged(error));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Poll::Ready(Step::Held);
                }
                Err(_) => return Poll::Ready(Step::Ended),
            }
        }
    }

    /// Lets the kernel move what is there; nothing where it cannot, and then it is copied.
    fn poll_move(&mut self, context: &mut Context<'_>) -> Poll<Option<Step>> {
        let Sink::Outlet(outlet) = &self.sink else { return Poll::Ready(None) };
        match ready!(self.channel.poll_move(context, outlet, MOVED)) {
            Ok(Moved::Bytes(0)) => Poll::Ready(Some(Step::Ended)),
            Ok(Moved::Bytes(length)) => {
                if self.is_at_our_lines {
                    Stderr::lose_track();
                }
                self.owed = self.owed.saturating_sub(length);
                self.is_stalled = false;
                Poll::Ready(Some(Step::Wrote))
            }
            Ok(Moved::NoRoom) if self.is_impatient => Poll::Ready(Some(unread())),
            Ok(Moved::NoRoom) if self.is_stalled => Poll::Pending,
            Ok(Moved::NoRoom) => {
                self.is_stalled = true;
                Poll::Ready(Some(Step::Stalled))
            }
            Ok(Moved::Refused) => Poll::Ready(None),
            // Such as a file that is appended to.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                self.is_moved = false;
                Poll::Ready(None)
            }
            Err(error) => Poll::Ready(Some(Step::Refused(error))),
        }
    }

    /// The same, into the spool, as soon as that has a file.
    fn poll_hold(&mut self, context: &mut Context<'_>, held: &mut Spool) -> Poll<Option<Step>> {
        let Some((file, end)) = held.file() else { return Poll::Ready(None) };
        match ready!(self.channel.poll_move_to_file(context, file, end, MOVED)) {
            Ok(0) => Poll::Ready(Some(Step::Ended)),
            Ok(length) => {
                self.owed = self.owed.saturating_sub(length);
                held.note_moved(length);
                Poll::Ready(Some(Step::Wrote))
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                self.is_moved = false;
                Poll::Ready(None)
            }
            Err(error) => Poll::Ready(Some(Step::Unheld(error))),
        }
    }

    /// What else is done with what was just read.
    fn look(&mut self, length: usize, readers: &mut Readers<'_>) -> Option<io::Error> {
        let bytes = self.buffer.get(..length).unwrap_or_default();
        if let Some(matcher) = &mut readers.matcher {
            matcher.feed(self.stream, bytes);
        }
        if let Some(delay) = &mut readers.delay {
            delay.feed(self.stream, bytes);
        }
        if let Some(tail) = &mut self.tail {
            tail.push(bytes);
        }
        self.log.as_mut()?.write(bytes)
    }
}
