//! The files that retryrun comes with: manual page, completions, JSON Schemas, configuration.
//!
//! They are generated from the definition of the command line and the types of the history and its events by the tests, committed, and
//! part of the program.

use crate::cli::Generate;

/// The text of a generated file.
#[must_use]
pub fn text(kind: Generate) -> &'static str {
    match kind {
        Generate::Man => include_str!("../man/retryrun.1"),
        Generate::CompleteBash => include_str!("../completions/retryrun.bash"),
        Generate::CompleteZsh => include_str!("../completions/_retryrun"),
        Generate::CompleteFish => include_str!("../completions/retryrun.fish"),
        Generate::CompleteElvish => include_str!("../completions/retryrun.elv"),
        Generate::CompletePowershell => include_str!("../completions/_retryrun.ps1"),
        Generate::Schema => include_str!("generate/history.schema.json"),
        Generate::SchemaEvents => include_str!("generate/event.schema.json"),
        Generate::Config => include_str!("generate/config.toml"),
    }
}

#[cfg(test)]
mod completions;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod tests;
