//! Generates the files, and compares them with those that are committed; `UPDATE=1` writes them.

use std::fs;
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{completions, text};
use crate::cli::{Generate, definition};
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
    check("man/retryrun.1", text(Generate::Man), &man());
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

fn man() -> String {
    // What `-h` leaves out belongs here, too; clap_mangen would take its help away.
    let definition = definition().mut_args(|arg| arg.hide_short_help(false));
    let man = Man::new(definition).section("1");
    let mut page = Vec::new();
    let put = |result: std::io::Result<()>| result.expect("memory can be written");
    put(man.render_title(&mut page));
    put(man.render_name_section(&mut page));
    put(synopsis().to_writer(&mut page));
    put(man.render_description_section(&mut page));
    put(man.render_options_section(&mut page));
    for section in [exit_status(), signals(), environment(), files(), examples()] {
        put(section.to_writer(&mut page));
    }
    String::from_utf8(page).expect("the page is text")
}

fn section(title: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    roff
}

fn synopsis() -> Roff {
    let mut roff = section("SYNOPSIS");
    let lines = [
        vec![
            bold("retryrun"),
            roman(" ["),
            italic("OPTIONS"),
            roman("] [--] "),
            italic("COMMAND"),
            roman(" ["),
            italic("ARG"),
            roman("]..."),
        ],
        vec![
            bold("retryrun"),
            roman(" ["),
            italic("OPTIONS"),
            roman("] "),
            bold("--explain"),
            roman(" ["),
            bold("--json"),
            roman("] [[--] "),
            italic("COMMAND"),
            roman(" ["),
            italic("ARG"),
            roman("]...]"),
        ],
        vec![bold("retryrun"), roman(" ["), italic("OPTIONS"), roman("] "), bold("--classify")],
        vec![bold("retryrun --generate "), italic("KIND")],
    ];
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        roff.text(line);
    }
    roff
}

/// Tagged paragraphs: a term, and what it means.
fn terms(title: &str, terms: &[(&str, &str)]) -> Roff {
    let mut roff = section(title);
    for (term, meaning) in terms {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}

fn exit_status() -> Roff {
    let mut roff = terms(
        "EXIT STATUS",
        &[
            ("0", "The run succeeded."),
            (
                "the command's own",
                "The last attempt exited with it, and the run gave up: the failure is permanent, or retries or time are used \
                 up. 1 where the command left 0: a run that did not succeed never exits 0, unless --exit-code says so, or \
                 the command ended cleanly on a signal that was passed on.",
            ),
            (
                "128+N",
                "The last attempt was killed by signal N: retryrun dies of the same signal, which a shell shows as 128+N. As \
                 process 1 it exits with that number.",
            ),
            ("124", "The last attempt was ended by a timeout, the idle timeout or the deadline."),
            (
                "125",
                "retryrun itself failed: usage, configuration, the system refused what it needs, or a process cannot be killed.",
            ),
            ("126", "The command was found, but could not be started, also after retries."),
            ("127", "The command was not found."),
        ],
    );
    roff.control("PP", []);
    roff.text([roman(
        "After SIGHUP, SIGINT, SIGQUIT or SIGTERM to retryrun there is no further attempt: the command is sent the signal and, after the \
         grace of --kill-after, SIGKILL. Then retryrun dies of the same signal; if the command exited by itself, its exit code is \
         retryrun's. A third signal ends the grace at once.",
    )]);
    roff
}

fn signals() -> Roff {
    let mut roff = section("SIGNALS");
    for paragraph in [
        "With a terminal (/dev/tty opens) the command stays in retryrun's process group: the terminal sends Ctrl-C, Ctrl-\\ and Ctrl-Z to both. \
         Without one it has a group of its own, so that what is sent to retryrun's group reaches it once, through retryrun.",
        "SIGHUP, SIGINT, SIGQUIT and SIGTERM that a process sends to retryrun are passed on to all processes of the attempt; with a terminal after 50 \
         milliseconds, and only if the command has not ended by then, since whoever signals a whole group has reached the command, too: it may \
         then get the signal twice. Ctrl-C and Ctrl-\\ start no grace, since a pager lives through them; they end a wait at once.",
        "SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, the real-time signals and what else would end retryrun are passed on to the command. During a \
         wait SIGUSR1 starts the next attempt at once; it does not count against the limit. SIGTSTP stops both, and a command that stops \
         itself stops retryrun, where a shell can continue it. A signal that was ignored when retryrun started stays ignored.",
        "For the keys of the status line (--live) the terminal gives keys one by one in a wait and does not show them; that is undone before the \
         next attempt, and where retryrun ends or is stopped, but for SIGKILL and SIGSTOP. What was typed before a wait is left to the command, and \
         then no keys are heard in it.",
        "What is ended is ended with all of its processes: the stop signal and SIGCONT, the grace of --kill-after, SIGKILL, until none is left. \
         What still lives 5 seconds after SIGKILL ends the run with 125.",
    ] {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    roff
}

fn environment() -> Roff {
    terms(
        "ENVIRONMENT",
        &[
            (
                "RETRYRUN_*",
                "Every option but the modes can be set as RETRYRUN_ and its long name in capitals with _ for -, e.g. RETRYRUN_MAX_DELAY. Empty \
                 is unset. Switches take true, false, 1, 0, yes or no; a repeatable option has one value per line. A retryrun inside another one \
                 does not take RETRYRUN_HISTORY and RETRYRUN_EXIT_CODE.",
            ),
            (
                "RETRYRUN_ATTEMPT, RETRYRUN_MAX_ATTEMPTS, RETRYRUN_RUN_ID",
                "Set for the command: the number of the attempt, from 1; the most there can be, empty if unlimited; the run's id.",
            ),
            (
                "RETRYRUN_DEADLINE_AT",
                "Set for the command where there is a deadline, in Unix seconds. A retryrun that finds it keeps within the earlier of its own and \
                 this.",
            ),
            (
                "RETRYRUN_LAST_EXIT_CODE, RETRYRUN_LAST_SIGNAL, RETRYRUN_LAST_REASON",
                "Set for the command from the second attempt on: how the one before ended.",
            ),
            (
                "RETRYRUN_HINT_FILE",
                "Set for the command with --hints: the file in which it may say what it knows of its failure.",
            ),
            ("NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM", "Colours, with --color auto."),
            (
                "GITHUB_ACTIONS, GITLAB_CI, TF_BUILD, BUILDKITE",
                "The CI system, with --ci auto. GITHUB_STEP_SUMMARY and AGENT_TEMPDIRECTORY are where the job summary goes.",
            ),
            ("XDG_CONFIG_HOME, HOME", "Where the user's configuration is."),
        ],
    )
}

fn files() -> Roff {
    let mut roff = terms(
        "FILES",
        &[
            ("/etc/retryrun/config.toml", "The system's configuration."),
            (
                "$XDG_CONFIG_HOME/retryrun/config.toml",
                "The user's, by default ~/.config/retryrun/config.toml. It beats the system's; the file of --config beats both.",
            ),
        ],
    );
    roff.control("PP", []);
    roff.text([roman(
        "A configuration is TOML. Its keys are the long options with _ for -; success_on, stop_on, retry_on, redact and exit_code are lists. \
         [policy.NAME] holds a policy: the same keys, and commands (a list of first words for which it is chosen), inherit \
         (another policy on which it builds), docs, and rules (an ordered list of tables with one of success_on, stop_on \
         and retry_on, in place of these lists; beside retry_on may stand limit, the retries that the rule may order in a row, and \
         delay, the wait after an ending that it decided). retryrun --generate config prints a file with every key and its default.",
    )]);
    roff
}

fn examples() -> Roff {
    let mut roff = section("EXAMPLES");
    let examples = [
        (
            "Up to 4 attempts, with waits of 5, 10 and 20 seconds:",
            "retryrun -- curl -fsS http://127.0.0.1:8080/health",
        ),
        (
            "Ten retries at a steady pace, each attempt limited to 30 seconds:",
            "retryrun -n 10 -d 2s --backoff constant -t 30s -- ./deploy",
        ),
        (
            "Retry only what is known to pass:",
            "retryrun --retry-on 'busy: 75' --retry-on timeout -- ./sync",
        ),
        (
            "Wait for a server, two minutes at most:",
            "retryrun -n unlimited -d 1s --backoff constant --deadline 2m -- pg_isready -q",
        ),
        ("See what would happen, and why:", "retryrun --explain -- rsync -a src/ host:dst/"),
    ];
    for (what, command) in examples {
        roff.control("PP", []);
        roff.text([roman(what)]);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.text([bold(command)]);
        roff.control("RE", []);
    }
    roff
}

/// The defaults, as `--explain` without anything shows them.
fn defaults(flags: crate::config::settings::Settings) -> Resolved {
    let environment = Environment::new(Vec::new());
    let call = Call {
        flags,
        environment: &environment,
        command: &[],
        now: Timestamp::default(),
        random_seed: 0,
    };
    let layered = call.layers().expect("nothing is set that could be wrong");
    layered.resolve(&str::to_owned)
}

/// Values for the keys that have no default which could be written down.
const EXAMPLES: [(&str, &str, &str); 17] = [
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
    let modes =
        ["explain", "json", "classify", "generate", "short_help", "help", "version", "command"];
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
