//! The environment that we were given: settings in `RETRYRUN_*` variables, and the facts of an outer run.

use std::ffi::{CStr, CString, OsStr};
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::{Error as ValueError, MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};

use super::argument::check_rule;
use super::layer::{Layer, Source, variable};
use super::settings::Settings;
use super::{KeyNames, key_names};
use crate::error::Error;

/// What the command is told, and what an outer run told us: never settings.
pub const FACTS: [&str; 12] = [
    "RETRYRUN_ATTEMPT",
    "RETRYRUN_MAX_ATTEMPTS",
    "RETRYRUN_RUN_ID",
    "RETRYRUN_DEADLINE_AT",
    "RETRYRUN_LAST_EXIT_CODE",
    "RETRYRUN_LAST_SIGNAL",
    "RETRYRUN_LAST_REASON",
    "RETRYRUN_HINT_FILE",
    "RETRYRUN_HOOK",
    "RETRYRUN_NEXT_DELAY",
    "RETRYRUN_OUTCOME",
    "RETRYRUN_MESSAGE",
];

/// Settings that an outer run's environment gives to the outer run alone: its reports are not ours.
const NOT_INHERITED: [&str; 10] = [
    "job",
    "history",
    "exit_code",
    "log_dir",
    "report",
    "retry_if",
    "on_retry",
    "before_attempt",
    "on_success",
    "on_give_up",
];

/// The environment, entry by entry.
#[derive(Clone, Debug)]
pub struct Environment(Vec<&'static CStr>);

impl Environment {
    /// An environment of these entries, usually `NAME=VALUE`.
    #[must_use]
    pub fn new(entries: Vec<&'static CStr>) -> Environment {
        Environment(entries)
    }

    /// All entries as they were given.
    pub fn entries(&self) -> impl Iterator<Item = &'static CStr> {
        self.0.iter().copied()
    }

    /// The same with more settings, where there are none of these names.
    #[must_use]
    pub fn with_settings(mut self, settings: Vec<(String, Vec<u8>)>) -> Environment {
        for (name, value) in settings {
            if self.get(&name).is_none()
                && let Ok(entry) = CString::new([name.as_bytes(), b"=", &value].concat())
            {
                // The environment lives as long as the process.
                self.0.push(Box::leak(entry.into_boxed_c_str()));
            }
        }
        self
    }

    /// The same without settings.
    #[must_use]
    pub fn without_settings(&self) -> Environment {
        let variables: Vec<String> = self.keys().map(variable).collect();
        let is_setting = |entry: &CStr| {
            let name = entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
            variables.iter().any(|variable| variable.as_bytes() == name)
        };
        Environment(self.entries().filter(|entry| !is_setting(entry)).collect())
    }

    /// The variables that are settings of ours: names and values.
    pub fn settings(&self) -> impl Iterator<Item = (String, &'static OsStr)> {
        let variables = self.keys().map(variable);
        variables.filter_map(|name| Some((name.clone(), self.get(&name)?)))
    }

    /// The settings that are taken from the environment.
    fn keys(&self) -> impl Iterator<Item = &'static str> {
        let is_inside = self.get("RETRYRUN_RUN_ID").is_some();
        let KeyNames(keys) = key_names();
        keys.iter().copied().filter(move |key| !(is_inside && NOT_INHERITED.contains(key)))
    }

    /// The variables: names and values. An entry without `=` is none.
    pub fn variables(&self) -> impl Iterator<Item = (&'static [u8], &'static OsStr)> {
        self.entries().filter_map(|entry| {
            let entry = entry.to_bytes();
            let equals = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (entry.get(..equals)?, entry.get(equals + 1..)?);
            Some((name, OsStr::from_bytes(value)))
        })
    }

    /// The value of a variable; an empty one counts as unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'static OsStr> {
        let name = name.as_bytes();
        let is_it = |entry: &'static CStr| {
            let entry = entry.to_bytes();
            // Most names begin otherwise, and are looked at no more closely.
            let may_be = entry.first() == name.first();
            may_be.then(|| entry.strip_prefix(name)?.strip_prefix(b"="))?
        };
        let value = self.entries().find_map(is_it)?;
        Some(OsStr::from_bytes(value)).filter(|value| !value.is_empty())
    }

    /// The settings that the environment gives.
    ///
    /// # Errors
    /// A value that cannot be, named with its variable.
    pub fn layer(&self) -> Result<Layer, Error> {
        if !self.entries().any(is_ours) {
            let settings = Settings::default();
            return Ok(Layer { settings, rules: None, source: Source::Environment });
        }
        let mut texts = Vec::new();
        let mut config = None;
        for key in self.keys() {
            match self.get(&variable(key)) {
                // A path need not be text.
                Some(path) if key == "config" => config = Some(PathBuf::from(path)),
                Some(value) => texts.push((key, checked(key, value)?)),
                None => {}
            }
        }
        let settings = Settings::deserialize(MapDeserializer::new(texts.into_iter()))
            .map_err(|error: ValueError| Error::Usage(format!("environment: {error}")))?;
        let settings = Settings { config, ..settings };
        let layer = Layer { settings, rules: None, source: Source::Environment };
        match layer.conflict() {
            Some((one, other)) => {
                let (one, other) = (variable(one), variable(other));
                Err(Error::Usage(format!("{other} conflicts with {one}: set only one of them")))
            }
            None => Ok(layer),
        }
    }
}

/// Whether an entry is one of our settings or facts: most have none of them.
#[must_use]
pub fn is_ours(entry: &CStr) -> bool {
    entry.to_bytes().starts_with(b"RETRYRUN_")
}

/// The text of a setting, if that alone can be read: so that a fault is known by its variable.
fn checked<'a>(key: &'static str, value: &'a OsStr) -> Result<Text<'a>, Error> {
    let name = variable(key);
    let text = value
        .to_str()
        .ok_or_else(|| Error::Usage(format!("{name}: expected UTF-8 text, not {value:?}")))?;
    let settings = Settings::deserialize(MapDeserializer::new(iter::once((key, Text(text)))))
        .map_err(|error: ValueError| Error::Usage(format!("{name}: {error}")))?;
    settings.rules().try_for_each(|rule| {
        let fail =
            |fault| Error::Usage(format!("{name}: invalid value `{}`: {fault}", rule.text()));
        check_rule(rule).map_err(fail)
    })?;
    Ok(Text(text))
}

/// A value as the environment has it: text, digits of a number, a switch in words, or a list with an item a line.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl<'de> IntoDeserializer<'de, ValueError> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            "true" | "1" | "yes" => visitor.visit_bool(true),
            "false" | "0" | "no" => visitor.visit_bool(false),
            other => Err(de::Error::custom(format!(
                "invalid value `{other}`: expected `true`, `false`, `1`, `0`, `yes` or `no`"
            ))),
        }
    }

    /// A switch that is a number, too.
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            "true" | "yes" => visitor.visit_bool(true),
            "false" | "no" => visitor.visit_bool(false),
            other => match other.parse() {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => self.deserialize_any(visitor),
            },
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let is_plain = self.0.bytes().all(|byte| byte.is_ascii_digit());
        match self.0.parse() {
            Ok(number) if is_plain => visitor.visit_u64(number),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let lines = self.0.lines().filter(|line| !line.trim().is_empty());
        visitor.visit_seq(SeqDeserializer::new(lines.map(Text)))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u16 u32 u128 f32 char str string bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct map struct enum identifier ignored_any
    }
}
