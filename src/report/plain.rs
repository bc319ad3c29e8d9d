//! Text of others for files that people read: without terminal escapes and control characters, its lines kept.
//!
//! It takes whole text. A stream that is cut anywhere, and searched, is `patterns::escapes`'.

use std::iter::Peekable;
use std::str::Chars;

/// The text as a person reads it: terminal escapes are left out (ECMA-48 and xterm's ctlseqs), every way to end a line becomes a
/// newline, and what is left of control characters, and the two that no XML can hold, becomes U+FFFD.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_sequence(&mut chars),
            '\n' | '\t' => shown.push(c),
            '\r' if matches!(chars.peek(), Some('\r' | '\n')) => {}
            // By a return alone, progress bars begin their line again.
            '\r' | '\u{2028}' | '\u{2029}' => shown.push('\n'),
            '\u{fffe}' | '\u{ffff}' => shown.push(char::REPLACEMENT_CHARACTER),
            _ if c.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
            _ => shown.push(c),
        }
    }
    shown
}

/// Skips what belongs to ESC.
fn skip_escape(chars: &mut Peekable<Chars>) {
    let mut is_designation = false;
    while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {
        is_designation = true;
    }
    match chars.next_if(|c| matches!(c, '0'..='~')) {
        Some('[') if !is_designation => skip_sequence(chars),
        Some(']' | 'P' | 'X' | '^' | '_') if !is_designation => skip_string(chars),
        Some(_) | None => {}
    }
}

/// Skips parameters and the final character of a control sequence.
fn skip_sequence(chars: &mut Peekable<Chars>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// Skips a control string up to what ends it: BEL, ST, or the end of a line, since one that was never closed must not hide all that
/// follows. ESC is left, as the beginning of ST or of another escape.
fn skip_string(chars: &mut Peekable<Chars>) {
    while chars.next_if(|c| !matches!(c, '\u{7}' | '\u{9c}' | '\u{1b}' | '\n')).is_some() {}
    chars.next_if(|c| matches!(c, '\u{7}' | '\u{9c}'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_left_out() {
        for (text, shown) in [
            ("\u{1b}[1;31merror\u{1b}[0m: é", "error: é"),
            ("\u{9b}31mred\u{9b}m", "red"),
            ("\u{1b}]8;;http://h/\u{1b}\\link\u{1b}]8;;\u{7}.", "link."),
            ("\u{1b}(Bplain \u{1b}7saved\u{1b}=", "plain saved"),
            ("\u{1b}#[shown", "shown"),
            ("\u{1b}]0;never closed\nnext", "\nnext"),
            ("\u{1b}[12", ""),
            ("\u{1b}", ""),
        ] {
            assert_eq!(plain(text), shown, "{text:?}");
        }
    }

    #[test]
    fn lines_are_kept_and_other_controls_are_not() {
        assert_eq!(plain("a\r\nb\r\r\nc\td\n"), "a\nb\nc\td\n");
        assert_eq!(plain("10%\r20%\rdone"), "10%\n20%\ndone");
        assert_eq!(plain("a\u{2028}b\u{2029}c"), "a\nb\nc");
        assert_eq!(plain("\0\u{8}\u{7f}\u{85}\u{fffe}\u{ffff}."), "\u{fffd}".repeat(6) + ".");
    }
}
