//! A control group (version 2) for the processes of an attempt: what enters it can leave it only by another's hand.
//!
//! By cgroups(7) and Documentation/admin-guide/cgroup-v2.rst of Linux.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// The groups of a run. One in which something was left behind cannot be removed then: that is tried again before the next is made, and
/// when all of them are dropped.
#[derive(Default)]
pub struct Cgroups {
    made: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes the group `name` in `parent`, when no other is in use.
    ///
    /// # Errors
    /// Those of [`Cgroup::create`].
    pub fn create(&mut self, parent: &Path, name: &str) -> io::Result<Cgroup> {
        self.remove();
        let cgroup = Cgroup::create(parent, name)?;
        self.made.push(cgroup.folder.clone());
        Ok(cgroup)
    }

    fn remove(&mut self) {
        self.made.retain(|folder| {
            remove(folder);
            folder.exists()
        });
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A group of our making; removed when it is dropped.
pub struct Cgroup {
    folder: PathBuf,
    entrance: File,
}

impl Cgroup {
    /// Makes the group `name` in `parent`.
    ///
    /// # Errors
    /// `parent` is no folder of a cgroup file system of version 2, or not ours to write.
    pub fn create(parent: &Path, name: &str) -> io::Result<Cgroup> {
        let folder = parent.join(name);
        fs::create_dir(&folder)?;
        match File::options().write(true).open(folder.join("cgroup.procs")) {
            Ok(entrance) => Ok(Cgroup { folder, entrance }),
            Err(error) => {
                let _was_empty = fs::remove_dir(&folder);
                Err(error)
            }
        }
    }

    /// The file by which a process enters.
    #[must_use]
    pub fn entrance(&self) -> BorrowedFd<'_> {
        self.entrance.as_fd()
    }

    /// The processes in it, and in groups that they made below it.
    #[must_use]
    pub fn members(&self) -> Vec<i32> {
        let mut members = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            members.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            folders.extend(below(&folder));
        }
        // A process outside of our PID namespace shows as 0.
        members.retain(|pid| *pid > 1);
        members
    }

    /// Kills all of them at once. Kernels before 5.14 cannot; there the processes are killed one by one.
    pub fn kill(&self) {
        let file = File::options().write(true).open(self.folder.join("cgroup.kill"));
        let _one_by_one = file.and_then(|mut file| file.write_all(b"1"));
    }
}

/// Looks whether groups can be made in a folder.
///
/// # Errors
/// It is no folder of a cgroup file system of version 2, or not ours to write.
pub fn check(parent: &Path) -> io::Result<()> {
    if !parent.join("cgroup.controllers").exists() && parent.is_dir() {
        return Err(io::Error::other("it is no cgroup of version 2"));
    }
    Cgroup::create(parent, &format!("retryrun-{}", std::process::id())).map(drop)
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes a group with those that were made below it. It stays while something that was left behind lives in it.
fn remove(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(folder) = folders.get(next) {
        folders.extend(below(&folder.clone()));
        next += 1;
    }
    for folder in folders.iter().rev() {
        let _still_used = fs::remove_dir(folder);
    }
}
