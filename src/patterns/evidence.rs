//! The line in which a match ended, gathered from a stream that comes in pieces; of a long line what stands around that end.
//!
//! Where it is cut it begins and ends with a whole word.
//!
//! A line ends at `\n` or `\r`: a progress bar is drawn over and over on what is one line to nobody.

use memchr::{memchr2, memrchr2};

use super::words::{from_a_whole_word, to_a_whole_word};

/// How much of a line before the end of a match is kept.
const BEFORE: usize = 512;

/// How much of a line is kept in all.
const MAX_LINE: usize = 1024;

/// The last bytes of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    last: Vec<u8>,
}

/// A line that may not have ended yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    is_open: bool,
    /// Whether something of the line may stand before it.
    begins_late: bool,
    /// Whether something of the line stands behind it.
    ends_early: bool,
}

impl Evidence {
    /// Keeps the end of what was read, for a match that ends in the next piece.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        if piece.len() < BEFORE {
            let surplus = (self.last.len() + piece.len()).saturating_sub(BEFORE);
            self.last.drain(..surplus);
        } else {
            self.last.clear();
        }
        self.last
            .extend_from_slice(piece.get(piece.len().saturating_sub(BEFORE)..).unwrap_or(piece));
    }

    /// The line in which a match ended that ended before `end` of the piece; the newlines in which it ended are none of the next line.
    pub(super) fn line(&self, piece: &[u8], end: usize) -> Pending {
        let (head, tail) = piece.split_at_checked(end).unwrap_or((piece, &[]));
        let near = head.get(head.len().saturating_sub(BEFORE)..).unwrap_or(head);
        let far = self.last.get((self.last.len() + near.len()).saturating_sub(BEFORE)..);
        let mut bytes = [far.unwrap_or_default(), near].concat();
        let mut begins_late = bytes.len() == BEFORE;
        let text = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
        let text = text.map_or(0, |index| index + 1);
        let is_open = text == bytes.len();
        bytes.truncate(text);
        if let Some(newline) = memrchr2(b'\n', b'\r', &bytes) {
            bytes.drain(..=newline);
            begins_late = false;
        }
        let mut pending = Pending { bytes, is_open, begins_late, ends_early: false };
        pending.go_on(tail);
        pending
    }
}

impl Pending {
    /// Whether the line may go on.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes what follows of the stream.
    pub(super) fn go_on(&mut self, piece: &[u8]) {
        if !self.is_open {
            return;
        }
        let end = memchr2(b'\n', b'\r', piece);
        let line = piece.get(..end.unwrap_or(piece.len())).unwrap_or(piece);
        let room = MAX_LINE - self.bytes.len().min(MAX_LINE);
        self.bytes.extend_from_slice(line.get(..room).unwrap_or(line));
        self.ends_early |= line.len() > room;
        self.is_open = end.is_none() && !self.ends_early;
    }

    /// The line as text.
    pub(super) fn into_text(self) -> String {
        let mut bytes = self.bytes.as_slice();
        if self.begins_late {
            bytes = from_a_whole_word(bytes);
        }
        if self.ends_early {
            bytes = to_a_whole_word(bytes);
        }
        let mut text = String::from_utf8_lossy(bytes).trim().to_owned();
        // What is no text takes more room once it is replaced.
        let cut = (0..=MAX_LINE).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
        text.truncate(cut);
        text
    }
}
