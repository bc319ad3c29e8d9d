//! Laws of what comes from users: whatever flags, variables and files say, they are taken, or refused by name.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, proptest};

use retryrun::cli::{self, Args, Request};
use retryrun::config::environment::{Environment, FACTS};
use retryrun::config::{Call, KeyNames, Resolved, explain, key_names};
use retryrun::engine::time::Timestamp;
use retryrun::error::Error;

use crate::laws::cases;
use crate::test::Test;

/// Values that some settings take.
const VALUES: [&str; 32] = [
    "0",
    "1",
    "3",
    "7.5",
    ".5",
    "500ms",
    "2h 15m",
    "inf",
    "unlimited",
    "full",
    "10%",
    "decorrelated",
    "linear",
    "TERM",
    "sigusr1",
    "22 & !7",
    "busy: 75",
    "crash",
    "2,64-78",
    "1,2s,3",
    "exhausted=75",
    "timeout=same",
    "always",
    "json",
    "never",
    "retry",
    "curl",
    "none",
    "a[0-9]+",
    "x=5/1h+20%",
    "redis://u:p@h/1",
    "true",
];

/// Values that none takes, or that are at the edge.
const EDGES: [&str; 20] = [
    "",
    " ",
    "-1",
    "1e400",
    "nan",
    "18446744073709551615",
    "18446744073709551616",
    "101%",
    "a(",
    "7,",
    "!!7",
    "& ",
    ": ",
    "x: ",
    "=",
    "timeout=",
    "=5",
    "\u{1b}[31m",
    "\u{feff}é\u{202e}",
    "0.0000000001",
];

/// Files that are in order.
const FILES: [&str; 4] = [
    "retries = 3\ndelay = \"5s\"\njitter = \"full\"\nquiet = true\nredact = [\"a+\"]\n",
    "attempts = \"inf\"\ndelays = [1, \"2s\", 0.5]\nstop_on = [\"bad: 2,64-78\"]\notherwise = \"retry\"\n",
    "[policy.fetch]\ncommands = [\"curl\", \"x y\"]\ninherit = \"curl\"\n\
     rules = [ { stop_on = \"22\" }, { retry_on = \"busy: 75\", source = \"us\" } ]\n",
    "policy = \"wget\"\ntimeout = 1.5\nexit_code = [\"exhausted=75\"]\n# a comment é\nseed = 42\n",
];

fn keys() -> Vec<&'static str> {
    let KeyNames(keys) = key_names();
    keys.to_vec()
}

fn value() -> BoxedStrategy<Vec<u8>> {
    let text =
        |texts: &[&'static str]| select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![
        8 => text(&VALUES),
        3 => text(&EDGES),
        1 => vec(1_u8.., 0..8),
        1 => "[ -~]{0,12}".prop_map(String::into_bytes),
    ]
    .boxed()
}

/// One or two words: an option in one of its forms, or what only looks like one.
fn option() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let long = select(keys()).prop_map(|key| format!("--{}", key.replace('_', "-")).into_bytes());
    let short = select(vec!["-n", "-t", "-k", "-d"]).prop_map(|name| name.as_bytes().to_vec());
    let switch = select(vec![
        "-q",
        "-v",
        "--quiet",
        "--verbose",
        "--no-config",
        "--explain",
        "--json",
        "-qv",
    ]);
    let strange =
        select(vec!["--atempts", "--max_delay", "-z", "---", "-", "-5", "--=x", "--generate=x"]);
    let apart = |name: Vec<u8>, value: Vec<u8>| vec![name, value];
    let joined = |mut name: Vec<u8>, value: Vec<u8>| {
        name.push(b'=');
        name.extend(value);
        vec![name]
    };
    prop_oneof![
        6 => (long.clone(), value()).prop_map(move |(name, value)| joined(name, value)),
        2 => (long, value()).prop_map(move |(name, value)| apart(name, value)),
        2 => (short, value()).prop_map(move |(name, value)| apart(name, value)),
        2 => switch.prop_map(|word| vec![word.as_bytes().to_vec()]),
        1 => strange.prop_map(|word| vec![word.as_bytes().to_vec()]),
        1 => value().prop_map(|word| vec![[b"--", &word[..]].concat()]),
    ]
}

/// A command line without our name.
fn words() -> impl Strategy<Value = Vec<OsString>> {
    let command =
        select(vec![&["--", "curl", "x"][..], &["wget"], &["sudo", "-u", "me", "rsync"], &[]]);
    (vec(option(), 0..4), command).prop_map(|(options, command)| {
        let options = options.into_iter().flatten().map(OsString::from_vec);
        options.chain(command.iter().map(OsString::from)).collect()
    })
}

/// Variables: settings, facts, and others.
fn variables() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let setting = select(keys()).prop_map(|key| format!("RETRYRUN_{}", key.to_uppercase()));
    let fact = select(FACTS.to_vec()).prop_map(str::to_owned);
    let other = select(vec!["RETRYRUN_NONSENSE", "MY_TOKEN", "XDG_CONFIG_HOME"]);
    let name = prop_oneof![8 => setting, 1 => fact, 1 => other.prop_map(str::to_owned)];
    let lines = (value(), value()).prop_map(|(one, other)| [one, other].join(&b'\n'));
    vec((name, prop_oneof![4 => value(), 1 => lines]), 0..4)
}

/// A line of a file: a key and a value, or a table's heading.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let more = ["commands", "inherit", "docs", "rules", "polcy", "source"];
    let key = select([keys(), more.to_vec()].concat());
    let raw = select(vec![
        "3",
        "-1",
        "1.5",
        "1e400",
        "nan",
        "true",
        "[]",
        "{}",
        "[1, 2]",
        "[\"7\"]",
        "[{ stop_on = \"7\" }]",
        "[{ stopon = \"7\" }]",
        "1979-05-27",
        "0x10",
        "99999999999999999999999",
        "'a",
        "\"\"\"",
        "[[",
    ]);
    let quoted = value().prop_map(|value| format!("{:?}", String::from_utf8_lossy(&value)));
    let value = prop_oneof![2 => raw.prop_map(str::to_owned), 3 => quoted.clone(), 1 => quoted.prop_map(|text| format!("[{text}]"))];
    let heading = select(vec![
        "[policy.a]",
        "[policy.wget]",
        "[policy.auto]",
        "[policy]",
        "[[policy]]",
        "[x",
        "\r",
    ]);
    prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}").into_bytes()),
        1 => heading.prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// A file: lines of our making, one that was in order, or anything.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![30 => b' '..=b'~', 1 => any::<u8>()];
    let edit = (any::<Index>(), 0_usize..4, vec(byte, 0..3));
    let edited = (select(FILES.to_vec()), vec(edit, 0..3)).prop_map(|(text, edits)| {
        edits.into_iter().fold(text.as_bytes().to_vec(), |mut bytes, (place, cut, inserted)| {
            let start = place.index(bytes.len() + 1);
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, inserted);
            bytes
        })
    });
    prop_oneof![
        3 => vec(line(), 0..5).prop_map(|lines| lines.join(&b'\n')),
        3 => edited,
        1 => vec(any::<u8>(), 0..40),
    ]
}

fn environment(variables: &[(String, Vec<u8>)]) -> Environment {
    let entry = |(name, value): &(String, Vec<u8>)| -> &'static CStr {
        let entry = CString::new([name.as_bytes(), b"=", value].concat()).expect("no zero bytes");
        Box::leak(entry.into_boxed_c_str())
    };
    Environment::new(variables.iter().map(entry).collect())
}

fn parse(words: &[OsString]) -> Result<Request, Error> {
    cli::parse([OsString::from("retryrun")].iter().chain(words).cloned().collect())
}

fn resolve(args: Args, environment: &Environment) -> Result<Resolved, Error> {
    let call = Call {
        flags: vec![args.settings],
        environment,
        earlier: Vec::new(),
        command: &args.command,
        now: Timestamp::default(),
        random_seed: 1,
    };
    Ok(call.layers()?.explained(&str::to_owned))
}

/// What a command line that can be read comes to; none for help and the like.
fn resolved(words: &[OsString], environment: &Environment) -> Option<Result<Resolved, Error>> {
    match parse(words) {
        Ok(Request::Call(args)) => Some(resolve(*args, environment)),
        Ok(Request::Print(_)) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Whether a message names one of the options, by the word or by the long name that the word is short for.
fn names_an_option(message: &str, words: &[OsString]) -> bool {
    let names: Vec<String> = words
        .iter()
        .filter(|word| *word != "--")
        .map(|word| word.to_string_lossy().split('=').next().unwrap_or_default().to_owned())
        .filter(|name| name.starts_with('-'))
        .collect();
    let long = |name: &str| {
        let letter = name.chars().nth(1).unwrap_or_default();
        let letters = [
            ('n', "--retries"),
            ('t', "--timeout"),
            ('k', "--kill-after"),
            ('d', "--delay"),
            ('q', "--quiet"),
            ('v', "--verbose"),
        ];
        letters.into_iter().find(|(short, _)| *short == letter).map(|(_, long)| long)
    };
    let is_named = |name: &String| {
        let short: String = name.chars().take(2).collect();
        [" ", ":", "`"].iter().any(|end| message.contains(&format!("{name}{end}")))
            || message.contains(&format!("`{short}`"))
            || (!name.starts_with("--") && long(name).is_some_and(|long| message.contains(long)))
    };
    names.iter().any(is_named)
        || message.starts_with("expected a command")
        || message.starts_with("cannot read")
}

/// Whether a message begins with a place in the file that is there.
fn names_a_place(message: &str, path: &Path, content: &[u8]) -> bool {
    let place = message.strip_prefix(&format!("{}:", path.display()));
    let Some((line, rest)) = place.and_then(|place| place.split_once(':')) else { return false };
    let Some((column, _)) = rest.split_once(": ") else { return false };
    let (Ok(line), Ok(column)) = (line.parse::<usize>(), column.parse::<usize>()) else {
        return false;
    };
    let text = String::from_utf8_lossy(content);
    let length = text.split('\n').nth(line.wrapping_sub(1)).map(|line| line.chars().count());
    length.is_some_and(|length| (1..=length + 2).contains(&column))
}

/// What is resolved can be explained.
fn check(
    result: &Result<Resolved, Error>,
    is_named: impl Fn(&str) -> bool,
) -> Result<(), TestCaseError> {
    match result {
        Ok(resolved) => {
            let json = explain::json(resolved);
            prop_assert_eq!(json.find('\n'), Some(json.len() - 1));
            prop_assert!(explain::text(resolved).starts_with("Settings:\n"));
        }
        Err(error) => {
            let message = error.to_string();
            prop_assert!(is_named(&message), "{message:?}");
            prop_assert_eq!(error.exit(), retryrun::engine::exit::Exit::FAILED);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn flags_are_taken_or_refused_by_name(words in words()) {
        if let Some(result) = resolved(&words, &environment(&[])) {
            check(&result, |message| names_an_option(message, &words))?;
        }
    }

    #[test]
    fn usual_lines_are_read_as_the_definition_reads_them(words in words()) {
        let words: Vec<OsString> = [OsString::from("retryrun")].into_iter().chain(words).collect();
        let (read, defined) = (cli::parse(words.clone()), cli::parse_by_definition(words));
        prop_assert_eq!(format!("{read:?}"), format!("{defined:?}"));
    }

    #[test]
    fn variables_are_taken_or_refused_by_name(variables in variables()) {
        let result = resolved(&["curl".into()], &environment(&variables)).expect("a command");
        check(&result, |message| {
            message.starts_with("cannot read ")
                || variables.iter().any(|(name, _)| message.contains(&format!("{name}:")))
                || variables.iter().any(|(name, _)| message.starts_with(&format!("{name} conflicts")))
        })?;
    }

    #[test]
    fn files_are_taken_or_refused_by_line_and_column(content in file()) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c.toml");
        fs::write(&path, &content).expect("a file");
        let words = ["--config".into(), path.clone().into(), "curl".into()];
        let result = resolved(&words, &environment(&[])).expect("a command");
        check(&result, |message| names_a_place(message, &path, &content))?;
        if let Err(error) = result {
            prop_assert!(error.excerpt().len() >= 2, "{error}");
        }
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn the_program_answers_or_refuses(words in words(), variables in variables(), file in file()) {
        let options = [OsStr::new("--explain"), OsStr::new("--config=c.toml")];
        let test = Test::new(options.into_iter().chain(words.iter().map(OsString::as_os_str)));
        fs::write(test.path("c.toml"), &file).expect("a file");
        let test = variables
            .iter()
            .fold(test, |test, (name, value)| test.env(name, OsStr::from_bytes(value)));
        let ran = test.run();
        if ran.code() == Some(0) {
            prop_assert!(!ran.stdout.is_empty());
            prop_assert_eq!(ran.stderr, "");
        } else {
            prop_assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""));
            let (first, excerpt) = ran.stderr.split_once('\n').expect("a line");
            prop_assert!(first.starts_with("retryrun: "), "{first}");
            prop_assert!(!excerpt.contains("retryrun: "), "{excerpt}");
            prop_assert!(excerpt.is_empty() || first.starts_with("retryrun: c.toml:"), "{first}");
            prop_assert!(!ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{first}");
        }
    }
}

#[test]
fn every_fragment_of_a_file_is_in_order() {
    for content in FILES {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c.toml");
        fs::write(&path, content).expect("a file");
        let words = ["--config".into(), path.into(), "curl".into()];
        let result = resolved(&words, &environment(&[])).expect("a command");
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn every_value_is_one_that_some_setting_takes() {
    for value in VALUES {
        let is_taken = |key: &&str| {
            let word = format!("--{}={value}", key.replace('_', "-"));
            matches!(parse(&[word.into(), "curl".into()]), Ok(Request::Call(_)))
        };
        let plain = ["policy", "config", "redact"];
        let is_plain = matches!(value, "curl" | "none" | "a[0-9]+" | "true");
        assert!(
            is_plain || keys().iter().any(|key| !plain.contains(key) && is_taken(key)),
            "{value}"
        );
    }
}
