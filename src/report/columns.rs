//! Text in a given number of columns.

/// What stands for the rest of a text that is cut.
const MORE: &str = "...";

/// No more columns than this does a text take up: terminals disagree about what is not ASCII.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

/// The beginning of a text, where all of it is too long.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut free = columns.saturating_sub(MORE.len());
    let fits = |c: &char| {
        let is_room = width_of(*c) <= free;
        free = free.saturating_sub(width_of(*c));
        is_room
    };
    let beginning: String = text.chars().take_while(fits).collect();
    let more = MORE.get(..columns.min(MORE.len())).unwrap_or_default();
    beginning + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_as_wide_as_it_may_be() {
        let at = |columns| cut("naïve text", columns);
        assert_eq!([at(11), at(10), at(6), at(4)], ["naïve text", "naïve ...", "na...", "n..."]);
        assert_eq!([at(3), at(2), at(0)], ["...", "..", ""]);
        for columns in 0..12 {
            assert!(width(&at(columns)) <= columns);
        }
    }
}
