//! Generates the files, and compares them with those that are committed; `UPDATE=1` writes them.

use std::fs;
use std::path::Path;

use clap_complete::Shell;

use super::{completions, manual, text};
use crate::cli::{Generate, definition, takes_value};
use crate::config::environment::Environment;
use crate::config::{Call, KeyNames, Resolved, key_names};
use crate::engine::event::Line;
use crate::engine::history::History;
use crate::engine::time::Timestamp;

/// Whether the files are to be written.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
fn is_update() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Compares a generated file with the one in the repository.
fn check(path: &str, committed: &str, generated: &str) {
    if is_update() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::write(&path, generated).expect("the repository can be written");
        return;
    }
    assert!(committed == generated, "{path} is stale: run the tests once with UPDATE=1");
}

#[test]
fn the_manual_page_is_current() {
    check("man/retryrun.1", text(Generate::Man), &manual::page());
}

#[test]
fn the_schemas_are_current() {
    let history = schema(schemars::schema_for!(History));
    check("src/generate/history.schema.json", text(Generate::Schema), &history);
    let event = schema(schemars::schema_for!(Line));
    check("src/generate/event.schema.json", text(Generate::SchemaEvents), &event);
}

#[test]
fn the_configuration_is_current() {
    check("src/generate/config.toml", text(Generate::Config), &config());
}

#[test]
fn the_completions_are_current() {
    for (path, kind, shell) in [
        ("completions/retryrun.bash", Generate::CompleteBash, Shell::Bash),
        ("completions/_retryrun", Generate::CompleteZsh, Shell::Zsh),
        ("completions/retryrun.fish", Generate::CompleteFish, Shell::Fish),
        ("completions/retryrun.elv", Generate::CompleteElvish, Shell::Elvish),
        ("completions/_retryrun.ps1", Generate::CompletePowershell, Shell::PowerShell),
    ] {
        check(path, text(kind), &completions::script(shell));
    }
}

#[test]
fn the_table_of_options_is_current() {
    let table = options(&definition());
    check("src/cli/options.rs", include_str!("../cli/options.rs"), &table);
}

/// The options that are settings, as Rust.
fn options(definition: &clap::Command) -> String {
    let KeyNames(keys) = key_names();
    let mut lines = Vec::new();
    for arg in definition.get_arguments() {
        let id = arg.get_id().as_str();
        if !keys.contains(&id) {
            continue;
        }
        assert_eq!(arg.get_long(), Some(&*id.replace('_', "-")));
        let shape = match arg.get_action() {
            clap::ArgAction::Count => "Count",
            clap::ArgAction::Append => "List",
            clap::ArgAction::Set if takes_value(arg) => "Value",
            clap::ArgAction::Set => "Switch",
            other => panic!("{id}: {other:?} is no shape that the reader of usual lines knows"),
        };
        let short = arg.get_short();
        lines.push(format!(
            "    Known {{ key: {id:?}, short: {short:?}, shape: Shape::{shape} }},\n"
        ));
    }
    format!(
        "//! The options that are settings. Made from the definition of the command line by a test, which compares them.\n\n\
         use super::reader::{{Known, Shape}};\n\npub(super) const OPTIONS: [Known; {}] = [\n{}];\n",
        lines.len(),
        lines.concat()
    )
}

fn schema(mut schema: schemars::Schema) -> String {
    require_all(schema.as_object_mut().expect("an object"));
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

/// Every fact is written, an absent one as null, but for three that are left out where there is nothing to say.
fn require_all(schema: &mut serde_json::Map<String, serde_json::Value>) {
    const LEFT_OUT: [&str; 3] = ["flaky", "delays", "error_kind"];
    if let Some(serde_json::Value::Object(properties)) = schema.get("properties") {
        let required = properties.keys().filter(|name| !LEFT_OUT.contains(&name.as_str()));
        let required = required.cloned().collect::<Vec<String>>().into();
        schema.insert("required".to_owned(), required);
    }
    for value in schema.values_mut() {
        if let serde_json::Value::Object(inner) = value {
            require_all(inner);
        }
    }
}

/// The defaults, as `--explain` without anything shows them.
fn defaults(flags: crate::config::settings::Settings) -> Resolved {
    let environment = Environment::new(Vec::new());
    let call = Call {
        flags: vec![flags],
        environment: &environment,
        earlier: Vec::new(),
        command: &[],
        now: Timestamp::default(),
        random_seed: 0,
    };
    let layered = call.layers().expect("nothing is set that could be wrong");
    layered.explained(&str::to_owned)
}

/// Values for the keys that have no default which could be written down.
const EXAMPLES: [(&str, &str, &str); 18] = [
    ("attempts", "4", "in place of retries"),
    ("delays", "[\"1s\", \"5s\", \"30s\"]", "in place of delay, backoff and multiplier"),
    ("seed", "42", "random if not set"),
    ("otherwise", "\"retry\"", "if not set, the built-in rules decide"),
    ("delay_from", "\"auto\"", "if not set, output asks for nothing"),
    ("retry_if", "\"./may-pass\"", "if not set, nobody is asked"),
    ("budget", "\"deploys=10/1h+20%\"", "if not set, retries are free"),
    ("budget_store", "\"redis://host/0\"", "if not set, a budget is this machine's"),
    ("on_retry", "\"logger 'again'\"", "if not set, nothing is run"),
    ("before_attempt", "\"rm -rf cache\"", "if not set, nothing is run"),
    ("on_success", "\"touch done\"", "if not set, nothing is run"),
    ("on_give_up", "\"./page-me\"", "if not set, nothing is run"),
    ("job", "\"nightly\"", "if not set, no state is kept"),
    ("log_dir", "\"logs\"", "if not set, nothing is kept"),
    ("tail", "\"4KiB\"", "if not set, 4KiB where stderr is read"),
    ("spool_limit", "\"1GiB\"", "if not set, what the disk holds"),
    ("cgroup", "\"/sys/fs/cgroup/jobs\"", "if not set, no cgroups are made"),
    ("policy", "\"auto\"", "cannot stand beside [policy.NAME] tables in one file"),
];

/// Keys that say which files are read.
const NOT_IN_FILES: [&str; 2] = ["config", "no_config"];

fn config() -> String {
    let definition = definition();
    let rows = defaults(Default::default()).rows;
    let KeyNames(keys) = key_names();
    let mut config = String::from(
        "# Configuration of retryrun: every key with its default.\n\
         #\n\
         # Durations are seconds (5, 0.5) or have units (\"500ms\", \"1m30s\"); 0 switches a limit off.\n",
    );
    let mut heading = "";
    for key in keys.iter().filter(|key| !NOT_IN_FILES.contains(key)) {
        let arg = definition
            .get_arguments()
            .find(|arg| arg.get_id() == key)
            .expect("a setting is an option");
        let its_heading = arg.get_help_heading().expect("every setting has a heading");
        if its_heading != heading {
            heading = its_heading;
            config += &format!("\n# {heading}\n");
        }
        let help = arg.get_help().expect("every setting has help").to_string();
        config += &format!("\n# {}\n", help.split(" [default").next().unwrap_or_default());
        config += &match EXAMPLES.iter().find(|(name, ..)| name == key) {
            Some((_, value, note)) => format!("# {key} = {value}  # {note}\n"),
            None => format!("{key} = {}\n", default_of(key, &rows)),
        };
    }
    config + POLICY_EXAMPLE
}

fn default_of(key: &str, rows: &[crate::config::Row]) -> String {
    let Some(row) = rows.iter().find(|row| row.name == key) else { return "[]".to_owned() };
    match &row.value {
        serde_json::Value::Null => "0".to_owned(),
        serde_json::Value::Number(number)
            if row.text.ends_with(|c: char| c.is_ascii_alphabetic()) =>
        {
            assert!(number.is_f64(), "{key} is a duration");
            format!("\"{}\"", row.text)
        }
        value => value.to_string(),
    }
}

const POLICY_EXAMPLE: &str = r#"
# A policy is a named set of any of these keys. It is chosen by the command's first words, or by --policy NAME.
#
# [policy.fetch]
# commands = ["curl", "wget"]
# inherit = "curl"
# jitter = "full"
# rules = [ { stop_on = "gone: 22 & /error: 410/" }, { retry_on = "busy: 75", limit = 2, delay = "30s" } ]
"#;

#[test]
fn the_configuration_says_exactly_the_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    fs::write(&path, text(Generate::Config)).expect("a file");
    let flags = crate::config::settings::Settings { config: Some(path), ..Default::default() };
    let configured = defaults(flags);
    let plain = defaults(Default::default());
    assert_eq!(configured.policy, plain.policy);
    for (configured, plain) in configured.rows.iter().zip(&plain.rows) {
        assert_eq!((configured.name, &configured.value), (plain.name, &plain.value));
        let is_said = configured.origin.contains("config.toml");
        let is_example = EXAMPLES.iter().any(|(name, ..)| *name == configured.name);
        assert!(is_said != is_example, "{}: {}", configured.name, configured.origin);
    }
    assert_eq!(configured.rows.len(), plain.rows.len());
}

#[test]
fn every_default_in_the_help_is_the_real_one() {
    let rows = defaults(Default::default()).rows;
    let definition = definition();
    for row in &rows {
        let arg =
            definition.get_arguments().find(|arg| arg.get_id() == row.name).expect("an option");
        let help = arg.get_help().expect("every setting has help").to_string();
        let said = help.split("[default: ").nth(1).and_then(|rest| rest.strip_suffix(']'));
        match said {
            Some("random") => assert_eq!(row.origin, "random"),
            Some("auto") if row.name == "policy" => assert_eq!(row.text, "none"),
            Some(said) => assert_eq!(said, row.text, "{}", row.name),
            None => assert!(
                row.value == false
                    || row.value.is_null()
                    || row.value.as_array().is_some_and(Vec::is_empty),
                "{}",
                row.name
            ),
        }
    }
}

#[test]
fn no_option_has_the_name_of_a_fact() {
    let KeyNames(keys) = key_names();
    for key in keys {
        let variable = crate::config::layer::variable(key);
        assert!(!crate::config::environment::FACTS.contains(&variable.as_str()), "{variable}");
    }
}

#[test]
fn every_setting_is_an_option_and_the_other_way_round() {
    let KeyNames(keys) = key_names();
    let modes = [
        "explain",
        "json",
        "classify",
        "jobs",
        "show_job",
        "retry_job",
        "stop_job",
        "rerun_job",
        "watch",
        "generate",
        "short_help",
        "help",
        "version",
        "command",
    ];
    let options: Vec<String> = definition()
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .filter(|id| !modes.contains(&id.as_str()))
        .collect();
    let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    keys.sort();
    let mut options = options;
    options.sort();
    assert_eq!(keys, options);
}

#[test]
fn short_help_is_one_screen() {
    let Ok(crate::cli::Request::Print(help)) =
        crate::cli::parse(vec!["retryrun".into(), "-h".into()])
    else {
        panic!("-h asks for help");
    };
    assert!(help.lines().count() <= 24, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
}
