//! A lock on a file that is ours as long as we have the file open, and that others can ask for without taking it.
//!
//! By F_OFD_SETLK of fcntl(2): it belongs to the open file, so that it dies with us, and no other file that we close can end it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Takes the lock of a file that is open for writing. Whether nobody had it.
///
/// # Errors
/// The file system has no locks.
pub fn take(file: &File) -> io::Result<bool> {
    match control(file, libc::F_OFD_SETLK) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether somebody else has it.
///
/// # Errors
/// The file system has no locks.
pub fn is_taken(file: &File) -> io::Result<bool> {
    Ok(i32::from(control(file, libc::F_OFD_GETLK)?.l_type) != libc::F_UNLCK)
}

fn control(file: &File, command: libc::c_int) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        // The whole file, whatever its length.
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: both commands take a pointer to such a structure, which lives as long as the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(lock) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_and_lives_as_long_as_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let ours = File::create(&path).expect("a file");
        let theirs = File::options().read(true).write(true).open(&path).expect("it is there");
        assert!(!is_taken(&theirs).expect("locks"));
        assert!(take(&ours).expect("locks"));
        assert!(take(&ours).expect("locks"), "it is ours already");
        assert!(is_taken(&theirs).expect("locks") && !is_taken(&ours).expect("locks"));
        assert!(!take(&theirs).expect("locks"));
        // Closing another one of the same file ends nothing.
        drop(File::open(&path).expect("it is there"));
        assert!(is_taken(&theirs).expect("locks"));
        drop(ours);
        assert!(take(&theirs).expect("locks"));
    }
}
