//! What a run was called with, so that it can be gone on with, or run again.
//!
//! Its words are kept as they were given, secrets and all: only the owner of the state can read them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::iter;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::environment::Environment;
use crate::config::store::Store;

/// The one setting that may hold a password.
const STORE: &str = "RETRYRUN_BUDGET_STORE";

/// The words behind our own name, the folder, and our settings in the environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The words; those that are no text as bytes.
    pub words: Vec<Word>,
    /// The working folder.
    pub cwd: Option<Word>,
    /// Variables that are settings of ours.
    pub environment: BTreeMap<String, Word>,
}

impl Call {
    /// What we are called with now.
    #[must_use]
    pub fn of(words: &[OsString], environment: &Environment) -> Call {
        Call {
            words: words.iter().skip(1).map(|said| word(said)).collect(),
            cwd: std::env::current_dir().ok().map(|folder| word(folder.as_os_str())),
            environment: environment.settings().map(|(name, value)| kept(name, value)).collect(),
        }
    }

    /// The words, with our own name before them.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let said = self.words.iter().map(|Word(bytes)| OsString::from_vec(bytes.clone()));
        iter::once("retryrun".into()).chain(said).collect()
    }

    /// The working folder.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        let Word(bytes) = self.cwd.as_ref()?;
        Some(OsString::from_vec(bytes.clone()).into())
    }

    /// The settings that were in the environment.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, Vec<u8>)> {
        let variables = self.environment.iter();
        variables.map(|(name, Word(bytes))| (name.clone(), bytes.clone())).collect()
    }
}

fn word(word: &OsStr) -> Word {
    Word(word.as_bytes().to_vec())
}

/// A setting as it is kept: a password comes from the environment again.
fn kept(name: String, value: &OsStr) -> (String, Word) {
    let store = value.to_str().filter(|_| name == STORE).map(str::parse::<Store>);
    match store {
        Some(Ok(store)) if store.secrets().next().is_some() => {
            (name, Word(store.to_string().into_bytes()))
        }
        _ => (name, word(value)),
    }
}

/// Text, or bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub Vec<u8>);

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        deserializer.deserialize_any(TextOrBytes)
    }
}

struct TextOrBytes;

impl<'de> Visitor<'de> for TextOrBytes {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a list of bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
        Ok(Word(text.as_bytes().to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Word, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Word(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_no_text_are_kept() {
        let words = ["retryrun", "--job", "x", "--"].map(OsString::from).into_iter();
        let words: Vec<OsString> = words
            .chain([OsString::from_vec(b"a\xff\nb".to_vec()), "é".into(), "".into()])
            .collect();
        let environment = Environment::new(vec![
            c"RETRYRUN_LOG_DIR=/\xffx",
            c"RETRYRUN_DELAY=1s",
            c"RETRYRUN_RETRIES=",
            c"RETRYRUN_BUDGET_STORE=redis://me:hidden@127.0.0.1",
            c"SECRET=hidden",
        ]);
        let call = Call::of(&words, &environment);
        let json = serde_json::to_string(&call).expect("plain data");
        let read: Call = serde_json::from_str(&json).expect("it was just written");
        assert_eq!((read.words(), read.folder()), (words, std::env::current_dir().ok()));
        let store = &b"redis://me:***@127.0.0.1:6379/0"[..];
        let settings = [(STORE, store), ("RETRYRUN_DELAY", b"1s"), ("RETRYRUN_LOG_DIR", b"/\xffx")];
        assert_eq!(read.settings(), settings.map(|(name, value)| (name.into(), value.to_vec())));
        assert!(!json.contains("hidden"), "only our settings: {json}");
    }
}
