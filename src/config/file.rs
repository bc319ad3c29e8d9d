//! A configuration file: its top level, and its policies. Every fault has line and column.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::argument::check_rule;
use super::command::readings;
use super::layer::{Layer, Place, RuleEntry, Source};
use super::settings::Settings;
use super::{KeyNames, key_names};
use crate::engine::classify::Rule;
use crate::engine::keyword::did_you_mean;
use crate::error::{Error, line_and_column};

/// More than this is no configuration.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The name under which the policies that are shipped in the program appear.
pub const BUILT_IN: &str = "built in";

/// Names that `--policy` gives another meaning.
const RESERVED: [&str; 2] = ["auto", "none"];

/// Keys of a policy that are no settings.
const POLICY_KEYS: [&str; 4] = ["commands", "inherit", "docs", "rules"];

/// Keys that hold rules.
const LISTS: [&str; 3] = ["success_on", "stop_on", "retry_on"];

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Its top level.
    pub top: Layer,
    /// The place of its `policy = "NAME"`, if it says that.
    pub choice: Option<Range<usize>>,
    /// Its policies by name.
    pub policies: BTreeMap<String, PolicyTable>,
    /// Where it is from.
    pub origin: Origin,
}

/// A file's path and text, for messages.
#[derive(Clone, Debug)]
pub struct Origin {
    path: PathBuf,
    text: String,
}

/// A policy as a file defines it.
#[derive(Clone, Debug)]
pub struct PolicyTable {
    /// What it says.
    pub layer: Layer,
    /// The commands for which it is chosen, each by its first words.
    pub commands: Option<Vec<Vec<String>>>,
    /// The policy that it builds on, with its place in the file.
    pub inherit: Option<Spanned<String>>,
    /// What it is for, and what it does not know.
    pub docs: Option<String>,
    /// Where it is defined.
    pub place: Place,
}

impl Origin {
    /// A fault at a place of the file.
    #[must_use]
    pub fn fault(&self, span: Range<usize>, message: String) -> Error {
        Error::fault(&self.path, &self.text, Some(span), message)
    }

    fn place(&self, span: &Range<usize>) -> Place {
        if self.path.as_os_str() == BUILT_IN {
            return Place::BuiltIn;
        }
        Place::File { path: self.path.display().to_string(), line: self.line(span) }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        line_and_column(&self.text, span.start).0
    }
}

impl File {
    /// Reads the file of the user, unless a folder on the way is closed to us: who became another user by `setpriv` keeps HOME,
    /// and has none there. One that is there and cannot be read is a fault.
    ///
    /// # Errors
    /// As [`File::read`].
    pub fn read_if_reachable(path: &Path) -> Result<Option<File>, Error> {
        let is_closed = || {
            fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        match File::read(path) {
            Err(_) if is_closed() => Ok(None),
            read => read,
        }
    }

    /// Reads a file; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or something in it cannot be.
    pub fn read(path: &Path) -> Result<Option<File>, Error> {
        let fail = |source| Error::File { action: "read", path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let read =
            fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(fail(error)),
            Ok(length) if length as u64 > MAX_BYTES => {
                return Err(fail(io::Error::other("it is larger than 16 MiB")));
            }
            Ok(_) => {}
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            Error::fault(path, &text, Some(valid..valid + 1), "expected UTF-8 text".into())
        })?;
        // Some editors begin a file with a byte order mark; it is no column.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        File::parse(path, text).map(Some)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// Something in it cannot be.
    pub fn parse(path: &Path, text: String) -> Result<File, Error> {
        let origin = Origin { path: path.to_owned(), text };
        let mut table =
            DeTable::parse(&origin.text).map_err(|error| toml_fault(&origin, &error))?;
        let policies = take_policies(&origin, table.get_mut())?;
        let lines =
            table.get_ref().keys().map(|key| (key.get_ref().to_string(), origin.line(&key.span())));
        let choice = table.get_ref().get("policy").map(Spanned::span);
        let source = Source::File { path: path.display().to_string(), lines: lines.collect() };
        let top = layer(&origin, table, source, &["rules", "policy"])?;
        Ok(File { top, choice, policies, origin })
    }
}

impl File {
    /// The policies on which its own build.
    pub fn inherited(&self) -> impl Iterator<Item = &str> {
        let tables = self.policies.values();
        tables.filter_map(|table| table.inherit.as_ref()).map(|name| name.get_ref().as_str())
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn toml_fault(origin: &Origin, error: &toml::de::Error) -> Error {
    let message = error.message().trim_end().replace('\n', ", ");
    // serde's words for what TOML calls otherwise.
    let message = message.replacen("invalid type: map,", "invalid type: table,", 1);
    let message = message.replacen("invalid type: sequence,", "invalid type: list,", 1);
    let message = match message.strip_suffix("expected a sequence") {
        Some(begin) => format!("{begin}expected a list, in brackets"),
        None => message,
    };
    Error::fault(&origin.path, &origin.text, error.span(), message)
}

/// Takes the `[policy.NAME]` tables out; `policy = "NAME"`, the setting, stays.
fn take_policies(
    origin: &Origin,
    table: &mut DeTable<'_>,
) -> Result<BTreeMap<String, PolicyTable>, Error> {
    if !matches!(table.get("policy").map(Spanned::get_ref), Some(DeValue::Table(_))) {
        return Ok(BTreeMap::new());
    }
    let Some(DeValue::Table(tables)) = table.remove("policy").map(Spanned::into_inner) else {
        return Ok(BTreeMap::new());
    };
    let mut policies = BTreeMap::new();
    let mut claimed: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut tables: Vec<_> = tables.into_iter().collect();
    tables.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in tables {
        let (name, span) = (key.get_ref().to_string(), key.span());
        if RESERVED.contains(&name.as_str()) {
            let message =
                format!("a policy cannot be called `{name}`: --policy {name} has a meaning");
            return Err(origin.fault(span, message));
        }
        let policy = policy(origin, &name, &span, value)?;
        for words in policy.commands.iter().flatten() {
            let claim = claimed.insert(words.clone(), name.clone());
            if let Some(other) = claim.filter(|other| *other != name) {
                let command = words.join(" ");
                let message = format!(
                    "the policies `{other}` and `{name}` both claim the command `{command}`"
                );
                return Err(origin.fault(span, message));
            }
        }
        policies.insert(name, policy);
    }
    Ok(policies)
}

fn policy(
    origin: &Origin,
    name: &str,
    span: &Range<usize>,
    value: Spanned<DeValue<'_>>,
) -> Result<PolicyTable, Error> {
    let value_span = value.span();
    let DeValue::Table(mut table) = value.into_inner() else {
        let message = format!("expected a table: `[policy.{name}]` and its settings");
        return Err(origin.fault(span.clone(), message));
    };
    let commands = take::<Vec<Spanned<String>>>(origin, &mut table, "commands")?;
    let inherit = take(origin, &mut table, "inherit")?;
    let docs = take(origin, &mut table, "docs")?;
    let place = origin.place(span);
    let source = Source::Policy { name: name.to_owned(), place: place.clone() };
    let table = Spanned::new(value_span, table);
    Ok(PolicyTable {
        layer: layer(origin, table, source, &POLICY_KEYS)?,
        commands: commands
            .map(|commands| commands.iter().map(|command| words(origin, command)).collect())
            .transpose()?,
        inherit,
        docs,
        place,
    })
}

/// The words by which a command is known, as those of a call are read.
fn words(origin: &Origin, command: &Spanned<String>) -> Result<Vec<String>, Error> {
    let words: Vec<String> = command.get_ref().split_whitespace().map(str::to_owned).collect();
    let Some(likeliest) = readings(&words).into_iter().next() else {
        let message = "expected a command's first words, e.g. `cargo nextest`".to_owned();
        return Err(origin.fault(command.span(), message));
    };
    Ok(likeliest.into_iter().map(str::to_owned).collect())
}

/// Takes a key that is no setting out of a table.
fn take<'i, T: Deserialize<'i>>(
    origin: &Origin,
    table: &mut DeTable<'i>,
    key: &str,
) -> Result<Option<T>, Error> {
    let Some(value) = table.remove(key) else {
        return Ok(None);
    };
    let value = toml::de::ValueDeserializer::from(value);
    T::deserialize(value).map(Some).map_err(|error| toml_fault(origin, &error))
}

/// The settings and the rules of a table, from which the other keys were taken; `others` are for suggestions.
fn layer(
    origin: &Origin,
    mut table: Spanned<DeTable<'_>>,
    source: Source,
    others: &[&str],
) -> Result<Layer, Error> {
    check_keys(origin, table.get_ref(), &source, others)?;
    let spans: BTreeMap<String, Range<usize>> =
        table.get_ref().keys().map(|key| (key.get_ref().to_string(), key.span())).collect();
    check_rule_keys(origin, table.get_ref())?;
    // A test checks the built-in ones.
    if origin.path.as_os_str() != BUILT_IN {
        check_regexes(origin, table.get_ref())?;
    }
    let rules = take::<Vec<Spanned<RuleEntry>>>(origin, table.get_mut(), "rules")?;
    for entry in rules.iter().flatten() {
        if entry.get_ref().rule().is_none() {
            let message =
                "expected exactly one of `success_on`, `stop_on` and `retry_on`".to_owned();
            return Err(origin.fault(entry.span(), message));
        }
        if let Some(key) = entry.get_ref().idle_key() {
            let message = format!("`{key}` belongs to a rule with `retry_on`");
            return Err(origin.fault(entry.span(), message));
        }
    }
    let rules = rules.map(|rules| rules.into_iter().map(Spanned::into_inner).collect());
    let settings = Settings::deserialize(toml::de::Deserializer::from(table))
        .map_err(|error| toml_fault(origin, &error))?;
    let layer = Layer { settings, rules, source };
    if let Some((one, other)) = layer.conflict() {
        let span = spans.get(other).cloned().unwrap_or_default();
        let message = format!("`{other}` conflicts with `{one}`: only one of them can stand here");
        return Err(origin.fault(span, message));
    }
    Ok(layer)
}

fn check_keys(
    origin: &Origin,
    table: &DeTable<'_>,
    source: &Source,
    others: &[&str],
) -> Result<(), Error> {
    let KeyNames(settings) = key_names();
    let in_policy = matches!(source, Source::Policy { .. });
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        let message = match name {
            "config" | "no_config" => {
                format!("`{name}` cannot be set in a file: it says which files are read")
            }
            "policy" if in_policy => {
                "a policy cannot choose a policy; `inherit` builds on one".into()
            }
            _ if name == "rules" || settings.contains(&name) => continue,
            _ if !in_policy && POLICY_KEYS.contains(&name) => {
                format!(
                    "`{name}` belongs to a policy: it can stand only in a table `[policy.NAME]`"
                )
            }
            _ => {
                let names = settings.iter().chain(others).copied();
                format!("unknown key `{name}`{}", did_you_mean(name, names))
            }
        };
        return Err(origin.fault(key.span(), message));
    }
    Ok(())
}

/// Whether what the rules of a table look for can be searched for. What is no rule is found later.
fn check_regexes(origin: &Origin, table: &DeTable<'_>) -> Result<(), Error> {
    let array = |key: &str| table.get(key).and_then(|list| list.get_ref().as_array());
    let lists = LISTS.iter().filter_map(|key| array(key)).flat_map(|list| list.iter());
    let entries = array("rules").into_iter().flat_map(|list| list.iter());
    let entries = entries.filter_map(|entry| entry.get_ref().as_table());
    let of_entries = entries.flat_map(|entry| LISTS.iter().filter_map(|key| entry.get(*key)));
    for value in lists.chain(of_entries) {
        let rule = value.get_ref().as_str().and_then(|text| text.parse::<Rule>().ok());
        if let Some(Err(message)) = rule.map(|rule| check_rule(&rule)) {
            return Err(origin.fault(value.span(), message));
        }
    }
    Ok(())
}

fn check_rule_keys(origin: &Origin, table: &DeTable<'_>) -> Result<(), Error> {
    let Some(DeValue::Array(entries)) = table.get("rules").map(Spanned::get_ref) else {
        return Ok(());
    };
    for key in entries.iter().filter_map(|entry| entry.get_ref().as_table()).flat_map(DeTable::keys)
    {
        let name = key.get_ref().as_ref();
        if !RuleEntry::KEYS.contains(&name) {
            let hint = did_you_mean(name, RuleEntry::KEYS.into_iter());
            return Err(origin.fault(key.span(), format!("unknown key `{name}` of a rule{hint}")));
        }
    }
    Ok(())
}
