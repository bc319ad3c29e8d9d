//! Names that users give to what is kept between runs; a file each.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::engine::keyword::scalars;

/// A name: 1 to 100 of letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`. So it is one component of a path, and
/// no option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Name(String);

/// What a name may be, in words.
const EXPECTED_NAME: &str =
    "expected a name: 1 to 100 letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`";

/// How long a name may be: with what we add to it, it fits every file system.
const LONGEST: usize = 100;

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
        match begins && text.len() <= LONGEST && text.bytes().all(is_known) {
            true => Ok(Name(text.to_owned())),
            false => Err(EXPECTED_NAME.to_owned()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

scalars!(Word: Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_of_a_path() {
        let longest = "x".repeat(100);
        for text in ["a", "_a", "A.b_c-9", "9", "a..b", longest.as_str()] {
            assert_eq!(text.parse::<Name>().as_ref().map(Name::as_str), Ok(text));
        }
        let too_long = "x".repeat(101);
        for text in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "../a",
            "a b",
            "a\n",
            "a\0b",
            "é",
            "a:b",
            "*",
            too_long.as_str(),
        ] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }
}
