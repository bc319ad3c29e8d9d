//! Whole words at the ends of text that is cut: half a secret would not be known as one.
//!
//! What secrets are it does not know: only that none goes on behind a space, a quote or a bracket, or where letters of another kind
//! begin.

/// The text without the word that may have begun before it: its first byte stands behind the cut, or is the last one before it.
#[must_use]
pub fn from_a_whole_word(text: &[u8]) -> &[u8] {
    let begins = |pair: &&[u8]| matches!(pair, [before, after] if separates(*before) || changes(*before, *after));
    let begin = text.windows(2).position(|pair| begins(&pair));
    let begin = begin.map_or(text.len(), |index| index + 1);
    text.get(begin..).unwrap_or_default()
}

/// The text without the word that may go on behind it.
#[must_use]
pub fn to_a_whole_word(text: &[u8]) -> &[u8] {
    let ends = |pair: &&[u8]| matches!(pair, [before, after] if separates(*after) || changes(*before, *after));
    let end = text.windows(2).rposition(|pair| ends(&pair));
    text.get(..end.map_or(0, |index| index + 1)).unwrap_or_default()
}

fn separates(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'`<>()[]{},;|".contains(&byte)
}

/// Whether a character that is not ASCII ends or begins between these bytes.
fn changes(before: u8, after: u8) -> bool {
    let continues = (0x80..=0xbf).contains(&after);
    !continues && (before >= 0x80 || after >= 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_two_is_left_out() {
        let from = |text: &'static str| std::str::from_utf8(from_a_whole_word(text.as_bytes()));
        assert_eq!(from("cret and more"), Ok("and more"));
        assert_eq!(from(" whole words"), Ok("whole words"));
        assert_eq!(from(r#"cret","code":7"#), Ok(r#","code":7"#));
        assert_eq!(from("user:s3cr3t@host/path"), Ok(""));
        assert_eq!(from("éàü"), Ok("àü"));
        assert_eq!(from(""), Ok(""));
        let to = |text: &'static str| std::str::from_utf8(to_a_whole_word(text.as_bytes()));
        assert_eq!(to("more and s3c"), Ok("more and"));
        assert_eq!(to("whole words "), Ok("whole words"));
        assert_eq!(to(r#"{"token":"s3c"#), Ok(r#"{"token":"#));
        assert_eq!(to("s3cr3t"), Ok(""));
        assert_eq!(to("éàü"), Ok("éà"));
        assert_eq!(from_a_whole_word(b"\xff\xff\xff"), b"\xff\xff");
    }
}
