//! `--budget-store URL`: where machines share their budgets.
//!
//! A URL may hold a password. No fault is a reason to quote it, and whatever shows it shows it masked.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};

use crate::engine::keyword::Form;

/// The port of Redis.
const PORT: u16 = 6379;

/// What a URL of a store looks like.
const EXPECTED: &str = "expected redis://HOST[:PORT][/DB], with USER:PASSWORD@ before HOST if need be (a / in them is %2F), the same with rediss:// for TLS, or unix:PATH[?db=DB]";

/// A store as users write it: its address, or what is wrong with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    /// Where it cannot be read, what is shown of it.
    address: Result<Address, String>,
    /// Its password, as it was written.
    written: Option<String>,
}

/// Where a store is, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Where it listens.
    pub place: Place,
    /// The user's name; none is the server's default user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The number of the database.
    pub database: u32,
}

/// Where a store listens.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// On a port of a host.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether we speak TLS with it.
        tls: bool,
    },
    /// On a socket in the file system.
    Unix(PathBuf),
}

impl Store {
    /// The address.
    ///
    /// # Errors
    /// What was expected in the place of what the user wrote.
    pub fn address(&self) -> Result<&Address, &'static str> {
        self.address.as_ref().map_err(|_| EXPECTED)
    }

    /// What is to be shown nowhere: the password, as it was written and as it is meant.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let meant = self.address.iter().filter_map(|address| address.password.as_deref());
        self.written.as_deref().into_iter().chain(meant)
    }
}

impl FromStr for Store {
    type Err = Infallible;

    /// Takes everything, since whoever refuses a value quotes it.
    fn from_str(text: &str) -> Result<Store, Infallible> {
        let (address, written) = read(text).unzip();
        let address = address.ok_or_else(|| without_secrets(text));
        Ok(Store { address, written: written.flatten() })
    }
}

/// A text that is no address, without what may be a password in it: what stands before an `@`, behind a `?`, or where a port should be.
fn without_secrets(text: &str) -> String {
    let (text, query) = match text.split_once('?') {
        Some((text, _)) => (text, "?***"),
        None => (text, ""),
    };
    let scheme = text.find("://").map_or(0, |end| end + "://".len());
    let scheme = if text.starts_with("unix:") { scheme.max("unix:".len()) } else { scheme };
    let (scheme, rest) = text.split_at(scheme);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit() || byte == b'/');
    match (rest.rsplit_once('@'), rest.split_once(':')) {
        (Some((_, host)), _) => format!("{scheme}***@{host}{query}"),
        (None, Some((host, port))) if !is_port(port) => format!("{scheme}{host}:***{query}"),
        (None, _) => format!("{scheme}{rest}{query}"),
    }
}

/// An address, and its password as it was written.
type Read = (Address, Option<String>);

fn read(text: &str) -> Option<Read> {
    match text.split_once(':')? {
        ("redis", rest) => of_host(rest.strip_prefix("//")?, false),
        ("rediss", rest) => of_host(rest.strip_prefix("//")?, true),
        ("unix", rest) => of_socket(rest.strip_prefix("//").unwrap_or(rest)),
        _ => None,
    }
}

fn of_host(text: &str, tls: bool) -> Option<Read> {
    let (authority, database) = text.split_once('/').unwrap_or((text, ""));
    if authority.contains(['?', '#']) {
        return None;
    }
    // A password with an unescaped `@` is common enough.
    let (who, host) = match authority.rsplit_once('@') {
        Some((who, host)) => (Some(who), host),
        None => (None, authority),
    };
    let (host, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    let is_of_a_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_of_a_host) {
        return None;
    }
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    let (user, written) = who.map_or(("", ""), |who| who.split_once(':').unwrap_or((who, "")));
    let (user, password) = (decoded(user)?, decoded(written)?);
    let place = Place::Tcp { host: host.to_owned(), port, tls };
    let address = Address { place, user, password, database: number(database)? };
    Some((address, Some(written.to_owned())))
}

fn of_socket(text: &str) -> Option<Read> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let path = PathBuf::from(decoded(path)??);
    let (mut user, mut password, mut written, mut database) = (None, None, None, 0);
    for entry in query.split('&').filter(|entry| !entry.is_empty()) {
        match entry.split_once('=')? {
            ("db", text) => database = number(text)?,
            ("user", text) => user = decoded(text)?,
            ("pass", text) => {
                password = decoded(text)?;
                written = Some(text.to_owned());
            }
            _ => return None,
        }
    }
    let is_absolute = path.is_absolute();
    let address = Address { place: Place::Unix(path), user, password, database };
    is_absolute.then_some((address, written))
}

/// Text of a URL; nothing where there is none.
fn decoded(text: &str) -> Option<Option<String>> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?.into_owned();
    Some(Some(decoded).filter(|decoded| !decoded.is_empty()))
}

fn number(text: &str) -> Option<u32> {
    match text {
        "" => Some(0),
        _ => text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?,
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { place, user, password, database } = self;
        let secret = if password.is_some() { ":***" } else { "" };
        let user = user.as_deref().unwrap_or_default();
        match place {
            Place::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                let at = if user.is_empty() && secret.is_empty() { "" } else { "@" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}://{user}{secret}{at}{open}{host}{close}:{port}/{database}")
            }
            Place::Unix(path) => write!(f, "unix:{}?db={database}", path.display()),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Ok(address) => address.fmt(f),
            Err(shown) => f.write_str(shown),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Store {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Store {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Store, D::Error> {
        // What is no text is quoted, and cannot be a secret.
        Form::Word.read(deserializer).map(|Text(store)| store)
    }
}

/// A store as other settings are read: with a fault that never happens.
struct Text(Store);

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Text, String> {
        let Ok(store) = text.parse();
        Ok(Text(store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Ok(store) = text.parse::<Store>();
        store.to_string()
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, expected) in [
            ("redis://h", "redis://h:6379/0"),
            ("redis://h:1/2", "redis://h:1/2"),
            ("rediss://h/3", "rediss://h:6379/3"),
            ("redis://u@h/", "redis://u@h:6379/0"),
            ("redis://u:secret@h:1/0", "redis://u:***@h:1/0"),
            ("redis://:secret@h", "redis://:***@h:6379/0"),
            ("redis://:secr@et@[::1]:7/1", "redis://:***@[::1]:7/1"),
            ("redis://u:@h", "redis://u@h:6379/0"),
            ("unix:/run/r.sock", "unix:/run/r.sock?db=0"),
            ("unix:///run/r.sock?db=2&user=u&pass=secret", "unix:/run/r.sock?db=2"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_escaped_is_taken_as_it_was_meant() {
        let Ok(store) = "redis://u%3A:p%40%2f%25@h/1".parse::<Store>();
        let address = store.address().expect("an address");
        assert_eq!(address.user.as_deref(), Some("u:"));
        assert_eq!(address.password.as_deref(), Some("p@/%"));
        assert_eq!(store.secrets().collect::<Vec<_>>(), ["p%40%2f%25", "p@/%"]);
    }

    #[test]
    fn what_cannot_be_read_is_shown_without_what_may_be_a_password() {
        for (text, expected) in [
            ("", ""),
            ("h", "h"),
            ("redis:", "redis:"),
            ("redis:h:secret", "redis:***"),
            ("redis://", "redis://"),
            ("redis://:6379", "redis://:6379"),
            ("redis://h:0", "redis://h:0"),
            ("redis://h:65536", "redis://h:65536"),
            ("redis://h:secret", "redis://h:***"),
            ("redis://h/db", "redis://h/db"),
            ("redis://h/-1", "redis://h/-1"),
            ("redis://h/4294967296", "redis://h/4294967296"),
            ("redis://h?pass=secret", "redis://h?***"),
            ("redis://u:sec/ret@h", "redis://***@h"),
            ("redis://u:sec?ret@h", "redis://u:***?***"),
            ("redis://[::1", "redis://[:***"),
            ("redis://u:%ff@h", "redis://***@h"),
            ("http://x", "http://x"),
            ("http://u:secret@h", "http://***@h"),
            ("unix:", "unix:"),
            ("unix:r.sock", "unix:r.sock"),
            ("unix:/r?secret", "unix:/r?***"),
            ("unix:/r?password=secret", "unix:/r?***"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
            let Ok(store) = text.parse::<Store>();
            assert_eq!(store.address().err(), Some(EXPECTED), "{text}");
        }
    }
}
