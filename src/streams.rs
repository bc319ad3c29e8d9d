//! What a command writes, where we read it: from the command's end to ours, byte for byte and in order.
//!
//! Nothing is decoded or kept. A stream that no option needs to read never comes here.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::task::Poll;
use std::time::Duration;

use crate::unix::clock::Alarm;
use crate::unix::outlet::Outlet;
use crate::unix::output::{Channel, Output, are_one};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// How long, once the command has ended, something else that holds its output is listened to: for each further chunk, and in all.
const DRAIN_CHUNK: Duration = Duration::from_millis(200);
const DRAIN_ALL: Duration = Duration::from_secs(2);

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
    drain: Option<Drain>,
    reader_is_gone: bool,
    were_held: bool,
}

/// Two alarms that end the listening after the command: for the next chunk, and for all.
struct Drain {
    chunk: Alarm,
    all: Alarm,
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
            drain: None,
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
    pub fn begin_to_drain(&mut self) {
        let alarm = |duration| Alarm::new().inspect(|alarm| alarm.set(duration));
        match (alarm(DRAIN_CHUNK), alarm(DRAIN_ALL)) {
            (Ok(chunk), Ok(all)) => self.drain = Some(Drain { chunk, all }),
            // Without descriptors for the alarms there is no while.
            _ => self.relays.iter_mut().for_each(|relay| relay.is_last_call = true),
        }
    }

    /// Waits for the next thing to happen. May be cancelled and called again: nothing is lost.
    pub async fn next(&mut self) -> Flow {
        while !self.relays.is_empty() {
            let next = match &self.drain {
                None => Some(next_step(&mut self.relays).await),
                Some(Drain { chunk, all }) => tokio::select! {
                    biased;
                    next = next_step(&mut self.relays) => Some(next),
                    () = chunk.rings() => None,
                    () = all.rings() => None,
                },
            };
            let Some((index, step)) = next else {
                self.drain = None;
                self.relays.iter_mut().for_each(|relay| relay.is_last_call = true);
                continue;
            };
            match step {
                Step::Wrote => {
                    if let Some(drain) = &self.drain {
                        drain.chunk.set(DRAIN_CHUNK);
                    }
                    return Flow::Output;
                }
                Step::Stalled => return Flow::Stalled,
                Step::Ended => drop(self.relays.remove(index)),
                Step::Held => {
                    self.relays.remove(index);
                    self.were_held = true;
                }
                Step::Refused(error) => {
                    // The command finds out when it writes again, as it would without us.
                    let output = self.relays.remove(index).output;
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        return Flow::Broken(output, error);
                    }
                    self.reader_is_gone |= output == Output::Stdout;
                }
            }
        }
        Flow::Dry
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
    /// What is there is still read, and then no more.
    is_last_call: bool,
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
            is_last_call: false,
        })
    }

    /// Reads and writes until there is something to tell. While our reader is stalled nothing is read, so that the command
    /// stalls, too, as it would without us.
    fn poll_step(&mut self, context: &mut std::task::Context<'_>) -> Poll<Step> {
        loop {
            if let Some(bytes) =
                self.buffer.get(self.pending.clone()).filter(|bytes| !bytes.is_empty())
            {
                match self.outlet.poll_write(context, bytes) {
                    Poll::Ready(Ok(written)) => self.pending.start += written,
                    Poll::Ready(Err(error)) => return Poll::Ready(Step::Refused(error)),
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
            match self.channel.poll_read(context, &mut self.buffer) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Step::Ended),
                Poll::Ready(Ok(length)) => self.pending = 0..length,
                Poll::Pending if self.is_last_call => return Poll::Ready(Step::Held),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
