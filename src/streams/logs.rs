//! A file for what each attempt wrote: the same bytes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How many attempts' files are kept from the beginning and from the end of a run: those of which the history tells.
const FIRST_KEPT: u64 = 10;
const LAST_KEPT: u64 = 100;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Stdout.
    Stdout,
    /// Stderr.
    Stderr,
    /// Both, which were one.
    Output,
}

impl Content {
    const ALL: [Content; 3] = [Content::Stdout, Content::Stderr, Content::Output];

    fn name(self) -> &'static str {
        match self {
            Content::Stdout => "stdout",
            Content::Stderr => "stderr",
            Content::Output => "output",
        }
    }
}

/// The folder of a run's logs.
#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
    /// The mode of its files, of which the umask leaves what it leaves of any.
    mode: u32,
    /// Locked as long as we live: another run does not take it then.
    _lock: File,
}

impl Logs {
    /// Takes a folder for a run. If a run that lives has it, a folder in it is taken.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn open(folder: &Path, run_id: &str) -> io::Result<Logs> {
        fs::create_dir_all(folder)?;
        let (folder, lock) = match lock(folder)? {
            Some(lock) => (folder.to_owned(), lock),
            None => {
                let folder = folder.join(run_id);
                fs::create_dir_all(&folder)?;
                let lock = File::open(&folder)?;
                (folder, lock)
            }
        };
        // Whether files can be made is known before anything is run.
        tempfile::tempfile_in(&folder)?;
        Ok(Logs { folder, mode: 0o666, _lock: lock })
    }

    /// The same, with files that only their owner can read: for secrets are still to be masked in them.
    #[must_use]
    pub fn private(self) -> Logs {
        Logs { mode: 0o600, ..self }
    }

    /// Removes the files that are there: those of an earlier run.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn forget_earlier(&self) -> io::Result<()> {
        names(&self.folder)?.iter().try_for_each(|name| fs::remove_file(self.folder.join(name)))
    }

    /// An attempt begins: what is no longer kept is removed.
    pub fn begin(&self, attempt: u64) {
        let old = attempt.saturating_sub(LAST_KEPT);
        if old > FIRST_KEPT {
            for content in Content::ALL {
                let _there_was_none = fs::remove_file(self.path(old, content));
            }
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of an attempt.
    #[must_use]
    pub fn path(&self, attempt: u64, content: Content) -> PathBuf {
        self.folder.join(name(attempt, content))
    }
}

fn name(attempt: u64, content: Content) -> String {
    format!("attempt-{attempt}.{}.log", content.name())
}

/// The folder, locked; none if somebody else has it.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(Some(file))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The names of the files that a folder of logs holds.
///
/// # Errors
/// It cannot be read.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    let names: Vec<Option<String>> = names.collect::<io::Result<_>>()?;
    Ok(names.into_iter().flatten().filter(|name| is_ours(name)).collect())
}

/// `attempt-N.stdout.log` and its like, and nothing else.
fn is_ours(name: &str) -> bool {
    let number_and_content =
        name.strip_prefix("attempt-").and_then(|rest| rest.strip_suffix(".log"));
    number_and_content.and_then(|rest| rest.split_once('.')).is_some_and(|(number, content)| {
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && Content::ALL.iter().any(|known| known.name() == content)
    })
}

/// One file, until it cannot be written.
#[derive(Debug)]
pub struct Log(Option<File>);

impl Log {
    /// A new file among `logs`.
    #[must_use]
    pub fn create(path: &Path, logs: &Logs) -> (Log, Option<io::Error>) {
        let mut options = OpenOptions::new();
        match options.write(true).create(true).truncate(true).mode(logs.mode).open(path) {
            Ok(file) => (Log(Some(file)), None),
            Err(error) => (Log(None), Some(error)),
        }
    }

    /// Adds bytes; answers once why that is no longer possible.
    pub fn write(&mut self, bytes: &[u8]) -> Option<io::Error> {
        let error = self.0.as_mut()?.write_all(bytes).err()?;
        self.0 = None;
        Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_ours_are_removed() {
        for name in ["attempt-1.stdout.log", "attempt-120.output.log"] {
            assert!(is_ours(name), "{name}");
        }
        for name in
            ["attempt-.stdout.log", "attempt-1.log", "attempt-1.x.log", "attempt-a.stderr.log", "x"]
        {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn a_folder_in_use_is_left_to_its_run() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("attempt-7.stderr.log"), "old").expect("a file");
        fs::write(folder.path().join("notes"), "mine").expect("a file");
        let first = Logs::open(folder.path(), "a1").expect("it is free");
        first.forget_earlier().expect("they are ours");
        let names = || fs::read_dir(folder.path()).expect("it is there").count();
        assert_eq!((first.folder.as_path(), names()), (folder.path(), 1));
        let second = Logs::open(folder.path(), "b2").expect("there is room for both");
        assert_eq!(second.folder, folder.path().join("b2"));
        drop(first);
        let third = Logs::open(folder.path(), "c3").expect("it is free again");
        assert_eq!(third.folder, folder.path());
    }
}
