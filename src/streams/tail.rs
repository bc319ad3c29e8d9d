//! The last bytes of a stream.
//!
//! More of it is kept than is shown, so that a secret that is cut is known.

use crate::patterns::excerpt::end;

/// As long a secret may be: what Linux takes as one entry of an environment (MAX_ARG_STRLEN, execve(2)).
const LONGEST_SECRET: usize = 128 * 1024;

/// Keeps the end of what it is given.
#[derive(Debug)]
pub struct Tail {
    bytes: Vec<u8>,
    size: usize,
}

impl Tail {
    /// Shows at most `size` bytes.
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

    /// What is shown, masked.
    #[must_use]
    pub fn into_text(mut self, mask: &dyn Fn(&str) -> String) -> String {
        self.cut();
        end(&self.bytes, self.size, mask)
    }

    fn cut(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.room());
        self.bytes.drain(..surplus);
    }

    fn room(&self) -> usize {
        self.size.saturating_add(LONGEST_SECRET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_however_it_came() {
        let text: Vec<u8> = (0..20_002u32).map(|n| b"ab\ncd "[(n % 6) as usize]).collect();
        for chunk in [1, 7, 100, 20_002] {
            let mut tail = Tail::new(64);
            text.chunks(chunk).for_each(|bytes| tail.push(bytes));
            let shown = tail.into_text(&str::to_owned);
            assert_eq!(shown.as_bytes(), &text[20_002 - 64..], "chunks of {chunk}");
        }
        let mut short = Tail::new(64);
        short.push(b"all");
        assert_eq!(short.into_text(&str::to_owned), "all");
    }

    #[test]
    fn it_is_cut_within_words_but_not_within_characters() {
        let kept = |size, text: &str| {
            let mut tail = Tail::new(size);
            tail.push(text.as_bytes());
            tail.into_text(&str::to_owned)
        };
        assert_eq!(kept(5, "123456789\n"), "6789\n");
        assert_eq!(kept(5, &"x".repeat(100_000)), "xxxxx");
        assert_eq!(kept(5, "éé éé"), " éé");
        assert_eq!(kept(4, "éé éé"), "éé");
        assert_eq!(kept(3, "éé éé"), "é");
    }

    #[test]
    fn a_secret_is_masked_also_where_it_is_cut() {
        let mask = |text: &str| text.replace("correct horse battery", "***").replace('!', "***");
        for size in 1..40 {
            let mut tail = Tail::new(size);
            tail.push(&b"x ".repeat(10_000));
            tail.push(b"correct horse battery staple");
            let shown = tail.into_text(&mask);
            assert!(!shown.contains("horse") && !shown.contains("battery"), "{size}: {shown}");
            assert!(shown.len() <= size && (size < 6 || shown.ends_with("staple")), "{shown}");
        }
        let long = "k".repeat(100_000);
        let mut tail = Tail::new(64);
        tail.push(
            [b"x ".repeat(200_000).as_slice(), long.as_bytes(), b" said"].concat().as_slice(),
        );
        assert_eq!(tail.into_text(&|text| text.replace(&long, "***")), "*** said");
        let mut tail = Tail::new(5);
        tail.push(b"a ! !");
        assert_eq!(tail.into_text(&mask), "* ***");
    }
}
