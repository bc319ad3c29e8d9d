//! Reads the usual command lines, which hold settings and a command, without building the definition of all options.
//!
//! It takes only what it fully understands, and says nothing of the rest: that is for the definition, from which its table of
//! options is made.

use std::ffi::{OsStr, OsString};

use serde::Deserialize;
use serde::de::value::{Error as ValueError, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};

use super::options::OPTIONS;
use crate::config::check_rule;
use crate::config::environment::Text;
use crate::config::settings::Settings;

/// An option that is a setting.
pub(super) struct Known {
    /// The key of the setting, which is the long name with `_` for `-`.
    pub(super) key: &'static str,
    /// The short name.
    pub(super) short: Option<char>,
    /// What it takes.
    pub(super) shape: Shape,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: it is on where it is given.
    Switch,
    /// Nothing: how often it is given counts.
    Count,
    /// A value, of which the last counts.
    Value,
    /// A value each time.
    List,
}

/// What a command line says.
pub(super) struct Line {
    /// The settings.
    pub(super) settings: Settings,
    /// How often the option was given that is counted.
    pub(super) count: u8,
    /// The command's words: one or more.
    pub(super) command: Vec<OsString>,
}

/// What a command line says, if it is a usual one and nothing is wrong with it; the first word is our own name.
pub(super) fn read(words: &[OsString]) -> Option<Line> {
    let mut reader = Reader { rest: words.get(1..)?, said: Vec::new(), count: 0 };
    let command = reader.options()?;
    let command = (!command.is_empty()).then(|| command.to_vec())?;
    let count = reader.count;
    Some(Line { settings: settings(reader.said)?, count, command })
}

struct Reader<'a> {
    rest: &'a [OsString],
    said: Vec<(&'static str, Said<'a>)>,
    count: u8,
}

impl<'a> Reader<'a> {
    /// Reads all options; answers what stands behind them.
    fn options(&mut self) -> Option<&'a [OsString]> {
        loop {
            let all = self.rest;
            let (word, behind) = all.split_first()?;
            if word == "--" {
                return Some(behind);
            }
            let is_option = word.as_encoded_bytes().starts_with(b"-") && word != "-";
            if !is_option {
                return Some(all);
            }
            self.rest = behind;
            let text = word.to_str()?;
            match text.strip_prefix("--") {
                Some(long) => self.long(long)?,
                None => self.cluster(text.get(1..)?)?,
            }
        }
    }

    fn long(&mut self, text: &'a str) -> Option<()> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let known = OPTIONS.iter().find(|known| known.has_long_name(name))?;
        match known.shape {
            Shape::Switch | Shape::Count => value.is_none().then(|| self.on(known))?,
            Shape::Value | Shape::List => match value {
                Some(value) => self.valued(known, value),
                None => self.next_word(known),
            },
        }
    }

    /// Short options in one word, of which the last may have a value, there or as the next word.
    fn cluster(&mut self, text: &'a str) -> Option<()> {
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let known = OPTIONS.iter().find(|known| known.short == Some(letter))?;
            match known.shape {
                Shape::Switch | Shape::Count => self.on(known)?,
                Shape::Value | Shape::List => {
                    return match letters.as_str() {
                        "" => self.next_word(known),
                        value => (!value.starts_with('=')).then(|| self.valued(known, value))?,
                    };
                }
            }
        }
        Some(())
    }

    fn on(&mut self, known: &Known) -> Option<()> {
        if known.shape == Shape::Count {
            self.count = self.count.checked_add(1)?;
            return Some(());
        }
        match self.said.iter_mut().find(|(key, _)| *key == known.key) {
            Some(_) => {}
            None => self.said.push((known.key, Said::On)),
        }
        Some(())
    }

    fn next_word(&mut self, known: &Known) -> Option<()> {
        let (value, behind) = self.rest.split_first()?;
        self.rest = behind;
        let value = OsStr::to_str(value).filter(|value| !value.starts_with('-'))?;
        self.valued(known, value)
    }

    fn valued(&mut self, known: &Known, value: &'a str) -> Option<()> {
        if value.is_empty() {
            return None;
        }
        match self.said.iter_mut().find(|(key, _)| *key == known.key) {
            Some((_, Said::List(values))) => values.push(value),
            // The last would count, but every one of them has to be right.
            Some((_, Said::On | Said::Value(_))) => return None,
            None if known.shape == Shape::List => {
                self.said.push((known.key, Said::List(vec![value])));
            }
            None => self.said.push((known.key, Said::Value(value))),
        }
        Some(())
    }
}

impl Known {
    fn has_long_name(&self, name: &str) -> bool {
        let is_same = |(given, key): (u8, u8)| given == if key == b'_' { b'-' } else { key };
        name.len() == self.key.len() && name.bytes().zip(self.key.bytes()).all(is_same)
    }
}

/// The settings of which something was said, unless that cannot be.
fn settings(said: Vec<(&'static str, Said<'_>)>) -> Option<Settings> {
    if said.is_empty() {
        return Some(Settings::default());
    }
    let settings = Settings::deserialize(MapDeserializer::new(said.into_iter())).ok()?;
    let can_be_searched_for = settings.rules().all(|rule| check_rule(rule).is_ok());
    can_be_searched_for.then_some(settings)
}

/// What was said of a setting.
enum Said<'a> {
    On,
    Value(&'a str),
    List(Vec<&'a str>),
}

impl<'de> IntoDeserializer<'de, ValueError> for Said<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Said<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Said::On => visitor.visit_bool(true),
            Said::Value(text) => visitor.visit_borrowed_str(text),
            Said::List(texts) => {
                visitor.visit_seq(SeqDeserializer::new(texts.into_iter().map(Said::Value)))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Said::Value(text) => Text(text).deserialize_u64(visitor),
            Said::On | Said::List(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Said::Value(text) => Text(text).deserialize_f64(visitor),
            Said::On | Said::List(_) => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Option<Line> {
        let words = ["retryrun"].iter().chain(words);
        read(&words.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn usual_lines_need_no_definition() {
        for words in [
            &["--", "ls", "-l"][..],
            &["ls", "--", "-l"],
            &["-n", "2", "-d0.5s", "--max-delay=1m", "--jitter", "full", "ls"],
            &["-qvv", "--retry-on", "75", "--retry-on=err/busy/ & 1", "--no-config", "--", "ls"],
            &["-qn3", "--report", "history.json", "--budget", "x=10/1h+20%", "-", "ls"],
        ] {
            let line = line(words).unwrap_or_else(|| panic!("{words:?}"));
            assert!(words.ends_with(&["ls"]) || words.contains(&"-l"));
            assert!(line.command.iter().any(|word| word == "ls"), "{words:?}");
        }
    }

    #[test]
    fn what_is_not_usual_is_left_to_the_definition() {
        for words in [
            &[][..],
            &["--"],
            &["-n", "-1", "ls"],
            &["-n", "x", "ls"],
            &["-n", "x", "-n", "1", "ls"],
            &["-n=1", "ls"],
            &["--retries", "", "ls"],
            &["-q=true", "ls"],
            &["--quiet=true", "ls"],
            &["--retry-on", "/(/", "ls"],
            &["--atempts", "5", "ls"],
            &["--max_delay", "5", "ls"],
            &["--explain", "ls"],
            &["-h"],
            &["--jobs"],
        ] {
            assert!(line(words).is_none(), "{words:?}");
        }
    }
}
