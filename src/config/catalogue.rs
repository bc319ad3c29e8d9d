//! All policies that can be chosen: the built-in ones and those of the files. Which one is, and on which it builds.

use super::command::match_length;
use super::file::{File, PolicyTable};
use super::layer::{Layer, Place, Source};
use super::presets;
use crate::engine::keyword::did_you_mean;
use crate::error::Error;

/// What `--policy` takes.
const EXPECTED: &str =
    "expected `auto`, `none`, or the name of a built-in policy or one of the configuration";

/// The files, the built-in one first, a stronger one behind a weaker one.
pub(super) struct Catalogue<'a> {
    files: Vec<&'a File>,
}

/// All layers of a call, the strongest first, and which policy was chosen.
pub(super) struct Stack {
    pub(super) layers: Vec<Layer>,
    pub(super) policy: Chosen,
}

/// The chosen policy.
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) place: Place,
    /// Who said so; none if nobody did.
    pub(super) by: Option<Source>,
    pub(super) docs: Option<String>,
    /// Whether it is by the command's words that it was.
    pub(super) is_auto: bool,
}

impl Stack {
    /// The same with the user's own words masked: paths, names of policies, and what these say of themselves.
    pub(super) fn masked(mut self, mask: &dyn Fn(&str) -> String) -> Stack {
        for layer in &mut self.layers {
            layer.source = layer.source.masked(mask);
        }
        let Chosen { name, place, by, docs, is_auto } = self.policy;
        let (name, docs) = match &place {
            Place::BuiltIn => (name, docs),
            Place::File { .. } => (mask(&name), docs.as_deref().map(mask)),
        };
        let by = by.map(|source| source.masked(mask));
        Stack {
            layers: self.layers,
            policy: Chosen { name, place: place.masked(mask), by, docs, is_auto },
        }
    }
}

/// A policy by the index of its file and its name.
type Found<'a> = (usize, &'a str);

impl<'f> Catalogue<'f> {
    /// The given files, the weakest first, on top of the built-in policies.
    pub(super) fn new(presets: &'f File, files: &'f [File]) -> Result<Catalogue<'f>, Error> {
        let catalogue = Catalogue { files: [presets].into_iter().chain(files).collect() };
        for (index, file) in catalogue.files.iter().enumerate().skip(1) {
            for name in file.policies.keys() {
                catalogue.chain((index, name))?;
            }
        }
        Ok(catalogue)
    }

    /// The layers for a command by the words that may name it, behind those of the call, the strongest first.
    pub(super) fn stack(self, call: Vec<Layer>, readings: &[Vec<&str>]) -> Result<Stack, Error> {
        let (found, policy) = self.choose(&call, readings)?;
        let chain = match found {
            Some(found) => {
                self.chain(found)?.into_iter().map(|table| table.layer.clone()).collect()
            }
            None => Vec::new(),
        };
        let is_built_in = found.is_some_and(|(file, _)| file == 0);
        let tops = self.files.iter().skip(1).rev().map(|file| file.top.clone());
        // A policy of the configuration beats its top level, which beats a built-in one.
        let layers = if is_built_in {
            call.into_iter().chain(tops).chain(chain).collect()
        } else {
            call.into_iter().chain(chain).chain(tops).collect()
        };
        Ok(Stack { layers, policy })
    }

    fn choose<'a>(
        &'a self,
        call: &[Layer],
        readings: &[Vec<&str>],
    ) -> Result<(Option<Found<'a>>, Chosen), Error> {
        let layers = call.iter().chain(self.files.iter().rev().map(|file| &file.top));
        let said = layers.filter_map(|layer| Some((layer.settings.policy.as_ref()?, layer))).next();
        let found = match said.map(|(name, layer)| (name.as_str(), layer)) {
            None | Some(("auto", _)) => readings.iter().find_map(|words| self.by_command(words)),
            Some(("none", _)) => None,
            Some((name, layer)) => Some(self.by_name(name, self.files.len()).ok_or_else(|| {
                let hint = did_you_mean(name, self.names().chain(["auto", "none"]));
                let message = format!("there is no policy `{name}`: {EXPECTED}{hint}");
                let is_of_the_call = call.iter().any(|layer| layer.settings.policy.is_some());
                let file = self.files.iter().rev().copied().find(|file| file.choice.is_some());
                match file.filter(|_| !is_of_the_call) {
                    Some(file) => {
                        file.origin.fault(file.choice.clone().unwrap_or_default(), message)
                    }
                    None => {
                        let origin = layer.source.origin_of("policy");
                        Error::Usage(format!("{origin}: {message}"))
                    }
                }
            })?),
        };
        let table = found.and_then(|(file, name)| self.files.get(file)?.policies.get(name));
        let chosen = Chosen {
            name: found.map_or("none", |(_, name)| name).to_owned(),
            place: table.map_or(Place::BuiltIn, |table| table.place.clone()),
            by: said.map(|(_, layer)| layer.source.clone()),
            docs: table.and_then(|table| table.docs.clone()),
            is_auto: said.is_none_or(|(name, _)| name == "auto"),
        };
        Ok((found, chosen))
    }

    /// The policy with the longest match; of two the one in the stronger file.
    fn by_command(&self, words: &[&str]) -> Option<Found<'_>> {
        let mut best: Option<(usize, Found<'_>)> = None;
        for (index, file) in self.files.iter().enumerate() {
            for (name, table) in &file.policies {
                let is_replaced =
                    self.by_name(name, self.files.len()).is_some_and(|(by, _)| by != index);
                let commands = self.commands((index, name), table);
                let length = commands.iter().filter_map(|policy| match_length(words, policy)).max();
                if let Some(length) = length.filter(|_| !is_replaced)
                    && best.is_none_or(|(longest, _)| length >= longest)
                {
                    best = Some((length, (index, name)));
                }
            }
        }
        best.map(|(_, found)| found)
    }

    /// The commands for which a policy is chosen: without any of its own, those of the policy of its own name that it builds on.
    fn commands<'a>(
        &'a self,
        (index, name): Found<'a>,
        table: &'a PolicyTable,
    ) -> &'a [Vec<String>] {
        let inherits_its_name =
            table.inherit.as_ref().is_some_and(|inherit| inherit.get_ref() == name);
        let (true, None) = (inherits_its_name, &table.commands) else {
            return table.commands.as_deref().unwrap_or_default();
        };
        let replaced = self.by_name(name, index);
        let table = replaced.and_then(|(file, name)| self.files.get(file)?.policies.get(name));
        match (replaced, table) {
            (Some(replaced), Some(table)) => self.commands(replaced, table),
            _ => &[],
        }
    }

    /// The strongest policy of that name in the files before `end`.
    fn by_name(&self, name: &str, end: usize) -> Option<Found<'_>> {
        self.files.iter().enumerate().take(end).rev().find_map(|(index, file)| {
            let (name, _) = file.policies.get_key_value(name)?;
            Some((index, name.as_str()))
        })
    }

    /// A policy and what it inherits, nearest first.
    ///
    /// A policy that inherits its own name builds on the one that it replaces.
    fn chain<'a>(&'a self, found: Found<'a>) -> Result<Vec<&'a PolicyTable>, Error> {
        let mut chain = Vec::new();
        let mut seen: Vec<Found<'a>> = Vec::new();
        let mut next = Some(found);
        while let Some((index, name)) = next {
            let Some(file) = self.files.get(index) else {
                break;
            };
            let Some(table) = file.policies.get(name) else {
                break;
            };
            seen.push((index, name));
            chain.push(table);
            let Some(inherit) = &table.inherit else { break };
            let wanted = inherit.get_ref();
            let end = if wanted == name { index } else { self.files.len() };
            let fail = |message| file.origin.fault(inherit.span(), message);
            next = self.by_name(wanted, end);
            match next {
                None => {
                    let hint = did_you_mean(wanted, self.names().filter(|other| *other != name));
                    return Err(fail(format!("there is no policy `{wanted}` to inherit{hint}")));
                }
                Some(found) if seen.contains(&found) => {
                    return Err(fail(format!("the policy `{wanted}` inherits itself")));
                }
                Some(_) => {}
            }
        }
        Ok(chain)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let of_files = self.files.iter().flat_map(|file| file.policies.keys().map(String::as_str));
        presets::names().map(|name| -> &str { name }).chain(of_files)
    }
}
