//! The command line: modes, settings, and the command's words.
//!
//! What the settings are is `config::settings`'; what is wrong with a command line is said in one line.

mod options;
mod reader;

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueHint};

use crate::config::name::Name;
use crate::config::settings::{REPORTS, Settings};
use crate::config::verbosity::Verbosity;
use crate::engine::keyword::{Keyword, keywords};
use crate::error::Error;
use reader::Line;

/// Run a command and, when it fails in a way that may pass, run it again
///
/// retryrun runs COMMAND and supervises it. When it fails, exit code, signal and limits decide whether the failure is transient or
/// permanent; after a transient one it waits on a backoff and runs the command again. When it gives up, it prints a JSON history
/// of the attempts on stderr. Options end at the first word that is none, or at `--`; what follows is the command's,
/// untouched, and not run through a shell.
///
/// DUR is a number of seconds (5, 0.5) or has units (500ms, 1m30s, 2h 15m). Every option but the modes can also be set in the
/// configuration, by its long name with _ for -, and in the environment, as RETRYRUN_ and that name in capitals; flags beat the
/// environment, which beats the configuration.
#[derive(Debug, Parser)]
#[command(
    name = "retryrun",
    version,
    disable_version_flag = true,
    max_term_width = 100,
    args_override_self = true,
    disable_help_flag = true,
    override_usage = "retryrun [OPTIONS] [--] COMMAND [ARG]...\n       \
                      retryrun [OPTIONS] --explain [--json] [[--] COMMAND [ARG]...]\n       \
                      retryrun [OPTIONS] (--jobs | --show-job NAME | --classify | ...)",
    after_help = "DUR: 5, 0.5, 500ms, 1m30s. RULE: 7,28 or nonzero or timeout. All options: --help",
    after_long_help = "The manual page retryrun(1) has the exit statuses, files and examples."
)]
pub struct Args {
    /// The settings among the flags.
    #[command(flatten)]
    pub settings: Settings,

    /// Run nothing; print settings, rules and waits
    #[arg(long, help_heading = MODES, conflicts_with = "generate")]
    pub explain: bool,

    /// With --explain or --jobs, print JSON
    #[arg(long, help_heading = MODES, hide_short_help = true)]
    pub json: bool,

    /// Judge the endings on stdin, one JSON object a line
    ///
    /// {"command": ["curl", "-f", "http://h/"], "exit_code": 22, "signal": null, "ended_by": "exit", "stdout": "", "stderr": "..."}
    /// gets, in order, {"verdict", "reason", "rule", "rule_origin", "policy"}, under the policy that the other options and its
    /// command give. All may be left out but one of exit_code, signal and ended_by; a stream that is null was not read.
    #[arg(
        long, help_heading = MODES, hide_short_help = true,
        conflicts_with_all = ["explain", "generate", "command"],
    )]
    pub classify: bool,

    /// List the named runs
    ///
    /// State, attempt, retries, last ending, when the next attempt is due, age and command; with --json as an array of objects.
    #[arg(long, help_heading = MODES, hide_short_help = true, conflicts_with_all = ["command", "explain", "classify", "generate"])]
    pub jobs: bool,

    /// With --jobs, keep them on the screen
    ///
    /// The whole of it, as they are each second. Up and Down select a run, Enter shows its history, r begins its next attempt at once, s
    /// stops it, and q ends the view.
    #[arg(long, help_heading = MODES, hide_short_help = true, conflicts_with = "json")]
    pub watch: bool,

    /// Print the history of a named run
    ///
    /// As a timeline on a terminal, else as JSON.
    #[arg(
        long, value_name = "NAME", help_heading = MODES, hide_short_help = true,
        conflicts_with_all = ["command", "explain", "classify", "generate", "jobs"],
    )]
    pub show_job: Option<Name>,

    /// End the wait of a named run
    ///
    /// The attempt that begins then does not count against the limit.
    #[arg(
        long, value_name = "NAME", help_heading = MODES, hide_short_help = true,
        conflicts_with_all = ["command", "explain", "classify", "generate", "jobs", "show_job"],
    )]
    pub retry_job: Option<Name>,

    /// Stop a named run
    ///
    /// Its attempt is ended, and it ends as stopped; that is waited for.
    #[arg(
        long, value_name = "NAME", help_heading = MODES, hide_short_help = true,
        conflicts_with_all = ["command", "explain", "classify", "generate", "jobs", "show_job", "retry_job"],
    )]
    pub stop_job: Option<Name>,

    /// Run an ended named run again
    ///
    /// With its command, folder and options, in the foreground. Options given with it win; paths in them are seen from that folder. Secrets
    /// come from the environment again.
    #[arg(
        long, value_name = "NAME", help_heading = MODES, hide_short_help = true,
        conflicts_with_all = ["command", "explain", "classify", "generate", "jobs", "show_job", "retry_job", "stop_job", "job", "fresh"],
    )]
    pub rerun_job: Option<Name>,

    /// Print a file that retryrun comes with
    #[arg(
        long, value_name = "KIND", help_heading = MODES, hide_short_help = true,
        conflicts_with = "command",
        value_parser = PossibleValuesParser::new(Generate::NAMES).try_map(|word| word.parse::<Generate>()),
    )]
    pub generate: Option<Generate>,

    /// Print the most used options, on one screen
    #[arg(short = 'h', help_heading = MODES, hide_short_help = true)]
    pub short_help: bool,

    /// Print all options
    #[arg(long, help_heading = MODES, action = ArgAction::HelpLong, hide_short_help = true)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, help_heading = MODES, action = ArgAction::Version, hide_short_help = true)]
    version: Option<bool>,

    /// Print more, e.g. each attempt as it starts
    ///
    /// Twice: also what retryrun does itself, for whoever looks for a fault in it.
    #[arg(id = "verbose", short = 'v', long, help_heading = REPORTS, action = ArgAction::Count)]
    verbosity: u8,

    /// The command and its arguments.
    #[arg(
        value_name = "COMMAND", trailing_var_arg = true, hide = true,
        value_hint = ValueHint::CommandWithArguments,
    )]
    pub command: Vec<OsString>,
}

const MODES: &str = "Modes";

keywords! {
    /// What `--generate` prints.
    Generate {
        /// The manual page.
        Man = "man",
        /// Completions for bash.
        CompleteBash = "complete-bash",
        /// Completions for zsh.
        CompleteZsh = "complete-zsh",
        /// Completions for fish.
        CompleteFish = "complete-fish",
        /// Completions for elvish.
        CompleteElvish = "complete-elvish",
        /// Completions for PowerShell.
        CompletePowershell = "complete-powershell",
        /// The JSON Schema of the history.
        Schema = "schema",
        /// The JSON Schema of an event: of a line of the event stream, and of what hooks read.
        SchemaEvents = "schema-events",
        /// A configuration file with every key and its default.
        Config = "config",
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Print a text: help or version.
    Print(String),
    /// Everything else.
    Call(Box<Args>),
}

/// The definition of the command line.
#[must_use]
pub fn definition() -> clap::Command {
    // `-d -1s` is a wrong value of -d, not an option of its own; and a pattern may begin with a dash.
    Args::command()
        .mut_args(|arg| if takes_value(&arg) { arg.allow_hyphen_values(true) } else { arg })
}

/// Whether it is an option with a value, which may be the next word.
#[must_use]
pub fn takes_value(arg: &clap::Arg) -> bool {
    !arg.is_positional()
        && arg.get_action().takes_values()
        && arg.get_num_args().is_none_or(|values| values.takes_values())
}

/// Reads a command line; the first word is our own name.
///
/// # Errors
/// Something in it cannot be; one line that names it.
pub fn parse(words: Vec<OsString>) -> Result<Request, Error> {
    match reader::read(&words) {
        Some(line) => Ok(Request::Call(Box::new(Args::of(line)))),
        None => parse_by_definition(words),
    }
}

/// The same by the definition alone, which also explains what cannot be, and answers modes, help and version.
///
/// # Errors
/// Something in it cannot be; one line that names it.
pub fn parse_by_definition(words: Vec<OsString>) -> Result<Request, Error> {
    let said = words.clone();
    let parsed = definition()
        .try_get_matches_from(words)
        .and_then(|mut matches| Args::from_arg_matches_mut(&mut matches));
    match parsed {
        Ok(args) if args.short_help => Ok(Request::Print(short_help())),
        Ok(args) if args.json && !args.explain && !args.jobs => Err(Error::Usage(
            "--json says how to print what --explain or --jobs prints: give one of them, too"
                .into(),
        )),
        Ok(args) if args.watch && !args.jobs => Err(Error::Usage(
            "--watch keeps on the screen what --jobs prints: give that, too".into(),
        )),
        Ok(args) if args.needs_command() => Err(Error::Usage(
            "expected a command to run, e.g. `retryrun -- make test`; see retryrun -h".into(),
        )),
        Ok(mut args) => {
            args.settings.verbose =
                (args.verbosity > 0).then(|| Verbosity::of_count(args.verbosity));
            Ok(Request::Call(Box::new(args)))
        }
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Request::Print(error.render().to_string()))
            }
            ErrorKind::InvalidUtf8 => Err(Error::Usage(not_text(&said))),
            _ => Err(Error::Usage(message(&error))),
        },
    }
}

impl Args {
    /// A call without a mode.
    fn of(Line { settings, count, command }: Line) -> Args {
        let verbose = (count > 0).then(|| Verbosity::of_count(count));
        Args {
            settings: Settings { verbose, ..settings },
            explain: false,
            json: false,
            classify: false,
            jobs: false,
            watch: false,
            show_job: None,
            retry_job: None,
            stop_job: None,
            rerun_job: None,
            generate: None,
            short_help: false,
            help: None,
            version: None,
            verbosity: count,
            command,
        }
    }

    fn needs_command(&self) -> bool {
        let of_a_job = [&self.show_job, &self.retry_job, &self.stop_job, &self.rerun_job]
            .into_iter()
            .flatten();
        let is_mode = self.explain || self.classify || self.jobs || self.generate.is_some();
        self.command.is_empty() && !is_mode && of_a_job.count() == 0
    }
}

/// The most used options on one screen of 24 lines and 80 columns: without headings.
fn short_help() -> String {
    let one_list = |arg: clap::Arg| arg.help_heading("Options");
    definition().term_width(80).mut_args(one_list).render_help().to_string()
}

/// One sentence for what clap found.
fn message(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    // Dots stand behind an option that may be given more than once.
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let argument = argument.trim_end_matches("...");
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let near = text(ContextKind::SuggestedArg)
        .or_else(|| text(ContextKind::SuggestedValue))
        .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    match error.kind() {
        // What clap makes of `-q=true`.
        ErrorKind::UnknownArgument if argument == "-=" => {
            "unexpected `=`: the option before it takes no value".to_owned()
        }
        ErrorKind::UnknownArgument => format!("unknown option `{argument}`{near}"),
        ErrorKind::ValueValidation => {
            let expected = error.source().map_or(String::new(), |source| format!(": {source}"));
            format!("{argument}: invalid value `{value}`{expected}")
        }
        ErrorKind::InvalidValue if value.is_empty() && near.is_empty() => {
            match text(ContextKind::ValidValue).filter(|valid| !valid.is_empty()) {
                Some(valid) => format!("{argument}: expected one of {valid}"),
                None => format!("{argument}: expected a value"),
            }
        }
        ErrorKind::InvalidValue => {
            let valid = text(ContextKind::ValidValue).unwrap_or_default();
            format!("{argument}: invalid value `{value}`: expected one of {valid}{near}")
        }
        ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{argument}: unexpected value `{value}`: the option takes none")
        }
        ErrorKind::ArgumentConflict => {
            match text(ContextKind::PriorArg).unwrap_or_default().as_str() {
                "[COMMAND]..." => format!("{argument} takes the place of a command"),
                other => format!("{argument} conflicts with {other}: give only one of them"),
            }
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// Whether a word is an option whose value is the next word.
fn takes_next_word(word: &str) -> bool {
    let is_it = |arg: &clap::Arg| {
        let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        long || arg
            .get_short()
            .is_some_and(|short| word.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
    };
    definition().get_arguments().any(|arg| takes_value(arg) && is_it(arg))
}

/// One sentence for an option's value that is not text, which clap does not name. The only one that need not be is a path.
fn not_text(words: &[OsString]) -> String {
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let of_option = |index: usize| -> Option<(&str, &str)> {
        let (word, before) = (texts.get(index)?.as_str(), texts.get(index.checked_sub(1)?)?);
        if !word.starts_with('-') || takes_next_word(before) {
            return Some((before, word));
        }
        let is_long = word.starts_with("--");
        if is_long { word.split_once('=') } else { word.split_at_checked(2) }
    };
    let bad = words.iter().enumerate().filter(|(_, word)| word.to_str().is_none());
    let mut named = bad.filter_map(|(index, _)| of_option(index));
    match named.find(|(option, _)| *option != "--config") {
        Some((option, value)) => {
            format!("{option}: invalid value `{value}`: expected UTF-8 text")
        }
        None => "expected the value of an option to be UTF-8 text".to_owned(),
    }
}
