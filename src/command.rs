//! What is run, how it is shown, and how it is to be held.

use std::ffi::CString;
use std::path::PathBuf;
use std::rc::Rc;

use crate::config::environment::Environment;
use crate::config::value::ProcessGroup;
use crate::hook::Commands;
use crate::jobs::folder::Folder;
use crate::streams::logs::Logs;
use crate::streams::outputs::Plan;
use crate::streams::stdin::Wish;

/// The command of a run.
pub struct Command {
    /// The command's words.
    pub words: Vec<CString>,
    /// The first of them, fit to be shown.
    pub shown_name: String,
    /// What it inherits.
    pub environment: Environment,
    /// Where it stands among the other processes.
    pub process_group: ProcessGroup,
    /// The folder of cgroups in which each attempt gets its own.
    pub cgroup: Option<PathBuf>,
    /// What is done with its streams.
    pub streams: StreamPlan,
    /// Commands of the user's own.
    pub hooks: Commands,
    /// Whether the command may say what it knows of its failure.
    pub hints: bool,
    /// Whether it runs in a locale in which rules on text hold.
    pub c_locale: bool,
    /// The folder of the named run that it is.
    pub job: Option<Folder>,
    /// Masks secrets in text of the command's.
    pub mask: Rc<dyn Fn(&str) -> String>,
}

/// What is done with the streams of the command.
pub struct StreamPlan {
    /// What it reads.
    pub stdin: Wish,
    /// Limit on the input that is kept.
    pub spool_limit: Option<u64>,
    /// What is done with what it writes.
    pub outputs: Plan,
    /// The folder for that.
    pub logs: Option<Logs>,
}
