//! The last bytes of a stream.
//!
//! Where more came before, they begin with a whole word.

use crate::patterns::words::from_a_whole_word;

/// Keeps the end of what it is given.
#[derive(Debug)]
pub struct Tail {
    bytes: Vec<u8>,
    size: usize,
}

impl Tail {
    /// Keeps at most `size` bytes.
    #[must_use]
    pub fn new(size: usize) -> Tail {
        Tail { bytes: Vec::new(), size }
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(self.room());
        self.bytes.extend_from_slice(bytes.get(from..).unwrap_or_default());
        // Not at each call: moving the rest to the front costs as much as it is long.
        if self.bytes.len() > self.room().saturating_mul(2) {
            self.cut();
        }
    }

    /// What is kept.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.cut();
        if self.bytes.len() > self.size {
            self.bytes = from_a_whole_word(&self.bytes).to_vec();
        }
        self.bytes
    }

    fn cut(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.room());
        self.bytes.drain(..surplus);
    }

    /// With the byte before, which tells whether a word begins behind it.
    fn room(&self) -> usize {
        self.size.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_however_it_came() {
        let text: Vec<u8> = (0..1000u32).map(|n| b"ab\ncd "[(n % 6) as usize]).collect();
        for chunk in [1, 7, 100, 1000] {
            let mut tail = Tail::new(64);
            text.chunks(chunk).for_each(|bytes| tail.push(bytes));
            assert_eq!(tail.into_bytes(), text[1000 - 64..], "chunks of {chunk}");
        }
        let mut short = Tail::new(64);
        short.push(b"all");
        assert_eq!(short.into_bytes(), b"all");
    }

    #[test]
    fn it_begins_with_a_whole_word() {
        let kept = |size, text: &str| {
            let mut tail = Tail::new(size);
            tail.push(text.as_bytes());
            String::from_utf8(tail.into_bytes()).expect("whole characters")
        };
        assert_eq!(kept(6, "one two"), "two");
        assert_eq!(kept(4, "one two"), "two");
        assert_eq!(kept(3, "one two"), "two");
        assert_eq!(kept(2, "one two"), "");
        assert_eq!(kept(7, "one two"), "one two");
        assert_eq!(kept(5, "éé éé"), " éé");
        assert_eq!(kept(2, "one\n2\n"), "2\n");
    }
}
