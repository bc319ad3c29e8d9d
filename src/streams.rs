//! What a command writes, where we read it: from the command's end to ours, byte for byte and in order.
//!
//! Nothing is decoded or kept. A stream that no option needs to read never comes here.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::unix::clock::Alarm;
use crate::unix::outlet::Outlet;
use crate::unix::output::{Channel, Output, are_one};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// How long, once the command has ended, something else that holds its output is listened to: for each further chunk, and in all.
const DRAIN_CHUNK: Duration = Duration::from_millis(200);
const DRAIN_ALL: Duration = Duration::from_secs(2);

/// As much as a pipe can hold: what the command wrote is no more, and what others write has no end.
const LAST_CALL: usize = 1024 * 1024;

/// Which outputs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// None: the command has ours.
    Nothing,
    /// Both, each by itself.
    Both,
    /// Both, which are one open file, as one, so that their order is kept.
    AsOne,
}

impl Capture {
    /// How both outputs are to be read.
    #[must_use]
    pub fn both() -> Capture {
        if are_one() { Capture::AsOne } else { Capture::Both }
    }
}

/// The streams of an attempt.
pub struct Streams {
    capture: Capture,
    relays: Vec<Relay>,
    drain: Drain,
    is_hurried: bool,
    reader_is_gone: bool,
    were_held: bool,
}

/// The listening after the command's end.
enum Drain {
    /// It has not ended.
    NotYet,
    /// Two alarms end it: for the next chunk, and for all.
    Until { chunk: Alarm, all: Alarm },
    /// Without descriptors for the alarms there is no while.
    AtOnce,
}

/// What happened to the streams.
#[derive(Debug)]
pub enum Flow {
    /// Something was written, and taken.
    Output,
    /// Something was written, and is not taken.
    Stalled,
    /// Our output does not take it, for another reason than that nobody reads it.
    Broken(Output, io::Error),
    /// Nothing more comes.
    Dry,
}

impl Streams {
    /// Streams for an attempt that is about to start.
    ///
    /// # Errors
    /// Descriptors or pseudo-terminals are lacking.
    pub fn open(capture: Capture) -> io::Result<Streams> {
        let outputs: &[Output] = match capture {
            Capture::Nothing => &[],
            Capture::Both => &[Output::Stdout, Output::Stderr],
            Capture::AsOne => &[Output::Stdout],
        };
        let open = outputs.iter().filter(|output| output.was_open());
        Ok(Streams {
            capture,
            relays: open.map(|output| Relay::open(*output)).collect::<io::Result<_>>()?,
            drain: Drain::NotYet,
            is_hurried: false,
            reader_is_gone: false,
            were_held: false,
        })
    }

    /// What the command gets as an output; none for ours.
    #[must_use]
    pub fn theirs(&self, output: Output) -> Option<BorrowedFd<'_>> {
        let read_as = match self.capture {
            Capture::Nothing => return None,
            Capture::Both => output,
            Capture::AsOne => Output::Stdout,
        };
        self.relays.iter().find(|relay| relay.output == read_as)?.channel.theirs()
    }

    /// The command has its ends: ours of them are closed.
    pub fn give_away(&mut self) {
        self.relays.iter_mut().for_each(|relay| relay.channel.give_away());
    }

    /// Whether nothing more can come.
    #[must_use]
    pub fn are_dry(&self) -> bool {
        self.relays.is_empty()
    }

    /// Whether our stdout turned out to have no reader.
    #[must_use]
    pub fn reader_is_gone(&self) -> bool {
        self.reader_is_gone
    }

    /// Whether something held the streams when we stopped listening.
    #[must_use]
    pub fn were_held(&self) -> bool {
        self.were_held
    }

    /// Gives pseudo-terminals the size of the real one. Whether there are any.
    #[must_use]
    pub fn resize(&self) -> bool {
        self.relays.iter().filter(|relay| relay.channel.resize()).count() > 0
    }

    /// The command has ended: from now on what is there is still read, and for a while what others write, who hold its output.
    /// A second time it changes nothing.
    pub fn begin_to_drain(&mut self) {
        if !matches!(self.drain, Drain::NotYet) {
            return;
        }
        let alarm = |duration| Alarm::new().inspect(|alarm| alarm.set(duration));
        match (alarm(DRAIN_CHUNK), alarm(DRAIN_ALL)) {
            (Ok(chunk), Ok(all)) => self.drain = Drain::Until { chunk, all },
            _ => {
                self.drain = Drain::AtOnce;
                self.end_listening(true);
            }
        }
    }

    /// We are to end: whoever does not take what the command wrote is no longer waited for, once that has ended and its while is over.
    pub fn hurry(&mut self) {
        if self.is_hurried {
            return;
        }
        self.is_hurried = true;
        match &self.drain {
            Drain::NotYet => {}
            // The while may be over.
            Drain::Until { all, .. } => all.set(DRAIN_ALL),
            Drain::AtOnce => self.end_listening(true),
        }
    }

    /// What is there is still read, and whoever takes it waited for; but not by those who are `late` already and hurried.
    fn end_listening(&mut self, late: bool) {
        for relay in &mut self.relays {
            relay.last_call.get_or_insert(LAST_CALL);
            relay.is_impatient |= late && self.is_hurried;
        }
    }

    /// Waits for the next thing to happen. May be cancelled and called again: nothing is lost.
    pub async fn next(&mut self) -> Flow {
        while !self.relays.is_empty() {
            let (index, step) = match &self.drain {
                Drain::NotYet | Drain::AtOnce => next_step(&mut self.relays).await,
                // The alarms first: there may be no end of what comes.
                Drain::Until { chunk, all } => tokio::select! {
                    biased;
                    () = chunk.rings() => {
                        self.end_listening(false);
                        continue;
                    }
                    () = all.rings() => {
                        self.end_listening(true);
                        continue;
                    }
                    next = next_step(&mut self.relays) => next,
                },
            };
            if let Some(flow) = self.take(index, step) {
                return flow;
            }
        }
        Flow::Dry
    }

    /// What a step of a relay comes to, if that is to be told.
    fn take(&mut self, index: usize, step: Step) -> Option<Flow> {
        match step {
            Step::Wrote => {
                if let Drain::Until { chunk, .. } = &self.drain {
                    chunk.set(DRAIN_CHUNK);
                }
                Some(self.flow())
            }
            Step::Stalled => Some(Flow::Stalled),
            Step::Ended => {
                self.relays.remove(index);
                None
            }
            Step::Held => {
                self.relays.remove(index);
                self.were_held = true;
                None
            }
            Step::Refused(error) => {
                // The command finds out when it writes again, as it would without us.
                let output = self.relays.remove(index).output;
                if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) {
                    return Some(Flow::Broken(output, error));
                }
                self.reader_is_gone |= output == Output::Stdout;
                Some(self.flow())
            }
        }
    }

    /// One of two that is taken does not help a command that waits for the other.
    fn flow(&self) -> Flow {
        if self.relays.iter().any(|relay| relay.is_stalled) { Flow::Stalled } else { Flow::Output }
    }
}

async fn next_step(relays: &mut [Relay]) -> (usize, Step) {
    poll_fn(|context| {
        for (index, relay) in relays.iter_mut().enumerate() {
            if let Poll::Ready(step) = relay.poll_step(context) {
                return Poll::Ready((index, step));
            }
        }
        Poll::Pending
    })
    .await
}

/// One stream, and what of it was read and not yet written.
struct Relay {
    output: Output,
    channel: Channel,
    outlet: Outlet,
    buffer: Box<[u8]>,
    pending: Range<usize>,
    is_stalled: bool,
    /// What is there is still read, but no more than this, and then no more.
    last_call: Option<usize>,
    /// What is not taken at once is dropped.
    is_impatient: bool,
}

enum Step {
    Wrote,
    Stalled,
    Ended,
    Held,
    Refused(io::Error),
}

impl Relay {
    fn open(output: Output) -> io::Result<Relay> {
        Ok(Relay {
            output,
            channel: Channel::open(output)?,
            outlet: Outlet::open(output)?,
            buffer: vec![0; CHUNK].into(),
            pending: 0..0,
            is_stalled: false,
            last_call: None,
            is_impatient: false,
        })
    }

    /// Reads and writes until there is something to tell. While our reader is stalled nothing is read, so that the command
    /// stalls, too, as it would without us.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        loop {
            if let Some(bytes) =
                self.buffer.get(self.pending.clone()).filter(|bytes| !bytes.is_empty())
            {
                match self.outlet.poll_write(context, bytes) {
                    Poll::Ready(Ok(written)) => self.pending.start += written,
                    Poll::Ready(Err(error)) => return Poll::Ready(Step::Refused(error)),
                    Poll::Pending if self.is_impatient => return Poll::Ready(Step::Ended),
                    Poll::Pending if self.is_stalled => return Poll::Pending,
                    Poll::Pending => {
                        self.is_stalled = true;
                        return Poll::Ready(Step::Stalled);
                    }
                }
                if self.pending.is_empty() {
                    self.is_stalled = false;
                    return Poll::Ready(Step::Wrote);
                }
                continue;
            }
            let read = match self.last_call {
                None => ready!(self.channel.poll_read(context, &mut self.buffer)),
                Some(0) => return Poll::Ready(Step::Held),
                Some(_) => self.channel.read_now(&mut self.buffer),
            };
            match read {
                Ok(0) => return Poll::Ready(Step::Ended),
                Ok(length) => {
                    self.pending = 0..length;
                    self.last_call = self.last_call.map(|rest| rest.saturating_sub(length));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Poll::Ready(Step::Held);
                }
                Err(_) => return Poll::Ready(Step::Ended),
            }
        }
    }
}
