//! The CI systems that read commands from a job's output: how each is known, and how its commands are written.
//!
//! What is said with them is not decided here.

use std::ffi::OsStr;

use tracing::Level;

use crate::engine::time::Timestamp;
use crate::report::text::harmless;

/// A CI system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// GitHub Actions, and what speaks its language: Gitea, Forgejo, act.
    GitHub,
    /// GitLab CI/CD.
    GitLab,
    /// Azure Pipelines.
    Azure,
    /// Buildkite.
    Buildkite,
}

/// How grave an annotation is. The words are those of GitHub and Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// Somebody should know.
    Warning,
    /// It failed.
    Error,
}

/// What groups of one run are told apart by, where their ends have to name them.
pub struct Section<'a> {
    /// The run: letters and digits.
    pub run_id: &'a str,
    /// The attempt.
    pub attempt: u64,
}

impl System {
    /// The system in which we run, by the variable that each sets in every job; none in none of them.
    pub fn detect<'a>(variable: impl Fn(&str) -> Option<&'a OsStr>) -> Option<System> {
        // The values by the reference of each system. TF_BUILD is `True`, the others are `true`.
        const VARIABLES: [(&str, System); 4] = [
            ("GITHUB_ACTIONS", System::GitHub),
            ("GITLAB_CI", System::GitLab),
            ("TF_BUILD", System::Azure),
            ("BUILDKITE", System::Buildkite),
        ];
        let is_on = |name| variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        VARIABLES.into_iter().find(|(name, _)| is_on(name)).map(|(_, system)| system)
    }

    /// What begins a collapsible group, at the beginning of a line.
    ///
    /// GitLab's stays open until somebody closes it: nobody knows yet whether this attempt is the one to look at.
    #[must_use]
    pub fn group_begins(self, section: &Section, title: &str, at: Timestamp) -> String {
        let title = harmless(title);
        match self {
            System::GitHub => format!("::group::{}\n", github_data(&title)),
            System::GitLab => format!("{}{title}\n", gitlab_section("start", section, at)),
            System::Azure => format!("##[group]{title}\n"),
            System::Buildkite => format!("--- {title}\n"),
        }
    }

    /// What ends it, wherever in a line the command has left off. The next line is at its beginning.
    ///
    /// Only GitLab reads its commands in the middle of a line. A group of Buildkite's lasts to the next.
    #[must_use]
    pub fn group_ends(self, section: &Section, at: Timestamp) -> String {
        match self {
            System::GitHub => "\n::endgroup::\n".to_owned(),
            System::GitLab => format!("{}\n", gitlab_section("end", section, at)),
            System::Azure => "\n##[endgroup]\n".to_owned(),
            System::Buildkite => "\n".to_owned(),
        }
    }

    /// How the run ended, at the beginning of a line: an annotation. Buildkite, which takes none from a job's output, gets a group
    /// for all that follows, and after an error the last attempt's is opened; GitLab has nothing of the kind.
    #[must_use]
    pub fn annotation(self, gravity: Gravity, text: &str) -> Option<String> {
        let text = harmless(text);
        match self {
            System::GitHub => {
                Some(format!("::{} title=retryrun::{}\n", gravity.word(), github_data(&text)))
            }
            System::GitLab => None,
            System::Azure => {
                let text = azure_data(&text);
                Some(format!("##vso[task.logissue type={}]retryrun: {text}\n", gravity.word()))
            }
            System::Buildkite => Some(match gravity {
                Gravity::Warning => format!("--- retryrun: {text}\n"),
                Gravity::Error => format!("^^^ +++\n+++ retryrun: {text}\n"),
            }),
        }
    }
}

impl Gravity {
    /// The level of our lines that it belongs to.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Gravity::Warning => Level::WARN,
            Gravity::Error => Level::ERROR,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Gravity::Warning => "warning",
            Gravity::Error => "error",
        }
    }
}

/// What makes Azure's agent read a job summary.
#[must_use]
pub fn azure_upload(path: &str) -> String {
    format!("##vso[task.uploadsummary]{}\n", azure_data(path))
}

/// By GitLab's documentation of job logs. A name is of letters, digits, `_`, `.` and `-`.
fn gitlab_section(which: &str, Section { run_id, attempt }: &Section, at: Timestamp) -> String {
    let seconds = at.as_duration().as_secs();
    format!("\u{1b}[0Ksection_{which}:{seconds}:retryrun_{run_id}_{attempt}\r\u{1b}[0K")
}

/// Text behind a command's last `::`, as actions/toolkit writes it.
fn github_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text behind a command's `]`, as the agent's design of percent encoding has it.
fn azure_data(text: &str) -> String {
    text.replace('%', "%AZP25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_is_known_by_its_variable() {
        let detect = |name: &str, value: &'static str| {
            System::detect(|asked| Some(OsStr::new(value)).filter(|_| asked == name))
        };
        assert_eq!(detect("GITHUB_ACTIONS", "true"), Some(System::GitHub));
        assert_eq!(detect("GITLAB_CI", "true"), Some(System::GitLab));
        assert_eq!(detect("TF_BUILD", "True"), Some(System::Azure));
        assert_eq!(detect("BUILDKITE", "true"), Some(System::Buildkite));
        assert_eq!(detect("GITHUB_ACTIONS", "false"), None);
        assert_eq!(detect("CI", "true"), None);
    }

    #[test]
    fn what_a_system_would_decode_is_encoded() {
        let text = "100%25 of ::error::x and ##vso[task.complete]";
        let annotation = |system: System| system.annotation(Gravity::Error, text);
        assert_eq!(
            annotation(System::GitHub).as_deref(),
            Some("::error title=retryrun::100%2525 of ::error::x and #\\#vso[task.complete]\n")
        );
        assert_eq!(
            annotation(System::Azure).as_deref(),
            Some(
                "##vso[task.logissue type=error]retryrun: 100%AZP2525 of ::error::x and #\\#vso[task.complete]\n"
            )
        );
        assert_eq!(azure_upload("/50%/\n"), "##vso[task.uploadsummary]/50%AZP25/%0A\n");
    }
}
