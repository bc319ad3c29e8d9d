//! A connection to a server, with a limit on all that is done through it. It blocks: it is for work done aside.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::clock::Clock;
use crate::engine::time::Time;

/// A connection.
pub struct Link {
    socket: OwnedFd,
    clock: Clock,
    limit: Duration,
}

impl Link {
    /// Connects to a port of a host within a time; `limit` is on that and all that follows. A name is looked up, which may take its
    /// own time.
    ///
    /// # Errors
    /// There is no such host, or it does not answer.
    pub fn to_host(host: &str, port: u16, within: Duration, limit: Duration) -> io::Result<Link> {
        let clock = Clock::start(Time::default());
        #[cfg(static_libc)]
        ask_only_what_is_linked();
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (host, port).to_socket_addrs()? {
            let left = within.saturating_sub(clock.now().elapsed);
            if left.is_zero() {
                return Err(late());
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Link { socket: stream.into(), clock, limit });
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => refused = late(),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Connects to a socket in the file system; a server that has no room for us is not waited for.
    ///
    /// # Errors
    /// There is no such socket, or nobody listens.
    pub fn to_socket(path: &Path, limit: Duration) -> io::Result<Link> {
        let clock = Clock::start(Time::default());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        ioctl_fionbio(&socket, false)?;
        Ok(Link { socket, clock, limit })
    }

    /// Lets the next call take no longer than what is left.
    fn limited(&self, timeout: Timeout) -> io::Result<()> {
        match self.limit.saturating_sub(self.clock.now().elapsed) {
            Duration::ZERO => Err(late()),
            left => Ok(set_socket_timeout(&self.socket, timeout, Some(left))?),
        }
    }
}

/// Has names looked up in the file of hosts and by DNS, whatever else nsswitch.conf asks for: that would be loaded with a second C
/// library, perhaps of another version, into a program that has one.
#[cfg(static_libc)]
fn ask_only_what_is_linked() {
    unsafe extern "C" {
        fn __nss_configure_lookup(
            database: *const libc::c_char,
            services: *const libc::c_char,
        ) -> libc::c_int;
    }
    // SAFETY: both are C strings, which glibc only reads. It fails only for a database that there is not.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time")
}

fn in_time<T>(result: rustix::io::Result<T>) -> io::Result<T> {
    result.map_err(|error| if error == Errno::AGAIN { late() } else { error.into() })
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.limited(Timeout::Recv)?;
        in_time(rustix::io::read(&self.socket, buffer))
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limited(Timeout::Send)?;
        in_time(send(&self.socket, bytes, SendFlags::NOSIGNAL))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
