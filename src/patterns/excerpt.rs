//! A part of a text that is shown: secrets are masked first, in what stands around it too, and then it is cut.
//!
//! Of a secret that the cut goes through nothing is left but its mask; where none is, the part of a line is cut at whole words, and the end
//! of a stream between characters.

use std::ops::Range;

use super::words::{from_a_whole_word, to_a_whole_word};

/// How much of a text should be known on either side of what is shown of it: as long a secret may be.
pub const AROUND: usize = 4096;

/// That part of a text, as text, with all masked that is a secret in the whole of it.
#[must_use]
pub fn excerpt(bytes: &[u8], shown: Range<usize>, mask: &dyn Fn(&str) -> String) -> String {
    let masked = mask(&String::from_utf8_lossy(bytes));
    let of = |part: Option<&[u8]>| mask(&String::from_utf8_lossy(part.unwrap_or_default()));
    let before = of(bytes.get(..shown.start));
    let behind = of(bytes.get(shown.end..));
    let start = begins_alike(&masked, &before);
    let end = masked.len() - ends_alike(&masked, &behind);
    let Some(part) = masked.get(start..end) else { return String::new() };
    let part = match start {
        0 => part,
        // With the byte before, which tells whether a word begins behind it.
        _ => last(&masked, start..end, from_a_whole_word(within(&masked, start - 1..end)).len()),
    };
    if end == masked.len() {
        return part.to_owned();
    }
    let start = end - part.len();
    let whole = to_a_whole_word(within(&masked, start..end + 1)).len();
    masked.get(start..start + whole).unwrap_or_default().to_owned()
}

/// The last bytes, at most so many, as text, with all masked that is a secret in the whole of it.
#[must_use]
pub fn end(bytes: &[u8], size: usize, mask: &dyn Fn(&str) -> String) -> String {
    let masked = mask(&String::from_utf8_lossy(bytes));
    let before = bytes.get(..bytes.len().saturating_sub(size)).unwrap_or_default();
    let start = begins_alike(&masked, &mask(&String::from_utf8_lossy(before)));
    // A mask may be longer than what it hides, as is what stands for bytes that are no text.
    let start = start.max(masked.len().saturating_sub(size));
    let start = (start..=masked.len()).find(|index| masked.is_char_boundary(*index));
    masked.get(start.unwrap_or(masked.len())..).unwrap_or_default().to_owned()
}

/// How many bytes of a masked text come from the text before a cut, masked by itself: up to there they are alike, or up to a secret that the
/// cut goes through.
#[must_use]
pub fn begins_alike(masked: &str, before: &str) -> usize {
    masked.chars().zip(before.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

fn ends_alike(masked: &str, behind: &str) -> usize {
    let pairs = masked.chars().rev().zip(behind.chars().rev());
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

fn within(text: &str, range: Range<usize>) -> &[u8] {
    text.as_bytes().get(range).unwrap_or_default()
}

/// The last bytes of a part of a text.
fn last(text: &str, part: Range<usize>, length: usize) -> &str {
    text.get(part.start.max(part.end.saturating_sub(length))..part.end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, range: Range<usize>) -> String {
        let mask = |text: &str| text.replace("correct horse battery", "***");
        excerpt(text.as_bytes(), range, &mask)
    }

    #[test]
    fn a_secret_with_blanks_is_known_wherever_it_is_cut() {
        let text = "one correct horse battery two";
        for start in 0..=text.len() {
            for end in start..=text.len() {
                let shown = shown(text, start..end);
                for word in ["corr", "rect", "orse", "hor", "batt", "tery"] {
                    assert!(!shown.contains(word), "{start} {end}: {shown}");
                }
                assert!("one *** two".contains(&shown), "{start} {end}: {shown}");
            }
        }
        assert_eq!(shown(text, 0..text.len()), "one *** two");
        assert_eq!(shown(text, 10..text.len()), "*** two");
        assert_eq!(shown(text, 0..10), "one ***");
    }

    #[test]
    fn without_secrets_it_is_the_part_in_whole_words() {
        assert_eq!(shown("one two six", 4..11), "two six");
        assert_eq!(shown("one two six", 3..8), "two");
        assert_eq!(shown("one two six", 5..10), "");
        assert_eq!(shown("one two six", 5..5), "");
        assert_eq!(shown("aaaaaa", 2..4), "");
        assert_eq!(excerpt(b"\xff\xff\xff", 1..3, &str::to_owned), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn an_end_is_cut_between_characters_and_shows_no_part_of_a_secret() {
        let mask = |text: &str| text.replace("correct horse battery", "***");
        let end = |text: &str, size| end(text.as_bytes(), size, &mask);
        for (size, shown) in
            [(0, ""), (2, "ix"), (5, "o six"), (11, "one two six"), (99, "one two six")]
        {
            assert_eq!(end("one two six", size), shown);
        }
        assert_eq!(end("éé", 3), "é");
        assert_eq!(end("éé", 1), "");
        assert_eq!(super::end(b"a\xff\xff", 3, &mask), "\u{fffd}");
        let text = "one correct horse battery two";
        for size in 0..=text.len() {
            let shown = end(text, size);
            assert!("one *** two".ends_with(&shown) && shown.len() <= size, "{size}: {shown}");
            assert!(size < 4 || shown.ends_with(" two"), "{size}: {shown}");
        }
    }
}
