//! The job summary: Markdown in a file that the CI system shows beside the job's log.
//!
//! What stands in it is written elsewhere.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::system::{System, azure_upload};
use crate::error::reason;

/// What GitHub takes for one step; of a longer file it shows nothing.
const GITHUB_LIMIT: u64 = 1024 * 1024;

/// The variables that name the places.
const GITHUB_FILE: &str = "GITHUB_STEP_SUMMARY";
const AZURE_FOLDER: &str = "AGENT_TEMPDIRECTORY";

/// Where a system wants its summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// At the end of a file, behind those of other programs in the same step.
    AtTheEndOf(PathBuf),
    /// In a file of its own in this folder, of which the agent is told.
    In(PathBuf),
}

impl Summary {
    /// The place that the system names; none if it has no summaries.
    pub fn of<'a>(system: System, variable: impl Fn(&str) -> Option<&'a OsStr>) -> Option<Summary> {
        let path = |name| variable(name).map(PathBuf::from);
        match system {
            System::GitHub => path(GITHUB_FILE).map(Summary::AtTheEndOf),
            // The agent empties it after the job, and reads the file before.
            System::Azure => path(AZURE_FOLDER).map(Summary::In),
            System::GitLab | System::Buildkite => None,
        }
    }

    /// Writes a run's summary, and answers what the system has to be told of it in the output, if anything.
    ///
    /// # Errors
    /// Why it could not be written, in a sentence.
    pub fn write(&self, run_id: &str, markdown: &str) -> Result<Option<String>, String> {
        // Not the path, in which others may have put a secret.
        let fail = |variable: &str, error: &io::Error| {
            format!("cannot write the job summary of {variable}: {}", reason(error))
        };
        match self {
            Summary::AtTheEndOf(path) => {
                append(path, markdown).map_err(|error| fail(GITHUB_FILE, &error))?;
                Ok(None)
            }
            Summary::In(folder) => {
                let path = folder.join(format!("retryrun-{run_id}.md"));
                create(&path, markdown).map_err(|error| fail(AZURE_FOLDER, &error))?;
                Ok(Some(azure_upload(&path.to_string_lossy())))
            }
        }
    }
}

fn append(path: &Path, markdown: &str) -> io::Result<()> {
    // To open a pipe would wait for its reader.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let before = file.metadata()?.len();
    // What stands before may end in the middle of a line, or of a paragraph.
    let begin = if before > 0 { "\n\n" } else { "" };
    let text = format!("{begin}{markdown}");
    if before.saturating_add(text.len() as u64) > GITHUB_LIMIT {
        return Err(io::Error::other("it would be longer than the 1 MiB that a step may have"));
    }
    file.write_all(text.as_bytes())
}

fn create(path: &Path, markdown: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(markdown.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_others_wrote_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("summary");
        let summary = Summary::AtTheEndOf(path.clone());
        assert_eq!(summary.write("1", "# One\n"), Ok(None));
        assert_eq!(summary.write("2", "# Two\n"), Ok(None));
        assert_eq!(fs::read_to_string(path).expect("text"), "# One\n\n\n# Two\n");
    }

    #[test]
    fn a_step_s_limit_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("summary");
        let before = "x".repeat(1024 * 1024 - 6);
        fs::write(&path, &before).expect("a file");
        let write = |text: &str| Summary::AtTheEndOf(path.clone()).write("1", text);
        let refused = write("12345").expect_err("a byte too long");
        assert!(refused.ends_with(": it would be longer than the 1 MiB that a step may have"));
        assert_eq!(fs::read_to_string(&path).expect("text"), before);
        assert_eq!(write("1234"), Ok(None));
        assert_eq!(fs::metadata(&path).expect("a file").len(), 1024 * 1024);
    }

    #[test]
    fn what_cannot_be_written_is_said_and_never_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |path: &Path| Summary::AtTheEndOf(path.to_owned()).write("1", "x");
        let said =
            |why: &str| Err(format!("cannot write the job summary of GITHUB_STEP_SUMMARY: {why}"));
        assert_eq!(refused(folder.path()), said("it is no regular file"));
        assert_eq!(refused(&folder.path().join("no/file")), said("No such file or directory"));
    }

    #[test]
    fn azure_is_told_of_a_file_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let summary = Summary::In(folder.path().to_owned());
        let path = folder.path().join("retryrun-0a.md");
        let told = format!("##vso[task.uploadsummary]{}\n", path.display());
        assert_eq!(summary.write("0a", "# One\n"), Ok(Some(told)));
        assert_eq!(fs::read_to_string(path).expect("text"), "# One\n");
    }
}
