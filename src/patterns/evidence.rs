//! The line in which a match ended, gathered from a stream that comes in pieces; of a long line what stands around that end.
//!
//! Where it is cut it begins and ends with a whole word. What stands around it is gathered, too, so that a secret that is cut is known.
//!
//! A line ends at `\n` or `\r`: a progress bar is drawn over and over on what is one line to nobody.

use memchr::{memchr2, memrchr2};

use super::excerpt::{AROUND, excerpt};

/// How much of a line before the end of a match is shown.
const BEFORE: usize = 512;

/// How much of a line is shown in all.
const MAX_LINE: usize = 1024;

/// How much of a stream is kept for a match that ends behind it.
const KEPT: usize = BEFORE + AROUND;

/// The last bytes of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    last: Vec<u8>,
}

/// A line that may not have ended yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// Where begins what is shown.
    start: usize,
    /// Where the line ends; none as long as it may go on.
    end: Option<usize>,
}

impl Evidence {
    /// Keeps the end of what was read, for a match that ends in the next piece.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        self.last.extend_from_slice(end(piece, KEPT));
        // Not at each call: pieces may be short, and moving the rest to the front costs as much as it is long.
        if self.last.len() > 2 * KEPT {
            self.last.drain(..self.last.len() - KEPT);
        }
    }

    /// The line in which a match ended that ended before `end` of the piece; the newlines in which it ended are none of the next line.
    pub(super) fn line(&self, piece: &[u8], end: usize) -> Pending {
        let (head, tail) = piece.split_at_checked(end).unwrap_or((piece, &[]));
        let near = self::end(head, KEPT);
        let bytes = [self::end(&self.last, KEPT - near.len()), near].concat();
        let text = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
        let text = text.map_or(0, |index| index + 1);
        let line = memrchr2(b'\n', b'\r', bytes.get(..text).unwrap_or_default());
        let line = line.map_or(0, |newline| newline + 1);
        let start = line.max(bytes.len().saturating_sub(BEFORE)).min(text);
        let end = (text < bytes.len()).then_some(text);
        let mut pending = Pending { bytes, start, end };
        pending.go_on(tail);
        pending
    }
}

/// At most so many bytes of the end.
fn end(bytes: &[u8], size: usize) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(size)..).unwrap_or(bytes)
}

impl Pending {
    /// Whether more is to be gathered.
    pub(super) fn is_open(&self) -> bool {
        self.room() > 0
    }

    fn room(&self) -> usize {
        (self.shown_end() + AROUND).saturating_sub(self.bytes.len())
    }

    /// Where ends what is shown, be it not there yet.
    fn shown_end(&self) -> usize {
        let most = self.start + MAX_LINE;
        self.end.map_or(most, |end| end.min(most))
    }

    /// Takes what follows of the stream.
    pub(super) fn go_on(&mut self, piece: &[u8]) {
        if !self.is_open() {
            return;
        }
        if self.end.is_none() {
            self.end = memchr2(b'\n', b'\r', piece).map(|newline| self.bytes.len() + newline);
        }
        self.bytes.extend_from_slice(piece.get(..self.room()).unwrap_or(piece));
    }

    /// The line as text, masked.
    pub(super) fn into_text(self, mask: &dyn Fn(&str) -> String) -> String {
        let end = self.shown_end().min(self.bytes.len());
        let mut text = excerpt(&self.bytes, self.start..end, mask).trim().to_owned();
        // What is no text takes more room once it is replaced, as may what is masked.
        let cut = (0..=MAX_LINE).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
        text.truncate(cut);
        text
    }
}
