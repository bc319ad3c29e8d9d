//! Errors of retryrun itself: what went wrong, and the exit status of each kind.
//!
//! A command that fails is no error: that is what the engine judges.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::engine::exit::Exit;

/// What can go wrong with retryrun itself. Each message is one sentence that names the culprit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or the environment says something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// A configuration file says something that cannot be.
    #[error("{}:{}:{}: {}", .0.path.display(), .0.line, .0.column, .0.message)]
    Config(Box<Fault>),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {}", path.display(), reason(source))]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// What an option asks for cannot be had.
    #[error("--{option}: cannot {action} {}: {}", path.display(), reason(source))]
    Option {
        /// Its long name.
        option: &'static str,
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The state of a named run cannot be used.
    #[error("cannot use the state of the run {name}: {}", reason(source))]
    Job {
        /// The run's name.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The journal of a named run is damaged.
    #[error("the journal of {0} says nothing")]
    Journal(String),
    /// A named run does not go on.
    #[error("the run {0} does not go on: nobody is there to hear it")]
    NotRunning(String),
    /// A named run goes on, and cannot be reached.
    #[error("the run {name} goes on as process {pid}, but cannot be reached: it has no socket")]
    Deaf {
        /// The run's name.
        name: String,
        /// Who has it.
        pid: u32,
    },
    /// A report cannot be written.
    #[error("--report: cannot write {name}: {}", reason(source))]
    Report {
        /// The report as users know it.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The system refused what supervising needs.
    #[error("cannot {action}: {}", reason(source))]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// A fault in a file, with its place.
#[derive(Debug)]
pub struct Fault {
    path: PathBuf,
    line: usize,
    column: usize,
    message: String,
    text: String,
    span: Range<usize>,
}

impl Error {
    /// A fault at a place of a file, given in bytes; a place outside of the text is its end.
    #[must_use]
    pub fn fault(path: &Path, text: &str, span: Option<Range<usize>>, message: String) -> Error {
        let clamp = |index: usize| {
            (0..=index.min(text.len()))
                .rev()
                .find(|index| text.is_char_boundary(*index))
                .unwrap_or(0)
        };
        let span = span.map_or(text.len()..text.len(), |span| clamp(span.start)..clamp(span.end));
        let (line, column) = line_and_column(text, span.start);
        let (path, text) = (path.to_owned(), text.to_owned());
        Error::Config(Box::new(Fault { path, line, column, message, text, span }))
    }

    /// Our exit status for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Error::NotRunning(_) | Error::Deaf { .. } => Exit::Code(1),
            Error::Usage(_)
            | Error::Config(_)
            | Error::File { .. }
            | Error::Option { .. }
            | Error::Job { .. }
            | Error::Journal(_)
            | Error::Report { .. }
            | Error::System { .. } => Exit::FAILED,
        }
    }

    /// Lines that show the place of a fault, with a caret under it; none for other errors.
    #[must_use]
    pub fn excerpt(&self) -> Vec<String> {
        let Error::Config(fault) = self else { return Vec::new() };
        let annotation = AnnotationKind::Primary.span(fault.span.clone());
        let snippet = Snippet::source(&fault.text).annotation(annotation);
        let group = Level::ERROR.no_name().primary_title("").element(snippet);
        let rendered = Renderer::plain().render(&[group]);
        // The first line is the title, which our own message replaces.
        rendered.lines().skip(1).map(str::to_owned).collect()
    }
}

/// The system's words for an error, without the number that Rust adds.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// Line and column of a place, from 1; columns count characters.
#[must_use]
pub fn line_and_column(text: &str, place: usize) -> (usize, usize) {
    let before = text.get(..place).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}
