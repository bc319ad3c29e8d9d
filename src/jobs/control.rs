//! Asking a named run for something from outside, through a socket in its folder: only its owner can reach it, and never another process
//! that came later.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram as Plain;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open};
use tokio::net::UnixDatagram;

use super::folder::Folder;
use crate::engine::keyword::keywords;

const SOCKET: &str = "control";

keywords! {
    /// What can be asked for.
    Request {
        /// The end of a wait.
        Retry = "retry",
        /// The end of the run.
        Stop = "stop",
    }
}

/// Hears what is asked for.
pub struct Control(UnixDatagram);

impl Control {
    /// Begins to listen; only who has the run's lock may. To be called within the event loop.
    ///
    /// # Errors
    /// The file system has no sockets, or descriptors are lacking.
    pub fn open(folder: &Folder) -> io::Result<Control> {
        match fs::remove_file(folder.file(SOCKET)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = at(folder, Plain::bind)?;
        fs::set_permissions(folder.file(SOCKET), Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        Ok(Control(UnixDatagram::from_std(socket)?))
    }

    /// Waits for the next request. May be cancelled and called again.
    pub async fn next(&self) -> Request {
        loop {
            let mut text = [0; 16];
            if let Ok(length) = self.0.recv(&mut text).await
                && let Some(text) = text.get(..length)
                && let Ok(request) = String::from_utf8_lossy(text).parse()
            {
                return request;
            }
        }
    }
}

/// Asks a run for something. Whether it was alive to hear it.
///
/// # Errors
/// The system refuses.
pub fn ask(folder: &Folder, request: Request) -> io::Result<bool> {
    let socket = Plain::unbound()?;
    // One that is stopped hears nothing, and what it was asked for before may fill its ear.
    socket.set_nonblocking(true)?;
    let sent = at(folder, |path| socket.send_to(request.name().as_bytes(), path));
    match sent {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Does something with the socket's path. The path of a socket may have 107 bytes, which folders alone can exceed: so it is
/// named from the folder's descriptor.
fn at<T>(folder: &Folder, act: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let holder = open(folder.file("."), flags, Mode::empty())?;
    act(PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", holder.as_fd().as_raw_fd())))
}
