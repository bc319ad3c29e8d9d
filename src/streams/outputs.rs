//! What a command writes, where it is read: its streams of one attempt after the other.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::yield_now;

use super::logs::{Content, Log, Logs};
use super::relay::{Readers, Relay, Sink, Step, stream_of};
use super::spool::Spool;
use super::tail::Tail;
use crate::engine::output::{Matches, OutputPattern, Stream};
use crate::patterns::delay::DelaySearch;
use crate::patterns::{Matcher, Reading};
use crate::unix::clock::Alarm;
use crate::unix::outlet::Outlet;
use crate::unix::output::{Output, are_one};

/// How long, once the command has ended, something else that holds its output is listened to: for each further chunk, and in all.
const DRAIN_CHUNK: Duration = Duration::from_millis(200);
const DRAIN_ALL: Duration = Duration::from_secs(2);

/// How much of what was held back is written at once, and how much the kernel moves.
const CHUNK: usize = 64 * 1024;
const MOVED: usize = 1024 * 1024;

/// What is to be done with the outputs of all attempts.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Whether stdout has to be read.
    pub reads_stdout: bool,
    /// Whether stderr has to be read.
    pub reads_stderr: bool,
    /// Whether stdout is held back until the run is over.
    pub holds_stdout: bool,
    /// How much of the end of stderr is kept, where it is read.
    pub tail: usize,
    /// What is looked for in what is read.
    pub patterns: Vec<OutputPattern>,
    /// The regular expression by which a wait that is asked for is found.
    pub delay_from: Option<String>,
}

/// The outputs of a run.
pub struct Outputs {
    plan: Plan,
    mask: Rc<dyn Fn(&str) -> String>,
    /// Whether both are one open file, and read as one, so that their order is kept.
    as_one: bool,
    logs: Option<Logs>,
    held: Spool,
    matcher: Option<Matcher>,
    delay: Option<DelaySearch>,
    relays: Vec<Relay>,
    drain: Drain,
    is_hurried: bool,
    remains: Remains,
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

/// What happened to the outputs.
#[derive(Debug)]
pub enum Flow {
    /// Something was written, and taken.
    Output,
    /// Something was written, and is not taken.
    Stalled,
    /// Our output does not take it, for another reason than that nobody reads it.
    Broken(Output, io::Error),
    /// Stdout cannot be held back any more.
    Unheld(io::Error),
    /// A log cannot be written, and is given up.
    Unlogged(io::Error),
    /// Nothing more comes.
    Dry,
}

/// What the outputs of an attempt leave.
#[derive(Debug, Default)]
pub struct Remains {
    /// Whether something held them when we stopped listening.
    pub were_held: bool,
    /// Whether our stdout turned out to have no reader.
    pub reader_is_gone: bool,
    /// What was found; masked.
    pub matches: Matches,
    /// The wait that is asked for, as it was written.
    pub asked_delay: Option<String>,
    /// The end of stderr, where it was read; masked.
    pub stderr_tail: Option<String>,
    /// The file that holds stdout.
    pub stdout_log: Option<PathBuf>,
    /// The file that holds stderr.
    pub stderr_log: Option<PathBuf>,
}

impl Outputs {
    /// The outputs of a run that is about to begin. What is kept of them as text is masked.
    #[must_use]
    pub fn new(mut plan: Plan, logs: Option<Logs>, mask: Rc<dyn Fn(&str) -> String>) -> Outputs {
        // Held stdout is never merged: stderr streams as it comes.
        let are_read = plan.reads_stdout || plan.reads_stderr;
        let as_one = are_read && !plan.holds_stdout && are_one();
        let reading = match (plan.reads_stdout, plan.reads_stderr) {
            (false, false) => None,
            _ if as_one => Some(Reading::Merged),
            (true, true) => Some(Reading::Both),
            (true, false) => Some(Reading::Only(Stream::Stdout)),
            (false, true) => Some(Reading::Only(Stream::Stderr)),
        };
        let patterns = std::mem::take(&mut plan.patterns);
        let matcher = reading.filter(|_| !patterns.is_empty());
        let matcher = matcher.map(|reading| Matcher::new(patterns, reading));
        Outputs {
            as_one,
            // It was tried when it was given.
            delay: plan.delay_from.as_deref().and_then(|regex| DelaySearch::new(regex).ok()),
            plan,
            mask,
            logs,
            held: Spool::new(None),
            matcher,
            relays: Vec::new(),
            drain: Drain::NotYet,
            is_hurried: false,
            remains: Remains::default(),
        }
    }

    /// An attempt is about to start. Answers why it is not logged, where it should be.
    ///
    /// # Errors
    /// Descriptors or pseudo-terminals are lacking.
    pub fn begin(&mut self, attempt: u64) -> io::Result<Option<io::Error>> {
        self.relays.clear();
        self.drain = Drain::NotYet;
        self.is_hurried = false;
        self.held.clear();
        self.remains = Remains::default();
        if let Some(logs) = &self.logs {
            logs.begin(attempt);
        }
        let mut unlogged = None;
        for (output, content) in self.contents() {
            let log = self.logs.as_ref().map(|logs| {
                let path = logs.path(attempt, content);
                let (log, error) = Log::create(&path, logs);
                self.remains.note(content, path);
                unlogged = unlogged.take().or(error);
                log
            });
            let is_held = self.plan.holds_stdout && output == Output::Stdout;
            let sink = if is_held { Sink::Held } else { Sink::Outlet(Outlet::open(output)?) };
            let searches = |matcher: &Matcher| matcher.searches(stream_of(output));
            let is_searched = self.delay.is_some() || self.matcher.as_ref().is_some_and(searches);
            let tail = self.plan.tail;
            self.relays.push(Relay::open(output, content, sink, log, tail, is_searched)?);
        }
        Ok(unlogged)
    }

    /// The outputs that are read, and what each of them holds.
    fn contents(&self) -> Vec<(Output, Content)> {
        let Plan { reads_stdout, reads_stderr, .. } = self.plan;
        let mut all = if self.as_one {
            vec![(Output::Stdout, Content::Output)]
        } else {
            let stdout = reads_stdout.then_some((Output::Stdout, Content::Stdout));
            let stderr = reads_stderr.then_some((Output::Stderr, Content::Stderr));
            stdout.into_iter().chain(stderr).collect()
        };
        all.retain(|(output, _)| output.was_open());
        all
    }

    /// What the command gets as an output; none for ours.
    #[must_use]
    pub fn theirs(&self, output: Output) -> Option<BorrowedFd<'_>> {
        let read_as = if self.as_one { Output::Stdout } else { output };
        self.relays.iter().find(|relay| relay.output == read_as)?.channel.theirs()
    }

    /// The command has its ends: ours of them are closed.
    pub fn give_away(&mut self) {
        self.relays.iter_mut().for_each(|relay| relay.channel.give_away());
    }

    /// Whether nothing more can be written.
    #[must_use]
    pub fn are_dry(&self) -> bool {
        self.relays.is_empty()
    }

    /// Gives pseudo-terminals the size of the real one. Whether there are any.
    #[must_use]
    pub fn resize(&self) -> bool {
        self.relays.iter().filter(|relay| relay.channel.resize()).count() > 0
    }

    /// The command has ended: from now on what is there is still read, and for a while what others write, who hold its output.
    /// A second time it changes nothing.
    pub fn begin_to_drain(&mut self) {
        if self.relays.is_empty() || !matches!(self.drain, Drain::NotYet) {
            return;
        }
        self.relays.iter_mut().for_each(Relay::note_the_end);
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

    /// What is there is still read, and whoever takes it waited for. Those who are `late` already wait only for who takes the command's
    /// own; hurried, for nobody.
    fn end_listening(&mut self, late: bool) {
        for relay in &mut self.relays {
            relay.begin_last_call();
            if late {
                relay.keep_the_commands_own();
                relay.is_impatient |= self.is_hurried;
            }
        }
    }

    /// Waits for the next thing to happen. May be cancelled and called again: nothing is lost.
    pub async fn next(&mut self) -> Flow {
        while !self.relays.is_empty() {
            let relays = self.relays.as_mut_slice();
            let mut readers = Readers {
                held: &mut self.held,
                matcher: self.matcher.as_mut(),
                delay: self.delay.as_mut(),
            };
            let step = poll_fn(|context| poll_steps(relays, &mut readers, context));
            let (index, step) = match &self.drain {
                Drain::NotYet | Drain::AtOnce => step.await,
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
                    next = step => next,
                },
            };
            if let Some(flow) = self.flow(index, step) {
                return flow;
            }
        }
        Flow::Dry
    }

    fn flow(&mut self, index: usize, step: Step) -> Option<Flow> {
        match step {
            Step::Wrote => {
                if let Drain::Until { chunk, .. } = &self.drain {
                    chunk.set(DRAIN_CHUNK);
                }
                Some(self.taken())
            }
            Step::Stalled => Some(Flow::Stalled),
            Step::Unlogged(error) => Some(Flow::Unlogged(error)),
            Step::Ended => {
                self.close(index);
                None
            }
            Step::Held => {
                self.close(index);
                self.remains.were_held = true;
                None
            }
            Step::Unheld(error) => {
                self.close(index);
                Some(Flow::Unheld(error))
            }
            Step::Refused(error) => {
                // The command finds out when it writes again, as it would without us.
                let output = self.close(index);
                if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) {
                    return Some(Flow::Broken(output, error));
                }
                self.remains.reader_is_gone |= output == Output::Stdout;
                Some(self.taken())
            }
        }
    }

    /// One of two that is taken does not help a command that waits for the other.
    fn taken(&self) -> Flow {
        if self.relays.iter().any(Relay::is_stalled) { Flow::Stalled } else { Flow::Output }
    }

    fn close(&mut self, index: usize) -> Output {
        let mut relay = self.relays.remove(index);
        if let Some(tail) = relay.take_tail() {
            self.remains.stderr_tail = Some(Tail::into_text(tail, &*self.mask));
        }
        relay.output
    }

    /// The attempt is over.
    pub fn end(&mut self) -> Remains {
        while !self.relays.is_empty() {
            self.close(0);
        }
        let mask = &*self.mask;
        let matches = self.matcher.as_mut().map(|matcher| matcher.finish(mask)).unwrap_or_default();
        let asked_delay = self.delay.as_mut().and_then(DelaySearch::finish);
        Remains { matches, asked_delay, ..std::mem::take(&mut self.remains) }
    }

    /// The run is over: writes what was held back. May not be cancelled.
    ///
    /// # Errors
    /// It could not be written, or not be read again.
    pub async fn write_held(&self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let outlet = Outlet::open(Output::Stdout)?;
        let mut place = 0;
        if let Some((file, end)) = self.held.file().filter(|_| outlet.can_be_moved_to()) {
            while place < end {
                // A reader who takes all at once is no reason to hear nobody else.
                yield_now().await;
                let most = usize::try_from(end - place).unwrap_or(MOVED).min(MOVED);
                match poll_fn(|context| outlet.poll_send(context, file, place, most)).await {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(length) => place += length as u64,
                    Err(error) if error.kind() == ErrorKind::InvalidInput => break,
                    Err(error) => return Err(error),
                }
            }
        }
        let mut buffer = vec![0; CHUNK];
        while place < self.held.len() {
            yield_now().await;
            let length = self.held.read_at(place, &mut buffer)?;
            let mut rest = buffer
                .get(..length)
                .filter(|rest| !rest.is_empty())
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            while !rest.is_empty() {
                let written = poll_fn(|context| outlet.poll_write(context, rest)).await?;
                rest = rest.get(written..).unwrap_or_default();
            }
            place += length as u64;
        }
        Ok(())
    }
}

impl Remains {
    fn note(&mut self, content: Content, path: PathBuf) {
        match content {
            Content::Stdout => self.stdout_log = Some(path),
            Content::Stderr => self.stderr_log = Some(path),
            Content::Output => {
                self.stdout_log = Some(path.clone());
                self.stderr_log = Some(path);
            }
        }
    }
}

fn poll_steps(
    relays: &mut [Relay],
    readers: &mut Readers<'_>,
    context: &mut Context<'_>,
) -> Poll<(usize, Step)> {
    for (index, relay) in relays.iter_mut().enumerate() {
        if let Poll::Ready(step) = relay.poll_step(context, readers) {
            return Poll::Ready((index, step));
        }
    }
    Poll::Pending
}
