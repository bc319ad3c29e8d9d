//! The last bytes of a stream.

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
        let from = bytes.len().saturating_sub(self.size);
        self.bytes.extend_from_slice(bytes.get(from..).unwrap_or_default());
        // Not at each call: moving the rest to the front costs as much as it is long.
        if self.bytes.len() > self.size.saturating_mul(2) {
            self.cut();
        }
    }

    /// What is kept, beginning with a whole character where it is text.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.cut();
        let is_inside = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        let inside = self.bytes.iter().take(3).take_while(|byte| is_inside(byte)).count();
        self.bytes.drain(..inside);
        self.bytes
    }

    fn cut(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.size);
        self.bytes.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_however_it_came() {
        let text: Vec<u8> = (0..1000u32).map(|n| b'a' + (n % 26) as u8).collect();
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
    fn it_does_not_begin_within_a_character() {
        let mut tail = Tail::new(4);
        tail.push("aéé".as_bytes());
        assert_eq!(tail.into_bytes(), "éé".as_bytes());
        let mut tail = Tail::new(3);
        tail.push("aéé".as_bytes());
        assert_eq!(tail.into_bytes(), "é".as_bytes());
    }
}
