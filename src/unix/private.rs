//! Folders and files that only their owner can read, and that are what they seem: no links, and nobody else's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, fsync, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// A folder that only its owner can look into.
#[derive(Debug)]
pub struct PrivateFolder(OwnedFd);

impl PrivateFolder {
    /// The folder of a path, made if it is not there, with those above it. What leads to those above it may be links: they are
    /// where their owner put them.
    ///
    /// # Errors
    /// It cannot be made, is a link, or belongs to somebody else.
    pub fn make(path: &Path) -> io::Result<PrivateFolder> {
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(parent, flags, Mode::empty())?;
        PrivateFolder::in_folder(&parent, Path::new(name))
    }

    /// A folder in this one, made if it is not there.
    ///
    /// # Errors
    /// As for [`PrivateFolder::make`].
    pub fn folder(&self, name: &str) -> io::Result<PrivateFolder> {
        PrivateFolder::in_folder(&self.0, Path::new(name))
    }

    fn in_folder(parent: &OwnedFd, name: &Path) -> io::Result<PrivateFolder> {
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => sync(parent)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(parent, name, flags, Mode::empty()).map_err(|error| {
            let is_link = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_symlink());
            if is_link { linked() } else { error.into() }
        })?;
        keep_to_owner(&folder, Mode::RWXU)?;
        Ok(PrivateFolder(folder))
    }

    /// A file in it to be read and written, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made or opened, is no regular file, or belongs to somebody else.
    pub fn file(&self, name: &str) -> io::Result<File> {
        open_file(&self.0, Path::new(name), OFlags::RDWR | OFlags::CREATE)
    }

    /// Makes what was made in it outlive a power cut.
    ///
    /// # Errors
    /// Those of fsync(2).
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.0)?)
    }
}

/// Opens a file that only its owner can read, by a path that is seen from a folder; no link, and nothing that makes us wait.
///
/// # Errors
/// Those of open(2); or it is no regular file, or belongs to somebody else.
pub fn open_file(folder: impl AsFd, path: &Path, flags: OFlags) -> io::Result<File> {
    // NONBLOCK: a fifo of that name must not make us wait for its other end.
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let no_file = || io::Error::other("it is no regular file");
    let file = openat(folder, path, flags, Mode::RUSR | Mode::WUSR);
    let file = file.map_err(|error| match error {
        Errno::LOOP => linked(),
        // A folder, or a fifo that nobody reads, which is to be written.
        Errno::ISDIR | Errno::NXIO => no_file(),
        error => error.into(),
    })?;
    if !FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
        return Err(no_file());
    }
    keep_to_owner(&file, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(file))
}

/// What was made in a folder outlives a loss of power only if the folder is written, too. One that we may not read is left to the system.
fn sync(folder: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(folder, ".", flags, Mode::empty()) {
        Ok(folder) => Ok(fsync(folder)?),
        Err(Errno::ACCESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn linked() -> io::Error {
    io::Error::other("it is a symbolic link")
}

/// Takes what others may do with it away from them.
fn keep_to_owner(fd: &OwnedFd, mode: Mode) -> io::Result<()> {
    let found = fstat(fd)?;
    if found.st_uid != geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if Mode::from_raw_mode(found.st_mode) != mode {
        fchmod(fd, mode)?;
    }
    Ok(())
}
