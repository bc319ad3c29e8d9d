//! `--report [FORMAT:]PATH`: what is written of a run, and where.
//!
//! Only the words: whether the place can be written is found out when a run begins.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::engine::keyword::{Keyword, expected, keywords, scalars};

keywords! {
    /// What a report is written in.
    Format {
        /// The history.
        Json = "json",
        /// The events, a line each.
        Ndjson = "ndjson",
        /// For a summary of a CI's.
        Markdown = "markdown",
        /// For people.
        Html = "html",
        /// For a dashboard of a CI's.
        Junit = "junit",
        /// A folder with all that is known of the run.
        Bundle = "bundle",
    }
}

keywords! {
    /// When reports are written.
    ReportWhen {
        /// When the run did not succeed.
        Failure = "failure",
        /// Always.
        Always = "always",
    }
}

impl Format {
    /// The format that the ending of a file's name stands for.
    fn of_ending(path: &str) -> Option<Format> {
        let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
        match ending {
            "json" => Some(Format::Json),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            "md" | "markdown" => Some(Format::Markdown),
            "html" | "htm" => Some(Format::Html),
            "xml" => Some(Format::Junit),
            _ => None,
        }
    }
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To our stdout.
    Stdout,
    /// To a descriptor that we were given.
    Descriptor(i32),
    /// To a file, or to what else has a path.
    Path(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Stdout => f.write_str("-"),
            Place::Descriptor(number) => write!(f, "fd:{number}"),
            Place::Path(path) => path.display().fmt(f),
        }
    }
}

/// One report: `[FORMAT:]PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is written in.
    pub format: Format,
    /// Where it goes.
    pub place: Place,
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Report, String> {
        let (said, path) = match text.split_once(':') {
            Some((word, path)) if is_word(word) && word != "fd" => {
                let format = word.parse().map_err(|_| {
                    let expected = expected(word, Format::NAMES);
                    format!("before the `:`, {expected} (a path with a `:` may begin with `./`)")
                })?;
                (Some(format), path)
            }
            _ => (None, text),
        };
        let place = place(path)?;
        let of_ending = || match &place {
            Place::Path(_) => Format::of_ending(path),
            Place::Stdout | Place::Descriptor(_) => None,
        };
        let format = said.or_else(of_ending).ok_or(
            "expected FORMAT:PATH, or a name that ends in .json, .ndjson, .jsonl, .md, .markdown, .html, .htm or .xml",
        )?;
        match (format, &place) {
            (Format::Bundle, Place::Stdout | Place::Descriptor(_)) => {
                Err("a bundle is a folder: expected its path".into())
            }
            _ => Ok(Report { format, place }),
        }
    }
}

/// Whether it is written as a format's name is.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn place(path: &str) -> Result<Place, String> {
    // Opened by these names a file would be another one, or replaced with all that stands in it.
    let of_a_system =
        ["/dev/fd/", "/proc/self/fd/"].iter().find_map(|folder| path.strip_prefix(folder));
    match (path, path.strip_prefix("fd:").or(of_a_system)) {
        ("", _) => Err("expected a path".into()),
        ("-" | "/dev/stdout", _) => Ok(Place::Stdout),
        ("/dev/stderr", _) => Ok(Place::Descriptor(2)),
        (_, Some(number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = number.parse();
            number.map(Place::Descriptor).map_err(|_| "expected fd:N, N a descriptor".into())
        }
        (_, Some(_)) => Err("expected fd:N, N a descriptor".into()),
        _ => Ok(Place::Path(PathBuf::from(path))),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.format, self.place)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

scalars!(Word: Report);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_said_or_is_that_of_the_ending() {
        for (text, shown) in [
            ("a.json", "json:a.json"),
            ("events.ndjson", "ndjson:events.ndjson"),
            ("a.b/c.jsonl", "ndjson:a.b/c.jsonl"),
            ("s.md", "markdown:s.md"),
            ("r.html", "html:r.html"),
            ("r.xml", "junit:r.xml"),
            ("json:r.xml", "json:r.xml"),
            ("html:-", "html:-"),
            ("json:fd:3", "json:fd:3"),
            ("json:/dev/fd/63", "json:fd:63"),
            ("json:/proc/self/fd/1", "json:fd:1"),
            ("json:/dev/stdout", "json:-"),
            ("json:/dev/stderr", "json:fd:2"),
            ("bundle:dir", "bundle:dir"),
            ("./a:b.json", "json:./a:b.json"),
            ("C:b.json", "json:C:b.json"),
            ("json:a:b", "json:a:b"),
        ] {
            assert_eq!(text.parse::<Report>().map(|report| report.to_string()), Ok(shown.into()));
        }
    }

    #[test]
    fn what_names_no_format_or_place_is_refused() {
        for (text, said) in [
            ("a.txt", "expected FORMAT:PATH"),
            ("a", "expected FORMAT:PATH"),
            (".json/a", "expected FORMAT:PATH"),
            ("-", "expected FORMAT:PATH"),
            ("fd:3", "expected FORMAT:PATH"),
            ("jsn:a", "did you mean `json`?"),
            ("json:", "expected a path"),
            ("", "expected a path"),
            ("json:fd:x", "expected fd:N"),
            ("json:fd:", "expected fd:N"),
            ("json:fd:99999999999", "expected fd:N"),
            ("bundle:-", "a bundle is a folder"),
        ] {
            let error = text.parse::<Report>().expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
