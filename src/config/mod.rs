//! The configuration: layers of settings from flags, environment, files and policies, merged into one policy for the
//! engine, with the origin of every value.
//!
//! It reads files, and runs nothing.

mod argument;
pub mod budget;
mod catalogue;
mod command;
pub mod environment;
pub mod explain;
pub mod file;
pub mod layer;
pub mod name;
mod presets;
pub mod report;
mod resolve;
mod resolved;
pub mod settings;
pub mod store;
pub mod value;
pub mod verbosity;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::Error as ValueError;
use serde::de::{Deserialize, Deserializer, Visitor};

use crate::engine::time::Timestamp;
use crate::error::Error;
pub use argument::check_rule;
use catalogue::{Catalogue, Stack};
use command::readings;
use environment::Environment;
use file::File;
use layer::{Layer, Source};
use name::Name;
pub use presets::names as built_in_policies;
use report::Format;
use resolve::Rows;
pub use resolved::{
    Hooks, Keeping, Reporting, Resolved, Row, Sharing, Streaming, Supervision, TextRules,
};
use settings::Settings;
use store::Store;
use value::Pattern;

/// What resolving depends on besides the settings.
pub struct Call<'a> {
    /// The flags; those of several calls the strongest first.
    pub flags: Vec<Settings>,
    /// The environment.
    pub environment: &'a Environment,
    /// What an earlier call said with which this one goes on: its flags, and its environment.
    pub earlier: Vec<Settings>,
    /// The command's words; empty where there is none.
    pub command: &'a [OsString],
    /// Calendar time at which the run began, to which an outer run's deadline is compared.
    pub now: Timestamp,
    /// A seed for the jitter, should none be set.
    pub random_seed: u64,
}

/// What flags, environment and files say, whatever the command is.
pub struct Sources {
    /// The layers of the call, the strongest first.
    call: Vec<Layer>,
    files: Vec<File>,
    outer_deadline: Option<Duration>,
    random_seed: u64,
}

/// All layers of a call, not merged yet.
pub struct Layered {
    stack: Stack,
    outer_deadline: Option<Duration>,
    random_seed: u64,
}

impl Layered {
    /// What is to be masked in all text that we write.
    #[must_use]
    pub fn redact(&self) -> Vec<Pattern> {
        let lists = self.stack.layers.iter().map(|layer| &layer.settings.redact);
        lists.flatten().next().cloned().unwrap_or_default()
    }

    /// The passwords in it: those of stores.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let stores =
            self.stack.layers.iter().filter_map(|layer| layer.settings.budget_store.as_ref());
        stores.flat_map(Store::secrets)
    }

    /// The named run that this is.
    #[must_use]
    pub fn job(&self) -> Option<Name> {
        self.stack.layers.iter().find_map(|layer| layer.settings.job.clone())
    }

    /// Whether an unended run of that name is to be forgotten.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let mut said = self.stack.layers.iter().filter_map(|layer| layer.settings.fresh);
        said.next().unwrap_or(false)
    }

    /// Merges the layers. `mask` is for what users wrote as free text and we show: never numbers or our own words.
    ///
    /// Every setting in effect is written down only where a report is to show it.
    #[must_use]
    pub fn resolve(self, mask: &dyn Fn(&str) -> String) -> Resolved {
        let rows = if self.has_bundle() { Rows::Written } else { Rows::Left };
        self.merged(rows, mask)
    }

    /// The same, with every setting in effect.
    #[must_use]
    pub fn explained(self, mask: &dyn Fn(&str) -> String) -> Resolved {
        self.merged(Rows::Written, mask)
    }

    fn has_bundle(&self) -> bool {
        let reports = self.stack.layers.iter().find_map(|layer| layer.settings.report.as_ref());
        reports.is_some_and(|reports| reports.iter().any(|report| report.format == Format::Bundle))
    }

    fn merged(self, rows: Rows, mask: &dyn Fn(&str) -> String) -> Resolved {
        let stack = self.stack.masked(mask);
        resolve::resolve(&stack, self.outer_deadline, self.random_seed, rows, mask)
    }
}

impl Call<'_> {
    /// Reads and stacks all layers.
    ///
    /// # Errors
    /// A file that cannot be read, or anything in flags, environment or files that cannot be.
    pub fn layers(self) -> Result<Layered, Error> {
        let command = self.command;
        self.sources()?.layers(command)
    }

    /// Reads what does not depend on the command.
    ///
    /// # Errors
    /// A file that cannot be read, or anything in flags, environment or files that cannot be.
    pub fn sources(self) -> Result<Sources, Error> {
        let layer = |settings, source| Layer { settings, rules: None, source };
        let flags = self.flags.into_iter().map(|settings| layer(settings, Source::Flags));
        let flags: Vec<Layer> = flags.collect();
        if let Some((one, other)) = flags.iter().find_map(Layer::conflict) {
            let (one, other) = (Source::Flags.name_of(one), Source::Flags.name_of(other));
            return Err(Error::Usage(format!(
                "{other} conflicts with {one}: give only one of them"
            )));
        }
        let environment = self.environment.layer()?;
        let earlier = self.earlier.into_iter().map(|settings| layer(settings, Source::Earlier));
        let mut call = flags;
        call.push(environment);
        call.extend(earlier);
        let files = read_files(&call, self.environment)?;
        let outer_deadline = outer_deadline(self.environment, self.now)?;
        Ok(Sources { call, files, outer_deadline, random_seed: self.random_seed })
    }
}

impl Sources {
    /// The layers for a command; without words where there is none.
    ///
    /// # Errors
    /// A policy that does not exist, or builds on one that does not.
    pub fn layers(&self, command: &[OsString]) -> Result<Layered, Error> {
        let command: Vec<String> =
            command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let readings = readings(&command);
        let tops = self.files.iter().map(|file| &file.top);
        let chosen = self.call.iter().chain(tops);
        let chosen = chosen.filter_map(|layer| layer.settings.policy.as_deref());
        let inherited = self.files.iter().flat_map(File::inherited);
        let presets = presets::needed(&readings, chosen.chain(inherited))?;
        let catalogue = Catalogue::new(&presets, &self.files)?;
        let stack = catalogue.stack(self.call.clone(), &readings)?;
        let Sources { outer_deadline, random_seed, .. } = *self;
        Ok(Layered { stack, outer_deadline, random_seed })
    }
}

/// The configuration files that count, the weakest first.
fn read_files(call: &[Layer], variables: &Environment) -> Result<Vec<File>, Error> {
    // What is said closer to the call wins: a file named by a flag is read though the environment says to read none.
    let (mut named, mut no_config) = (None, None);
    for Layer { settings, .. } in call {
        if no_config != Some(true) {
            named = named.or(settings.config.as_ref());
        }
        no_config = no_config.or(settings.no_config);
    }
    let no_config = no_config == Some(true);
    let mut files = Vec::new();
    if !no_config {
        files.extend(File::read(Path::new("/etc/retryrun/config.toml"))?);
        if let Some(path) = user_file(variables) {
            files.extend(File::read_if_reachable(&path)?);
        }
    }
    if let Some(path) = named {
        let missing = || Error::File {
            action: "read",
            path: path.clone(),
            source: std::io::Error::from_raw_os_error(libc::ENOENT),
        };
        files.push(File::read(path)?.ok_or_else(missing)?);
    }
    Ok(files)
}

/// `$XDG_CONFIG_HOME/retryrun/config.toml`, by default in `~/.config`; a relative folder is ignored, as the XDG Base Directory
/// Specification asks.
fn user_file(variables: &Environment) -> Option<PathBuf> {
    Some(user_folder(variables, "XDG_CONFIG_HOME", ".config")?.join("config.toml"))
}

/// Where state is kept between runs: `$XDG_STATE_HOME/retryrun`, by default in `~/.local/state`; none where nothing says where our
/// user is at home.
#[must_use]
pub fn state_folder(variables: &Environment) -> Option<PathBuf> {
    user_folder(variables, "XDG_STATE_HOME", ".local/state")
}

fn user_folder(variables: &Environment, name: &str, at_home: &str) -> Option<PathBuf> {
    let folder = |name| variables.get(name).map(Path::new).filter(|path| path.is_absolute());
    let base = folder(name).map(Path::to_owned).or_else(|| Some(folder("HOME")?.join(at_home)))?;
    Some(base.join("retryrun"))
}

/// What is left of an outer run's deadline.
fn outer_deadline(variables: &Environment, now: Timestamp) -> Result<Option<Duration>, Error> {
    let Some(text) = variables.get("RETRYRUN_DEADLINE_AT") else {
        return Ok(None);
    };
    let at = text.to_str().and_then(|text| text.parse::<f64>().ok());
    let at = at.and_then(|at| Duration::try_from_secs_f64(at).ok());
    match at {
        Some(at) => Ok(Some(at.saturating_sub(now.as_duration()))),
        None => {
            let text = text.to_string_lossy();
            Err(Error::Usage(format!(
                "RETRYRUN_DEADLINE_AT: invalid value `{text}`: expected Unix seconds, as an outer run sets them"
            )))
        }
    }
}

/// The keys of all settings.
pub struct KeyNames(pub &'static [&'static str]);

/// The keys of all settings, asked from the type that reads them.
#[must_use]
pub fn key_names() -> KeyNames {
    struct Probe<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = ValueError;

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            visitor.visit_unit()
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, ValueError> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut names: &'static [&'static str] = &[];
    // It fails, since no settings are read; only the names are wanted.
    let _no_settings = Settings::deserialize(Probe(&mut names));
    KeyNames(names)
}
