//! Where reports go: a file that appears when it is whole, a file that grows, or what takes text in place.
//!
//! What stands in them is `report`'s.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::config::report::{Format, Place, Report};
use crate::report::Destination;
use crate::unix::receiver::{Receiver, check_descriptor};

/// How many links may lead from one to the other: as many as the kernel follows.
const MOST_LINKS: u32 = 40;

/// Checks a descriptor that a report goes to: before anything is opened, whose descriptor could be taken for one that we were given.
///
/// # Errors
/// We were not given it, or not to write to.
pub fn check(report: &Report) -> io::Result<()> {
    match &report.place {
        Place::Stdout => check_descriptor(1),
        Place::Descriptor(number) => check_descriptor(*number),
        Place::Path(_) => Ok(()),
    }
}

/// The file that a report takes for itself, by the one name that it has without links; none where it goes to what others may write to,
/// too: a descriptor, a fifo or a device.
///
/// # Errors
/// It leads nowhere.
pub fn file(report: &Report) -> io::Result<Option<PathBuf>> {
    let Place::Path(path) = &report.place else { return Ok(None) };
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Ok(None);
    }
    let path = target(path)?;
    let folder = fs::canonicalize(folder(&path))?;
    Ok(path.file_name().map(|name| folder.join(name)))
}

/// The destination of a report that was checked. That it can be written is known before anything is run.
///
/// # Errors
/// It cannot be opened or made.
pub fn open(report: &Report) -> io::Result<Box<dyn Destination>> {
    let path = match &report.place {
        Place::Stdout => return Ok(Box::new(InPlace(Receiver::of_descriptor(1)?))),
        Place::Descriptor(number) => {
            return Ok(Box::new(InPlace(Receiver::of_descriptor(*number)?)));
        }
        Place::Path(path) => path,
    };
    match (Receiver::at(path)?, report.format) {
        (Some(receiver), _) => Ok(Box::new(InPlace(receiver))),
        (None, Format::Ndjson) => Ok(Box::new(GrowingFile::create(path)?)),
        (None, _) => Ok(Box::new(WholeFile::new(path)?)),
    }
}

/// A descriptor, a fifo or a device.
struct InPlace(Receiver);

impl Destination for InPlace {
    fn is_ours_alone(&self) -> bool {
        false
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.write(text.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()
    }

    /// What was written cannot be taken back.
    fn discard(&mut self) -> io::Result<()> {
        self.finish()
    }
}

/// A file that is written line by line.
pub struct GrowingFile {
    file: File,
    path: PathBuf,
}

impl GrowingFile {
    /// An empty file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> io::Result<GrowingFile> {
        let path = target(path)?;
        Ok(GrowingFile { file: File::create(&path)?, path })
    }
}

impl Destination for GrowingFile {
    fn is_ours_alone(&self) -> bool {
        true
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            // Somebody else has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// A file that appears under its name when it is whole: by then an earlier one of that name is untouched.
pub struct WholeFile {
    path: PathBuf,
    text: String,
}

impl WholeFile {
    /// A file in a folder that can be written.
    ///
    /// # Errors
    /// It cannot.
    pub fn new(path: &Path) -> io::Result<WholeFile> {
        let path = target(path)?;
        // Whoever may write the file, but not its folder, gets it in place.
        if let Err(error) = Builder::new().prefix(".retryrun-").tempfile_in(folder(&path)) {
            OpenOptions::new().write(true).open(&path).map_err(|_| error)?;
        }
        Ok(WholeFile { path, text: String::new() })
    }
}

/// The file that is written under a name. A link stays one: what it leads to is meant, be it there or not.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        target => return target,
    }
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let name = path.as_os_str().as_bytes().rsplit(|byte| *byte == b'/').next();
        if matches!(name, None | Some(b"" | b"." | b"..")) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        match fs::read_link(&path) {
            Ok(next) => path = folder(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

impl Destination for WholeFile {
    fn is_ours_alone(&self) -> bool {
        true
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.text.push_str(text);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        replace(&self.path, self.text.as_bytes())
    }

    fn discard(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts a file of these bytes in the place of another: readers see the old one or the new one, and never a part. Where only the file
/// is the user's, and not its folder, it is written in place.
///
/// # Errors
/// It cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(path).ok();
    let new = Builder::new()
        .prefix(".retryrun-")
        // What the umask leaves of it, as for any new file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder(path));
    let mut file = match new {
        Ok(file) => file,
        Err(error) => return overwrite(path, bytes).map_err(|_| error),
    };
    file.write_all(bytes)?;
    if let Some(before) = before {
        let (user, group) = (Some(before.uid()), Some(before.gid()));
        let _as_far_as_we_may =
            fchown(file.as_file(), user, group).or_else(|_| fchown(file.as_file(), None, group));
        file.as_file().set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
    }
    file.as_file().sync_all()?;
    // A file that is a mount of its own, as containers are given them, cannot be replaced.
    file.persist(path).map(drop).or_else(|error| overwrite(path, bytes).map_err(|_| error.error))
}

fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(bytes)
}
