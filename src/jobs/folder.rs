//! Where state is kept: a folder that only its owner can read, and one in it for each named run.
//!
//! Nothing is opened through a link: whoever could make one here would be the owner.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use rustix::fs::{CWD, OFlags};

use crate::config::environment::Environment;
use crate::config::name::Name;
use crate::config::state_folder;
use crate::engine::time::Timestamp;
use crate::error::Error;
use crate::unix::lock;
use crate::unix::private::{PrivateFolder, open_file};

/// The state of this user's runs.
#[derive(Clone, Debug)]
pub struct State {
    path: PathBuf,
}

/// The folder of a named run.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// What keeps others from a named run as long as we live.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

const LOCK: &str = "lock";

impl State {
    /// Where the environment says that it is.
    ///
    /// # Errors
    /// It does not say.
    pub fn of(environment: &Environment) -> Result<State, Error> {
        match state_folder(environment) {
            Some(path) => Ok(State { path }),
            None => Err(Error::Usage(
                "state of runs has no place: neither XDG_STATE_HOME nor HOME names a folder".into(),
            )),
        }
    }

    /// The folder of a named run, made where there is none.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn create(&self, name: &Name) -> Result<Folder, Error> {
        let path = self.jobs().join(name.as_str());
        for folder in [&self.path, &self.jobs(), &path] {
            let fail =
                |source| Error::File { action: "keep state in", path: folder.clone(), source };
            PrivateFolder::make(folder).map_err(fail)?;
        }
        Ok(Folder { path })
    }

    /// The folder of a named run, if there is one.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<Folder> {
        let path = self.jobs().join(name.as_str());
        let is_ours = fs::symlink_metadata(&path).is_ok_and(|metadata| {
            metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
        });
        is_ours.then_some(Folder { path })
    }

    /// All named runs.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<Vec<(Name, Folder)>, Error> {
        let jobs = self.jobs();
        let entries = match fs::read_dir(&jobs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::File { action: "read", path: jobs, source }),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut all: Vec<(Name, Folder)> =
            names.filter_map(|name| Some((Name::clone(&name), self.find(&name)?))).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    fn jobs(&self) -> PathBuf {
        self.path.join("jobs")
    }
}

impl Folder {
    /// A folder that there is.
    #[cfg(test)]
    pub(super) fn at(path: PathBuf) -> Folder {
        Folder { path }
    }

    /// The name of the run.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.path.file_name()?.to_str()
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file in it, which only its owner can read, and no link.
    ///
    /// # Errors
    /// Those of [`open_file`].
    pub fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        open_file(CWD, &self.path.join(name), flags)
    }

    /// New names in it are to outlive a loss of power.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Takes the run for us; none if a process that lives has it.
    ///
    /// # Errors
    /// The lock cannot be made, or the file system has none.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        loop {
            let file = match self.open(LOCK, OFlags::RDWR | OFlags::CREATE) {
                Ok(file) => file,
                // Whoever had it has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    PrivateFolder::make(&self.path)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !lock::take(&file)? {
                return Ok(None);
            }
            // It may have been removed between the two.
            let ours = file.metadata()?;
            match fs::symlink_metadata(self.file(LOCK)) {
                Ok(now) if (now.dev(), now.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Some(Lock { file }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The process that has the run, where one that lives does; 0 where that has not said so.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        let mut file = self.open(LOCK, OFlags::RDONLY).ok()?;
        if !lock::is_taken(&file).ok()? {
            return None;
        }
        let mut text = String::new();
        let _not_text = file.read_to_string(&mut text);
        Some(text.trim().parse().unwrap_or(0))
    }

    /// When a file was made in it or removed from it.
    ///
    /// # Errors
    /// It is gone.
    pub fn changed(&self) -> io::Result<Timestamp> {
        let since_epoch = fs::metadata(&self.path)?.modified()?.duration_since(UNIX_EPOCH);
        Ok(Timestamp::since_epoch(since_epoch.unwrap_or_default()))
    }

    /// Whether a process that lives has the run.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.owner().is_some()
    }

    /// Removes it with all that is in it; only who has its lock may.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, _lock: &Lock) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

impl Lock {
    /// Says to others who has it.
    pub fn sign(&mut self, pid: u32) {
        // It is only told: on a disk that is full the lock holds, too.
        let _unsigned = self.file.set_len(0).and_then(|()| writeln!(self.file, "{pid}"));
    }
}
