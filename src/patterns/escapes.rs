//! Taking terminal escapes out of a stream: what a person at a terminal would not see as text.
//!
//! By ECMA-48 and xterm's ctlseqs: control sequences (CSI), control strings (OSC, DCS, SOS, PM, APC), and other escapes, introduced
//! by ESC or by one byte of C1. Other control characters are left in the text.

use memchr::memchr;

const ESC: u8 = 0x1b;

/// Where in an escape the stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In text.
    #[default]
    Text,
    /// In a character of UTF-8, before so many more bytes: these look like C1, and are not.
    Character(u8),
    /// Behind ESC.
    Escape,
    /// Behind ESC and an intermediate byte, before the final one.
    Intermediate,
    /// In a control sequence.
    Sequence,
    /// In a control string, which ST or BEL ends. So does the end of a line: one that was never closed must not hide all that follows.
    String,
    /// In a control string, behind ESC.
    StringEscape,
}

/// Takes escapes out of a stream, wherever it is cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Escapes(State);

impl Escapes {
    /// Hands on what is left of the bytes, in pieces.
    pub(super) fn strip(&mut self, bytes: &[u8], hand_on: &mut dyn FnMut(&[u8])) {
        if self.0 == State::Text && memchr(ESC, bytes).is_none() && bytes.is_ascii() {
            return hand_on(bytes);
        }
        let mut begin = None;
        for (index, byte) in bytes.iter().enumerate() {
            let (state, is_text) = self.0.next(*byte);
            self.0 = state;
            match begin {
                None if is_text => begin = Some(index),
                Some(start) if !is_text => {
                    hand_on(bytes.get(start..index).unwrap_or_default());
                    begin = None;
                }
                None | Some(_) => {}
            }
        }
        if let Some(start) = begin {
            hand_on(bytes.get(start..).unwrap_or_default());
        }
    }
}

impl State {
    /// The state behind a byte, and whether that is text.
    fn next(self, byte: u8) -> (State, bool) {
        match (self, byte) {
            (State::String, 0x07 | 0x18 | 0x1a | 0x9c) => (State::Text, false),
            (State::String, ESC) => (State::StringEscape, false),
            (State::String | State::StringEscape, b'\n') => (State::Text, true),
            (State::String, _) => (State::String, false),
            (State::StringEscape, b'\\') => (State::Text, false),
            // ESC ends the string also where it begins another escape.
            (State::StringEscape | State::Escape, _) => State::behind_escape(byte),
            (State::Intermediate, 0x20..=0x2f) | (State::Sequence, 0x20..=0x3f) => (self, false),
            (State::Intermediate, 0x30..=0x7e) | (State::Sequence, 0x40..=0x7e) => {
                (State::Text, false)
            }
            (State::Character(more), 0x80..=0xbf) if more > 1 => (State::Character(more - 1), true),
            (State::Character(_), 0x80..=0xbf) => (State::Text, true),
            // A sequence that is broken off is none of the text; what breaks it off is.
            (State::Text | State::Character(_) | State::Intermediate | State::Sequence, _) => {
                State::in_text(byte)
            }
        }
    }

    fn in_text(byte: u8) -> (State, bool) {
        match byte {
            ESC => (State::Escape, false),
            0x9b => (State::Sequence, false),
            0x90 | 0x98 | 0x9d..=0x9f => (State::String, false),
            0x80..=0x9f => (State::Text, false),
            0xc2..=0xdf => (State::Character(1), true),
            0xe0..=0xef => (State::Character(2), true),
            0xf0..=0xf4 => (State::Character(3), true),
            _ => (State::Text, true),
        }
    }

    fn behind_escape(byte: u8) -> (State, bool) {
        match byte {
            b'[' => (State::Sequence, false),
            b']' | b'P' | b'X' | b'^' | b'_' => (State::String, false),
            0x20..=0x2f => (State::Intermediate, false),
            0x30..=0x7e => (State::Text, false),
            _ => State::in_text(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of pieces of a stream.
    fn left(pieces: &[&[u8]]) -> String {
        let mut escapes = Escapes::default();
        let mut text = Vec::new();
        for piece in pieces {
            escapes.strip(piece, &mut |piece| text.extend_from_slice(piece));
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn escapes_are_taken_out_wherever_they_are_cut() {
        for (bytes, expected) in [
            (&b"plain\r\n\ttext"[..], "plain\r\n\ttext"),
            (b"\x1b[1;31merror\x1b[0m: x\x1b[K", "error: x"),
            (b"\x1b[?25l\x1b[ qa\x1b[38:5:1mb", "ab"),
            (b"\x1b]0;a title\x07a\x1b]8;;http://h/\x1b\\link\x1b]8;;\x1b\\", "alink"),
            (b"\x1bPq#0\x1b\\a\x1b_x\x1b\\b\x1b^y\x1b\\c\x1bXz\x1b\\d", "abcd"),
            (b"\x1b(Ba\x1b=b\x1b#8c\x1b7d", "abcd"),
            (b"\x9b1ma\x9d0;t\x9cb\x90q\x07c\x85d", "abcd"),
            ("ś\u{71b}\u{10cdb}é".as_bytes(), "ś\u{71b}\u{10cdb}é"),
            (b"\x1b[1\nerror", "\nerror"),
            (b"\x1b]0;never closed\nerror", "\nerror"),
            (b"\x1b]0;a\x1b[1mb", "b"),
            (b"\x1b\x1b[1ma\x1b\nb", "a\nb"),
            (b"\x1b[1\xc3\xa9", "é"),
            (b"a\xc3\x1b[1mb", "a\u{fffd}b"),
            (b"a\x1b", "a"),
        ] {
            assert_eq!(left(&[bytes]), expected, "{bytes:?}");
            for cut in 0..bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(left(&[head, tail]), expected, "{bytes:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(left(&single), expected, "{bytes:?} byte by byte");
        }
    }
}
