//! A conversation with Redis: a command, its answer, and the next.

use std::io::{self, Read, Write};
use std::time::Duration;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::encode;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};

use crate::config::store::{Address, Place};
use crate::error::reason;
use crate::unix::link::Link;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_millis(250);

/// How long everything may take.
const LIMIT: Duration = Duration::from_millis(500);

/// No answer to what we say is nearly as long.
const LONGEST: usize = 64 * 1024;

/// What is done with a bucket.
const SCRIPT: &str = include_str!("bucket.lua");

/// The name by which Redis knows the script, once it has seen it: the SHA-1 of its text.
const SCRIPT_NAME: &str = "a017d1512661054350294e3bf8fe69d660b09a97";

/// What is said of a server of another kind.
const STRANGE: &str = "it does not speak as Redis does";

/// What bytes go through.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// An open connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// What was read, and is not understood yet.
    bytes: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(super) fn open(place: &Place) -> Result<Connection, String> {
        let stream: io::Result<Box<dyn Stream>> = match place {
            Place::Unix(path) => Link::to_socket(path, LIMIT).map(boxed),
            Place::Tcp { host, port, tls } => {
                let link = Link::to_host(host, *port, CONNECT, LIMIT);
                link.and_then(|link| if *tls { secured(link, host) } else { Ok(boxed(link)) })
            }
        };
        let stream = stream.map_err(|error| reason(&error))?;
        Ok(Connection { stream, bytes: Vec::new() })
    }

    /// Says who we are, and which database we mean.
    pub(super) fn log_in(&mut self, address: &Address) -> Result<(), String> {
        if let Some(password) = &address.password {
            let mut words = vec!["AUTH"];
            words.extend(address.user.as_deref());
            words.push(password);
            // A server that does not know the command quotes it: no more of its answer is shown than a code.
            if let OwnedFrame::Error(text) = self.ask(&words)? {
                let code = text.split(' ').next().filter(|word| is_code(word)).unwrap_or("ERR");
                return Err(format!("it refuses the password ({code})"));
            }
        }
        let database = address.database.to_string();
        if address.database != 0
            && let OwnedFrame::Error(text) = self.ask(&["SELECT", &database])?
        {
            return Err(text);
        }
        Ok(())
    }

    /// Runs the script on a key. Whether it says 1.
    pub(super) fn run(&mut self, key: &str, arguments: &[String; 3]) -> Result<bool, String> {
        let [capacity, token, share] = arguments.each_ref().map(String::as_str);
        let call = |command, script| [command, script, "1", key, capacity, token, share];
        let answer = match self.ask(&call("EVALSHA", SCRIPT_NAME))? {
            OwnedFrame::Error(text) if text.starts_with("NOSCRIPT") => {
                self.ask(&call("EVAL", SCRIPT))?
            }
            answer => answer,
        };
        match answer {
            OwnedFrame::Integer(granted) => Ok(granted == 1),
            OwnedFrame::Error(text) => Err(text),
            OwnedFrame::SimpleString(_)
            | OwnedFrame::BulkString(_)
            | OwnedFrame::Array(_)
            | OwnedFrame::Null => Err(STRANGE.to_owned()),
        }
    }

    /// Says something, and waits for the answer.
    fn ask(&mut self, words: &[&str]) -> Result<OwnedFrame, String> {
        let words = words.iter().map(|word| OwnedFrame::BulkString(word.as_bytes().to_vec()));
        let command = OwnedFrame::Array(words.collect());
        let mut bytes = vec![0; command.encode_len(false)];
        encode(&mut bytes, &command, false).map_err(|_| STRANGE.to_owned())?;
        let sent = self.stream.write_all(&bytes).and_then(|()| self.stream.flush());
        sent.map_err(|error| reason(&error))?;
        self.answer()
    }

    fn answer(&mut self) -> Result<OwnedFrame, String> {
        let mut buffer = [0; 1024];
        loop {
            // Nothing that is asked has a list for an answer, and one in another in another would have no end.
            if self.bytes.first().is_some_and(|kind| !b"+-:$".contains(kind)) {
                return Err(STRANGE.to_owned());
            }
            match decode(&self.bytes) {
                Ok(Some((frame, length))) => {
                    self.bytes.drain(..length);
                    return Ok(frame);
                }
                Ok(None) if self.bytes.len() <= LONGEST => {}
                Ok(None) | Err(_) => return Err(STRANGE.to_owned()),
            }
            match self.stream.read(&mut buffer).map_err(|error| reason(&error))? {
                0 => return Err("it closed the connection".to_owned()),
                read => self.bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            }
        }
    }
}

fn boxed(link: Link) -> Box<dyn Stream> {
    Box::new(link)
}

/// The code of an error by itself: a word in capitals.
fn is_code(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(feature = "redis-tls")]
fn secured(link: Link, host: &str) -> io::Result<Box<dyn Stream>> {
    Ok(Box::new(super::tls::secured(link, host)?))
}

/// An address that needs it is refused before anything is run.
#[cfg(not(feature = "redis-tls"))]
fn secured(_link: Link, _host: &str) -> io::Result<Box<dyn Stream>> {
    Err(io::ErrorKind::Unsupported.into())
}
