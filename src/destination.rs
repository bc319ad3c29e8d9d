//! Where reports go: a file that appears when it is whole, a file that grows, or what takes text in place.
//!
//! What stands in them is `report`'s.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::config::report::{Format, Place, Report};
use crate::report::Destination;
use crate::unix::receiver::Receiver;

/// The destination of a report. That it can be written is known before anything is run.
///
/// # Errors
/// It cannot be opened or made.
pub fn open(report: &Report) -> io::Result<Box<dyn Destination>> {
    let receiver = match &report.place {
        Place::Stdout => Some(Receiver::of_descriptor(1)?),
        Place::Descriptor(number) => Some(Receiver::of_descriptor(*number)?),
        Place::Path(path) => Receiver::at(path)?,
    };
    match (receiver, &report.place, report.format) {
        (Some(receiver), ..) => Ok(Box::new(InPlace(receiver))),
        (None, Place::Path(path), Format::Ndjson) => Ok(Box::new(GrowingFile::create(path)?)),
        (None, Place::Path(path), _) => Ok(Box::new(WholeFile::new(path)?)),
        (None, Place::Stdout | Place::Descriptor(_), _) => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A descriptor, a fifo or a device.
struct InPlace(Receiver);

impl Destination for InPlace {
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
        Ok(GrowingFile { file: File::create(path)?, path: path.to_owned() })
    }
}

impl Destination for GrowingFile {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)
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
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        // Whoever may write the file, but not its folder, gets it in place.
        if let Err(error) = Builder::new().prefix(".retryrun-").tempfile_in(folder(&path)) {
            OpenOptions::new().write(true).open(&path).map_err(|_| error)?;
        }
        Ok(WholeFile { path, text: String::new() })
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

impl Destination for WholeFile {
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

/// Puts a file of these bytes in the place of another: readers see the old one or the new one, and never a part.
///
/// # Errors
/// It cannot be written; the old one is untouched then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(path).ok();
    // What the umask leaves of it, as for any new file.
    let permissions = Permissions::from_mode(0o666);
    let mut file = match Builder::new()
        .prefix(".retryrun-")
        .permissions(permissions)
        .tempfile_in(folder(path))
    {
        Ok(file) => file,
        Err(error) => {
            // The folder is somebody else's, and the file ours.
            let mut file =
                OpenOptions::new().write(true).truncate(true).open(path).map_err(|_| error)?;
            return file.write_all(bytes);
        }
    };
    file.write_all(bytes)?;
    if let Some(before) = before {
        file.as_file().set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
