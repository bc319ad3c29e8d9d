//! Our stdin, as every attempt gets it: as it is, set back to where it stood, or replayed.
//!
//! Of a pipe no more is taken than the command took, so that whoever reads it after us misses nothing.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use super::spool::Spool;
use crate::unix::input::{
    BULK_PAGES, Kind, MOST_PAGES, PAGE, Pipe, Read, Source, kind, null, offset, set_offset,
};

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is inherited.
    Inherit,
    /// There is none.
    Null,
    /// Every attempt reads the same.
    Replay,
    /// As it fits its kind; inherited where there will be no second attempt.
    Auto {
        /// Whether there may be one.
        retries: bool,
    },
}

/// Our stdin for all attempts of a run.
pub struct Stdin(Way);

enum Way {
    Inherited,
    Null(OwnedFd),
    /// A file, and where it stood when we started.
    File(u64),
    Replayed(Box<Replay>),
}

/// What a pipe, socket or terminal gave so far.
struct Replay {
    source: Source,
    spool: Spool,
    /// Nothing more comes from the source.
    has_ended: bool,
    /// Not everything could be kept: there is no other attempt.
    is_lost: bool,
    feed: Option<Feed>,
}

/// An attempt's own pipe.
struct Feed {
    pipe: Pipe,
    /// How much of the spool it was given.
    place: u64,
    /// Whether that was more than a page at once.
    in_bulk: bool,
    /// How much it was shown of what is still in the source.
    shown: usize,
    /// How many pages it may be shown at once: as long as it reads all of them at once.
    pages: usize,
    /// So often no more are shown, whatever becomes of it.
    caution: u32,
    /// So often the next time, after more was too much.
    next_caution: u32,
}

/// How much of the spool is given at once, and from how much on.
const BULK: usize = BULK_PAGES * PAGE;
const MUCH: u64 = (MOST_PAGES * PAGE) as u64;

/// How often a command that has not read all at once is shown no more than it reads: at first, and at most.
const CAUTION: u32 = 64;
const MOST_CAUTION: u32 = 4096;

impl Stdin {
    /// Looks at what we were given.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn open(wish: Wish, limit: Option<u64>) -> io::Result<Stdin> {
        let kind = kind();
        let way = match (wish, kind) {
            (Wish::Null, _) => Way::Null(null()?),
            (Wish::Inherit | Wish::Auto { retries: false }, _) | (_, Kind::Closed) => {
                Way::Inherited
            }
            (Wish::Auto { .. } | Wish::Replay, Kind::File) => {
                offset().map_or(Way::Inherited, Way::File)
            }
            (Wish::Auto { .. }, Kind::Terminal | Kind::Other) => Way::Inherited,
            (Wish::Auto { .. } | Wish::Replay, Kind::Pipe | Kind::Socket)
            | (Wish::Replay, Kind::Terminal | Kind::Other) => Way::Replayed(Box::new(Replay {
                source: Source::open()?,
                spool: Spool::new(limit),
                has_ended: false,
                is_lost: false,
                feed: None,
            })),
        };
        Ok(Stdin(way))
    }

    /// An attempt is about to start.
    ///
    /// # Errors
    /// Descriptors are lacking, or a file cannot be set back.
    pub fn begin(&mut self, is_first: bool) -> io::Result<()> {
        match &mut self.0 {
            Way::Inherited | Way::Null(_) => Ok(()),
            Way::File(_) if is_first => Ok(()),
            Way::File(place) => set_offset(*place),
            Way::Replayed(replay) => {
                let pipe = Pipe::open()?;
                replay.feed = Some(Feed {
                    pipe,
                    place: 0,
                    in_bulk: false,
                    shown: 0,
                    pages: 1,
                    caution: 0,
                    next_caution: CAUTION,
                });
                Ok(())
            }
        }
    }

    /// Whether what we are given is read by us, to be given again.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        matches!(self.0, Way::Replayed(_))
    }

    /// What the command gets; none for ours.
    #[must_use]
    pub fn theirs(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Way::Inherited | Way::File(_) => None,
            Way::Null(null) => Some(null.as_fd()),
            Way::Replayed(replay) => replay.feed.as_ref()?.pipe.theirs(),
        }
    }

    /// The command has its end: ours of it is closed.
    pub fn give_away(&mut self) {
        if let Way::Replayed(replay) = &mut self.0
            && let Some(feed) = &mut replay.feed
        {
            feed.pipe.give_away();
        }
    }

    /// Feeds the command, as long as it takes something; ends only when the input cannot be kept any more. May be cancelled and called
    /// again.
    pub async fn feed(&mut self) -> io::Error {
        poll_fn(|context| self.poll_feed(context)).await
    }

    fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        match &mut self.0 {
            Way::Inherited | Way::Null(_) | Way::File(_) => Poll::Pending,
            Way::Replayed(replay) => replay.poll_feed(context),
        }
    }

    /// The attempt is over: takes from the source what it read. Answers why the input cannot be replayed, where that turns out now.
    pub fn end(&mut self) -> Option<io::Error> {
        match &mut self.0 {
            Way::Inherited | Way::Null(_) | Way::File(_) => None,
            Way::Replayed(replay) => replay.end(),
        }
    }
}

/// What became of what was to be given.
enum Given {
    Some,
    NobodyReads,
    NotRead(io::Error),
}

impl Feed {
    /// Gives as much of the spool as there is room for.
    fn poll_give(&mut self, context: &mut Context<'_>, spool: &Spool) -> Poll<Given> {
        self.pipe.widen();
        self.in_bulk = true;
        let given = match spool.file() {
            Some((file, _)) => self.pipe.poll_send(context, file, self.place, BULK),
            None => self.pipe.poll_write(context, spool.in_memory(self.place)),
        };
        Poll::Ready(match ready!(given) {
            Ok(0) => Given::NotRead(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.place += length as u64;
                Given::Some
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Given::NobodyReads,
            Err(error) => Given::NotRead(error),
        })
    }

    /// It has read all that it was shown at once.
    fn all_was_read(&mut self) {
        match self.caution.checked_sub(1) {
            Some(caution) => self.caution = caution,
            None => self.pages = (self.pages * 2).min(MOST_PAGES),
        }
    }

    /// It has not, and reads only so much at once.
    fn was_too_much(&mut self, read: usize) {
        self.pages = (read / PAGE).checked_ilog2().map_or(1, |power| 1 << power);
        self.caution = self.next_caution;
        self.next_caution = (self.next_caution * 2).min(MOST_CAUTION);
    }
}

impl Replay {
    /// First what is in the spool, then what comes.
    fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut buffer = [0; PAGE];
        while let Some(feed) = &mut self.feed {
            let rest = match self.is_lost {
                false => self.spool.len().saturating_sub(feed.place),
                true => 0,
            };
            if feed.shown == 0 {
                if rest == 0 && self.has_ended {
                    // The end of the pipe is the end of the input.
                    self.feed = None;
                    break;
                }
                let is_much = rest >= MUCH && feed.pipe.widen();
                if is_much || (rest > 0 && self.has_ended) {
                    match ready!(feed.poll_give(context, &self.spool)) {
                        Given::Some => continue,
                        Given::NobodyReads => return self.end().map_or(Poll::Pending, Poll::Ready),
                        Given::NotRead(error) => return Poll::Ready(self.lose(error)),
                    }
                }
                // What follows is shown, and so has to follow nothing.
                if std::mem::take(&mut feed.in_bulk) {
                    match feed.pipe.take_back() {
                        Ok(unread) => feed.place = feed.place.saturating_sub(unread as u64),
                        Err(error) => return Poll::Ready(self.lose(error)),
                    }
                    continue;
                }
            }
            let read = ready!(feed.pipe.poll_read(context));
            match read {
                Err(_nobody_reads) => return self.end().map_or(Poll::Pending, Poll::Ready),
                Ok(Read::All) => {
                    let shown = std::mem::take(&mut feed.shown);
                    if shown > 0 {
                        feed.all_was_read();
                        if let Some(error) = self.take(shown) {
                            return Poll::Ready(error);
                        }
                        continue;
                    }
                }
                Ok(Read::Part) => {
                    let shown = std::mem::take(&mut feed.shown);
                    let read = match feed.pipe.take_back() {
                        Ok(unread) => shown.saturating_sub(unread),
                        Err(error) => return Poll::Ready(self.lose(error)),
                    };
                    feed.was_too_much(read);
                    if let Some(error) = self.take(read) {
                        return Poll::Ready(error);
                    }
                    continue;
                }
            }
            let fed = if rest > 0 {
                match self.spool.read_at(feed.place, &mut buffer) {
                    Ok(length) => {
                        let bytes = buffer.get(..length).unwrap_or_default();
                        ready!(feed.pipe.poll_write(context, bytes)).map(|written| {
                            feed.place += written as u64;
                        })
                    }
                    Err(error) => return Poll::Ready(self.lose(error)),
                }
            } else if self.source.can_be_shown() {
                match ready!(self.source.poll_show(context, &mut feed.pipe, feed.pages)) {
                    Ok(length) => {
                        feed.shown = length;
                        self.has_ended = length == 0;
                        Ok(())
                    }
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
                    Err(_refused) => {
                        self.source.cannot_be_shown();
                        continue;
                    }
                }
            } else {
                match ready!(self.source.poll_read(context, &mut buffer)) {
                    Ok(0) | Err(_) => {
                        self.has_ended = true;
                        continue;
                    }
                    Ok(length) => {
                        let bytes = buffer.get(..length).unwrap_or_default();
                        // First kept: what nobody reads is for the next attempt.
                        let written = feed.pipe.write_page(bytes);
                        feed.place += length as u64;
                        if let Some(error) = self.keep(bytes) {
                            return Poll::Ready(error);
                        }
                        written
                    }
                }
            };
            if let Err(_nobody_reads) = fed {
                return self.end().map_or(Poll::Pending, Poll::Ready);
            }
        }
        Poll::Pending
    }

    /// The attempt reads no more: what it was shown and did read is taken from the source.
    fn end(&mut self) -> Option<io::Error> {
        let mut feed = self.feed.take()?;
        if feed.shown == 0 {
            return None;
        }
        // Nor can what the attempt leaves behind read what is still in the source.
        let unread = feed.pipe.take_back().unwrap_or_else(|_lacking| feed.pipe.unread());
        let read = feed.shown.saturating_sub(unread);
        if read > 0 { self.take(read) } else { None }
    }

    /// Takes from the source what the command has read.
    fn take(&mut self, mut length: usize) -> Option<io::Error> {
        let mut buffer = [0; PAGE];
        let mut lost = None;
        while length > 0 {
            let taken = match self.move_to_spool(length) {
                Some(moved) => moved,
                None => {
                    let wanted = buffer.get_mut(..length.min(PAGE)).unwrap_or_default();
                    let Ok(taken @ 1..) = self.source.take(wanted) else { break };
                    let kept = self.keep(buffer.get(..taken).unwrap_or_default());
                    lost = lost.or(kept);
                    taken
                }
            };
            length -= taken.min(length);
            if let Some(feed) = &mut self.feed {
                feed.place += taken as u64;
            }
        }
        lost
    }

    /// Lets the kernel move what was shown into the file of the spool; nothing where there is none, or no room in it.
    fn move_to_spool(&mut self, length: usize) -> Option<usize> {
        if self.is_lost || !self.source.can_be_shown() || !self.spool.has_room(length) {
            return None;
        }
        let (file, end) = self.spool.file()?;
        let moved = self.source.take_to_file(file, end, length).ok().filter(|moved| *moved > 0)?;
        self.spool.note_moved(moved);
        Some(moved)
    }

    /// What was kept cannot be given any more.
    fn lose(&mut self, error: io::Error) -> io::Error {
        self.is_lost = true;
        self.feed = None;
        error
    }

    /// Keeps what was taken; answers why that is no longer possible, once.
    fn keep(&mut self, bytes: &[u8]) -> Option<io::Error> {
        if self.is_lost {
            return None;
        }
        let error = self.spool.append(bytes).err()?;
        self.is_lost = true;
        Some(error)
    }
}
