//! The configuration: files, environment and policies, which of them wins, and how faults are shown.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::explained::{Explained, explain, refusal};
use crate::test::{RETRYRUN, Test};

const USER: &str = ".config/retryrun/config.toml";

/// `--config c.toml` with that content, and these words.
fn configured(content: &str, words: &[&str]) -> Test {
    explain(&[&["--config", "c.toml"], words].concat()).file("c.toml", content)
}

fn retries(test: Test) -> (i64, String) {
    let explained = Explained::of(test);
    let value = explained.value("retries").as_i64().expect("a number");
    (value, explained.origin("retries").to_owned())
}

/// The chosen policy.
fn policy(test: Test) -> String {
    Explained::of(test).part("policy").as_str().expect("a name").to_owned()
}

/// What is said of a file of this content, without the excerpt.
fn fault(content: &str) -> String {
    let message = refusal(configured(content, &["echo", "ran"]));
    message.lines().next().expect("a message").to_owned()
}

#[test]
fn what_is_said_closest_to_the_call_wins() {
    let policy = "[policy.p]\ncommands = [\"x\"]\n";
    // From the strongest to the weakest; each run leaves out one more.
    let expected = [
        (1, "flag --retries"),
        (2, "environment RETRYRUN_RETRIES"),
        (3, "policy p (c.toml:2)"),
        (4, "c.toml:1"),
        (5, "~/.config/retryrun/config.toml:1"),
        (3, "built in"),
    ];
    for (left_out, (value, origin)) in expected.iter().enumerate() {
        let is_in = |index: usize| index >= left_out;
        let line = |index, text: &'static str| if is_in(index) { text } else { "" };
        let words = if is_in(0) { &["-n1", "x"][..] } else { &["x"] };
        let content = format!("{}\n{policy}{}\n", line(3, "retries = 4"), line(2, "retries = 3"));
        let test = configured(&content, words)
            .env("RETRYRUN_RETRIES", line(1, "2"))
            .file(USER, line(4, "retries = 5"));
        let home = test.path("").display().to_string();
        let origin = origin.replace("~/", &home);
        assert_eq!(retries(test), (*value, origin));
    }
}

#[test]
fn rules_are_asked_layer_by_layer() {
    let content = "\
stop_on = [\"14\"]
retry_on = [\"15\"]
[policy.mine]
commands = [\"x\"]
inherit = \"pg_isready\"
rules = [ { retry_on = \"12\" }, { success_on = \"13\" }, { stop_on = \"last: 14\", source = \"us\" } ]
";
    let built_in = [
        "3 permanent usage policy pg_isready (built in)",
        "1 transient rejecting policy pg_isready (built in)",
        "2 transient no-response policy pg_isready (built in)",
    ];
    let call = [
        "9 success success-on flag --success-on",
        "10 permanent stop-on flag --stop-on",
        "11 permanent stop-on environment RETRYRUN_STOP_ON",
    ];
    let top = ["14 permanent stop-on c.toml:1", "15 transient retry-on c.toml:2"];
    let mine = [
        "12 transient retry-on policy mine (c.toml:3)",
        "13 success success-on policy mine (c.toml:3)",
        "14 permanent last policy mine (c.toml:3)",
    ];
    let rules = |command: &str| {
        let words = ["--stop-on=10", "--success-on=9", command];
        Explained::of(configured(content, &words).env("RETRYRUN_STOP_ON", "11")).rules()
    };
    // A policy of the configuration, with what it inherits, comes before the top level, a built-in one after it.
    assert_eq!(rules("x"), [&call[..], &mine, &built_in, &top].concat());
    assert_eq!(rules("pg_isready"), [&call[..], &top, &built_in].concat());
    assert_eq!(rules("y"), [&call[..], &top].concat());
}

#[test]
fn retry_on_closes_the_list_in_a_call_and_adds_to_it_in_a_file() {
    let content = "retry_on = [\"1\"]\n[policy.p]\nretry_on = [\"2\"]\n";
    let rules = |words: &[&str], variable: &str| {
        let words = [&["--policy=p"], words].concat();
        let explained =
            Explained::of(configured(content, &words).env("RETRYRUN_RETRY_ON", variable));
        let all = explained.part("rules").as_array().expect("a list").len();
        (explained.rules(), all)
    };
    let file = ["2 transient retry-on policy p (c.toml:2)", "1 transient retry-on c.toml:1"];
    let (open, all) = rules(&[], "");
    assert_eq!(open, file);
    assert!(all > 10);
    assert_eq!(rules(&[], "\n \n"), (open, all));
    let environment = [
        "3 transient retry-on environment RETRYRUN_RETRY_ON",
        "any permanent unlisted environment RETRYRUN_RETRY_ON",
    ];
    // Of the built-in table only exit 0 is left.
    assert_eq!(rules(&[], "3"), (environment.map(str::to_owned).to_vec(), 3));
    let flags = [
        "4 permanent stop-on flag --stop-on",
        "5 transient retry-on flag --retry-on",
        "any permanent unlisted flag --retry-on",
    ];
    let words = ["--retry-on=5", "--stop-on=4"];
    assert_eq!(rules(&words, "3"), (flags.map(str::to_owned).to_vec(), 4));
    let (both, _) = rules(&["--stop-on=4"], "3");
    assert_eq!(both, [&flags[..1], &environment].concat());
}

#[test]
fn otherwise_closes_the_list_where_it_stands() {
    let content = "stop_on = [\"1\"]\n[policy.p]\notherwise = \"retry\"\nsuccess_on = [\"2\"]\n";
    let rules = |words: &[&str]| Explained::of(configured(content, words)).rules();
    let p =
        ["2 success success-on policy p (c.toml:2)", "any transient otherwise policy p (c.toml:2)"];
    assert_eq!(rules(&["--policy=p"]), p);
    assert_eq!(
        rules(&["--policy=p", "--otherwise=stop"]),
        ["any permanent otherwise flag --otherwise"]
    );
    assert_eq!(
        rules(&["--policy=p", "--retry-on=3", "--otherwise=retry"]),
        ["3 transient retry-on flag --retry-on", "any transient otherwise flag --otherwise"]
    );
}

#[test]
fn a_nearer_alternative_unsets_a_farther_one() {
    let limit = |content: &str, variables: [(&str, &str); 2], words: &[&str]| {
        let test = configured(content, words);
        retries(variables.into_iter().fold(test, |test, (name, value)| test.env(name, value)))
    };
    let none = [("A", ""), ("B", "")];
    assert_eq!(limit("attempts = 9", none, &["-n2"]), (2, "flag --retries".into()));
    assert_eq!(limit("retries = 9", none, &["--attempts=2"]), (1, "flag --attempts".into()));
    let environment = [("RETRYRUN_ATTEMPTS", "5"), ("B", "")];
    assert_eq!(limit("retries = 9", environment, &[]), (4, "environment RETRYRUN_ATTEMPTS".into()));

    let waits = |content: &str, variables: [(&str, &str); 2], words: &[&str]| {
        let test = configured(content, &[&["-n3"], words].concat());
        let test = variables.into_iter().fold(test, |test, (name, value)| test.env(name, value));
        Explained::of(test).part("schedule").clone()
    };
    let delays = [("RETRYRUN_DELAYS", "1,2"), ("B", "")];
    assert_eq!(waits("delay = 9", delays, &[]), json!([1.0, 2.0, 2.0]));
    for flag in ["--delay=5", "--backoff=exponential", "--multiplier=2"] {
        assert_eq!(waits("", delays, &[flag]), json!([5.0, 10.0, 20.0]), "{flag}");
    }
    assert_eq!(waits("delays = [7]", none, &["--backoff=linear"]), json!([5.0, 10.0, 15.0]));
    // The file's multiplier is unset by the list, and stays so when a flag unsets the list.
    assert_eq!(waits("multiplier = 3", delays, &["--delay=1"]), json!([1.0, 2.0, 4.0]));
    assert_eq!(waits("multiplier = 3", none, &["--delay=1"]), json!([1.0, 3.0, 9.0]));
}

#[test]
fn a_nearer_verbose_unsets_a_farther_quiet() {
    let both = |test: Test| {
        let explained = Explained::of(test);
        ["quiet", "verbose"]
            .map(|key| (explained.value(key) == true, explained.origin(key).to_owned()))
    };
    assert_eq!(
        both(explain(&["-v"]).env("RETRYRUN_QUIET", "1")),
        [(false, "flag --verbose".to_owned()), (true, "flag --verbose".to_owned())]
    );
    assert_eq!(
        both(configured("verbose = true", &["-q"])),
        [(true, "flag --quiet".to_owned()), (false, "flag --quiet".to_owned())]
    );
    assert_eq!(
        both(configured("verbose = true", &[]).env("RETRYRUN_QUIET", "0")),
        [(false, "environment RETRYRUN_QUIET".to_owned()), (true, "c.toml:1".to_owned())]
    );
}

#[test]
fn the_longest_match_chooses_the_policy() {
    let content = "\
[policy.cargo]
commands = [\"cargo\"]
[policy.nextest]
commands = [\"cargo nextest\", \"nt\"]
[policy.pip]
commands = [\"pip\"]
";
    for (command, expected) in [
        ("cargo build", "cargo"),
        // A built-in policy, of which more words match.
        ("cargo test", "cargo-test"),
        ("cargo nextest run", "nextest"),
        ("/opt/bin/cargo nextest", "nextest"),
        ("nt", "nextest"),
        ("cargo-nextest", "none"),
        ("xcargo", "none"),
        ("sudo -u me cargo nextest", "nextest"),
        ("env A=1 -u B cargo", "cargo"),
        ("nice -n 5 nohup cargo", "cargo"),
        ("time -p stdbuf -oL cargo", "cargo"),
        ("timeout -k 5 10s cargo", "cargo"),
        ("python3 -m pip install", "pip"),
        ("sudo python3.12 -m pip", "pip"),
        ("python3 pip", "none"),
        ("curl -fsS x", "curl"),
        ("echo curl", "none"),
    ] {
        let words: Vec<&str> = ["--"].into_iter().chain(command.split(' ')).collect();
        assert_eq!(policy(configured(content, &words)), expected, "{command}");
    }
}

#[test]
fn the_commands_of_a_policy_are_read_as_a_call_is() {
    let content = "\
[policy.a]
commands = ['/usr/bin/false', 'python3 -m pip install']
[policy.b]
commands = ['sudo true', 'nice -n 5 mine']
[policy.c]
commands = ['sudo']
";
    for (command, expected) in [
        ("false", "a"),
        ("/bin/false", "a"),
        ("pip install x", "a"),
        ("pip download x", "pip"),
        ("true", "b"),
        ("env A=1 mine", "b"),
        ("sudo -u me mine", "b"),
        ("sudo -u me other", "c"),
        ("sudo timeout 5 other", "timeout"),
        ("timeout 5 other", "timeout"),
        ("timeout 5 true", "b"),
        ("other", "none"),
    ] {
        let words: Vec<&str> = ["--"].into_iter().chain(command.split(' ')).collect();
        assert_eq!(policy(configured(content, &words)), expected, "{command}");
    }
    let twice = "[policy.x]\ncommands = ['sudo y']\n[policy.z]\ncommands = ['/bin/y']";
    assert_eq!(fault(twice), "c.toml:3:9: the policies `x` and `z` both claim the command `y`");
}

#[test]
fn a_policy_is_chosen_by_name_by_command_or_not_at_all() {
    let content = "policy = \"none\"\n";
    assert_eq!(policy(configured(content, &["curl"])), "none");
    assert_eq!(policy(configured(content, &["--policy=auto", "curl"])), "curl");
    assert_eq!(policy(configured(content, &["--policy=wget", "curl"])), "wget");
    assert_eq!(policy(configured(content, &["curl"]).env("RETRYRUN_POLICY", "rsync")), "rsync");
    assert_eq!(policy(explain(&["--policy=none", "curl"])), "none");
    assert_eq!(policy(explain(&["curl"])), "curl");
    assert_eq!(policy(explain(&[])), "none");
    let explained = Explained::of(configured("[policy.mine]\n", &["--policy=mine"]));
    assert_eq!(explained.origin("policy"), "flag --policy, defined c.toml:1");
}

#[test]
fn a_later_file_wins() {
    let user =
        "retries = 7\ndelay = 7\n[policy.p]\ncommands = [\"x\"]\nretries = 8\nstop_on = [\"8\"]\n";
    let named = "retries = 5\n[policy.q]\ncommands = [\"x\"]\n";
    let both = |content, words: &[&str]| configured(content, words).file(USER, user);
    assert_eq!(policy(both(named, &["x"])), "q");
    let explained = Explained::of(both(named, &["x"]));
    assert_eq!(explained.value("retries"), 5);
    assert_eq!(explained.value("delay"), 7.0);
    // A policy of the same name is replaced as a whole.
    let explained = Explained::of(both("[policy.p]\nretries = 2\n", &["--policy=p"]));
    assert_eq!((explained.value("retries"), explained.rules()), (&json!(2), vec![]));
    assert_eq!(policy(both("[policy.p]\n", &["x"])), "none");
    // A top level of a later file does not beat the policy of an earlier one.
    assert_eq!(Explained::of(both("retries = 5", &["x"])).value("retries"), 8);
}

#[test]
fn a_policy_builds_on_another() {
    let content = "\
[policy.base]
retries = 9
delays = [1, 2]
[policy.middle]
inherit = \"base\"
delay = 3
stop_on = [\"8\"]
[policy.top]
inherit = \"middle\"
retries = 4
stop_on = [\"7\"]
";
    let explained = Explained::of(configured(content, &["--policy=top"]));
    assert_eq!((explained.value("retries"), explained.value("delay")), (&json!(4), &json!(3.0)));
    assert_eq!(explained.origin("delay"), "policy middle (c.toml:4)");
    assert_eq!(
        explained.rules(),
        [
            "7 permanent stop-on policy top (c.toml:8)",
            "8 permanent stop-on policy middle (c.toml:4)",
        ]
    );
}

#[test]
fn a_policy_that_inherits_its_own_name_extends_the_one_that_it_replaces() {
    let user = "[policy.pg_isready]\ninherit = \"pg_isready\"\nretries = 8\nstop_on = [\"8\"]\n";
    let named = "[policy.pg_isready]\ninherit = \"pg_isready\"\ndelay = 1\nstop_on = [\"9\"]\n";
    let explained = Explained::of(configured(named, &["pg_isready"]).file(USER, user));
    assert_eq!(explained.part("policy"), "pg_isready");
    assert_eq!((explained.value("retries"), explained.value("delay")), (&json!(8), &json!(1.0)));
    let rules: Vec<String> = explained
        .rules()
        .iter()
        .filter_map(|rule| Some(rule.split_once(' ')?.0.to_owned()))
        .collect();
    assert_eq!(rules, ["9", "8", "3", "1", "2"]);
    // With commands of its own it is chosen for those alone.
    let narrowed = "[policy.pg_isready]\ninherit = \"pg_isready\"\ncommands = [\"pg_wait\"]\n";
    assert_eq!(policy(configured(narrowed, &["pg_wait"])), "pg_isready");
    assert_eq!(policy(configured(narrowed, &["pg_isready"])), "none");
}

#[test]
fn the_user_s_file_is_found_by_the_base_directory_rules() {
    let elsewhere = || explain(&["x"]).file("xdg/retryrun/config.toml", "retries = 7");
    let test = elsewhere();
    let folder = test.path("xdg");
    assert_eq!(retries(test.env("XDG_CONFIG_HOME", folder)).0, 7);
    // A relative folder is ignored.
    let test = elsewhere().file(USER, "retries = 8").env("XDG_CONFIG_HOME", "xdg");
    assert_eq!(retries(test).0, 8);
    let test = elsewhere().file(USER, "retries = 8").env("XDG_CONFIG_HOME", "");
    assert_eq!(retries(test).0, 8);
    let test = elsewhere().file(USER, "retries = 8").env("HOME", ".");
    assert_eq!(retries(test).0, 3);
    let test = elsewhere().file(USER, "retries = 8").with(|command| {
        command.env_remove("HOME");
    });
    assert_eq!(retries(test).0, 3);
}

#[test]
fn nothing_is_read_because_of_the_current_folder() {
    let test = ["config.toml", "retryrun.toml", ".retryrun.toml", "retryrun/config.toml"]
        .into_iter()
        .fold(explain(&["x"]), |test, name| test.file(name, "retries = 9\nnonsense"));
    assert_eq!(retries(test.env("HOME", "/nonexistent")), (3, "built in".into()));
}

#[test]
fn which_files_are_read_is_said_by_flags_or_the_environment() {
    let files = |words: &[&str]| {
        explain(&[words, &["x"]].concat())
            .file(USER, "retries = 7\ntimeout = 7")
            .file("c.toml", "retries = 5")
            .file("d.toml", "retries = 6")
    };
    let values = |test: Test| {
        let explained = Explained::of(test);
        [explained.value("retries").clone(), explained.value("timeout").clone()]
    };
    let none = [json!(3), json!(null)];
    assert_eq!(values(files(&[])), [json!(7), json!(7.0)]);
    assert_eq!(values(files(&["--config=c.toml"])), [json!(5), json!(7.0)]);
    assert_eq!(values(files(&[]).env("RETRYRUN_CONFIG", "c.toml")), [json!(5), json!(7.0)]);
    let test = files(&["--config", "d.toml"]).env("RETRYRUN_CONFIG", "c.toml");
    assert_eq!(values(test), [json!(6), json!(7.0)]);
    assert_eq!(values(files(&["--no-config"])), none);
    assert_eq!(values(files(&["--no-config"]).env("RETRYRUN_CONFIG", "c.toml")), none);
    assert_eq!(values(files(&[]).env("RETRYRUN_NO_CONFIG", "yes")), none);
    assert_eq!(values(files(&[]).env("RETRYRUN_NO_CONFIG", "no")), [json!(7), json!(7.0)]);
    let test = files(&["--config=c.toml"]).env("RETRYRUN_NO_CONFIG", "1");
    assert_eq!(values(test), [json!(5), json!(null)]);
    let test = files(&[]).env("RETRYRUN_NO_CONFIG", "1").env("RETRYRUN_CONFIG", "c.toml");
    assert_eq!(
        refusal(test),
        "RETRYRUN_NO_CONFIG conflicts with RETRYRUN_CONFIG: set only one of them"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let refused = |path: &str| {
        let test = Test::new(["--config", path, "echo", "ran"]).file("file", "");
        symlink("loop", test.path("loop")).expect("a link");
        refusal(test)
    };
    assert_eq!(refused("missing"), "cannot read missing: No such file or directory");
    assert_eq!(refused("file/x"), "cannot read file/x: No such file or directory");
    assert_eq!(refused("."), "cannot read .: Is a directory");
    assert_eq!(refused("loop"), "cannot read loop: Too many levels of symbolic links");
    let test = Test::new(["echo", "ran"]).file(".config/retryrun/config.toml/x", "");
    let path = test.path(USER);
    assert_eq!(refusal(test), format!("cannot read {}: Is a directory", path.display()));
}

#[test]
fn a_home_that_is_closed_to_us_has_no_configuration() {
    let closed = |what: &str| {
        // root is stopped by no permission but without these capabilities.
        let script = "drop='setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all'; \
                      [ $(id -u) = 0 ] || drop=; chmod 0 \"$1\"; \
                      $drop \"$0\" echo ran 2>&1; status=$?; chmod 700 \"$1\"; exit $status";
        let words = ["-qn0", "--history=never", "--", "sh", "-c", script, RETRYRUN, what];
        let test = Test::new(words).file(USER, "");
        let path = test.path(USER);
        let ran = test.run();
        (ran.code(), ran.stdout, path)
    };
    let (code, output, _) = closed(".config");
    assert_eq!((code, output.as_str()), (Some(0), "ran\n"));
    let (code, output, path) = closed(USER);
    let message = format!("retryrun: cannot read {}: Permission denied\n", path.display());
    assert_eq!((code, output), (Some(125), message));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let test = configured("", &["echo", "ran"]);
    let file = fs::OpenOptions::new().write(true).open(test.path("c.toml")).expect("a file");
    file.set_len(16 * 1024 * 1024 + 1).expect("a hole");
    assert_eq!(refusal(test), "cannot read c.toml: it is larger than 16 MiB");
    let long = format!("# {}\nretries = 4\n", "x".repeat(2_000_000));
    assert_eq!(retries(configured(&long, &[])), (4, "c.toml:2".into()));
}

#[test]
fn the_bytes_of_a_file_may_be_a_windows_editors() {
    let content = "\u{feff}retries = 4\r\n[policy.p]\r\ncommands = [\"x\"]\r\n";
    assert_eq!(retries(configured(content, &["x"])), (4, "c.toml:1".into()));
    assert_eq!(
        refusal(configured("\u{feff}retrys = 4\r\n", &[])),
        "c.toml:1:1: unknown key `retrys`; did you mean `retries`?\n1 | retrys = 4\n  | ^^^^^^"
    );
    let test = configured("", &[]);
    fs::write(test.path("c.toml"), b"delay = 1\n# caf\xe9\n").expect("a file");
    assert_eq!(refusal(test), "c.toml:2:6: expected UTF-8 text\n2 | # caf\u{fffd}\n  |      ^");
    let test = configured("", &[]);
    fs::write(test.path("c.toml"), b"").expect("a file");
    assert_eq!(retries(test).0, 3);
}

#[test]
fn a_fault_is_shown_with_its_place() {
    let content = "# c\nretries = 3\n\n[policy.p]\n\tdelya = \"5s\" # é\n";
    assert_eq!(
        refusal(configured(content, &["echo", "ran"])),
        "c.toml:5:2: unknown key `delya`; did you mean `delay`?\n\
         5 |     delya = \"5s\" # é\n  \
         |     ^^^^^"
    );
    // In a policy that is not chosen, too.
    assert_eq!(
        refusal(configured("[policy.p]\njitter = \"101%\"\n", &["--policy=none", "echo", "ran"])),
        "c.toml:2:10: invalid value `101%`: expected `none`, `full`, `equal`, `decorrelated` or a \
         percentage from `0%` to `100%`\n2 | jitter = \"101%\"\n  |          ^^^^^^"
    );
    assert_eq!(
        refusal(configured("policy = \"crl\"\n", &["echo", "ran"])),
        "c.toml:1:10: there is no policy `crl`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration; did you mean `curl`?\n1 | policy = \"crl\"\n  |          ^^^^^"
    );
}

#[test]
fn an_escape_in_a_file_reaches_no_terminal() {
    assert_eq!(fault("\"\\u001b[31m\" = 1"), "c.toml:1:1: unknown key `\\u{1b}[31m`");
    assert_eq!(
        refusal(configured("x = '\u{85}\u{9b}##[error]'\n", &[])),
        "c.toml:1:1: unknown key `x`\n1 | x = '\\u{85}\\u{9b}#\\#[error]'\n  | ^"
    );
}

#[test]
fn keys_are_refused_with_the_nearest() {
    for (content, message) in [
        ("retrys = 3", "1:1: unknown key `retrys`; did you mean `retries`?"),
        ("max-delay = 3", "1:1: unknown key `max-delay`; did you mean `max_delay`?"),
        ("[polcy.x]", "1:2: unknown key `polcy`; did you mean `policy`?"),
        ("[policy.x]\ncomands = []", "2:1: unknown key `comands`; did you mean `commands`?"),
        (
            "commands = []",
            "1:1: `commands` belongs to a policy: it can stand only in a table `[policy.NAME]`",
        ),
        ("a.b = 1", "1:1: unknown key `a`"),
        ("explain = true", "1:1: unknown key `explain`"),
        ("config = 'x'", "1:1: `config` cannot be set in a file: it says which files are read"),
        (
            "no_config = true",
            "1:1: `no_config` cannot be set in a file: it says which files are read",
        ),
        (
            "[policy.x]\npolicy = 'y'",
            "2:1: a policy cannot choose a policy; `inherit` builds on one",
        ),
        (
            "rules = [{ stopon = '7' }]",
            "1:12: unknown key `stopon` of a rule; did you mean `stop_on`?",
        ),
        ("[policy.auto]", "1:9: a policy cannot be called `auto`: --policy auto has a meaning"),
        ("[policy.none]", "1:9: a policy cannot be called `none`: --policy none has a meaning"),
        ("[policy]\nx = 5", "2:1: expected a table: `[policy.x]` and its settings"),
        ("retries = 1\nretries = 2", "2:1: duplicate key"),
        ("retries 3", "1:9: key with no value, expected `=`"),
        ("retries = ", "1:11: string values must be quoted, expected literal string"),
    ] {
        assert_eq!(fault(content), format!("c.toml:{message}"));
    }
}

#[test]
fn values_are_refused_with_what_was_expected() {
    let number = "expected a whole number of retries, 0 or more, or `unlimited`";
    let duration = "expected a duration: seconds such as `5` or `0.5`, or units such as `500ms`, `1m30s` or `2h 15m`";
    for (content, message) in [
        ("retries = -1", format!("1:11: invalid value `-1`: {number}")),
        ("retries = 1.5", format!("1:11: invalid value `1.5`: {number}")),
        ("retries = ''", format!("1:11: invalid value ``: {number}")),
        ("retries = true", "1:11: invalid type: boolean `true`, expected a whole number".into()),
        ("retries = '5'", "1:11: invalid type: string \"5\", expected a whole number".into()),
        ("retries = 5.0", "1:11: invalid type: floating point `5.0`, expected a whole number".into()),
        ("retries = inf", "1:11: invalid type: floating point `inf`, expected a whole number".into()),
        ("seed = '7'", "1:8: invalid type: string \"7\", expected a whole number".into()),
        ("keep_runs = '5'", "1:13: invalid type: string \"5\", expected a whole number".into()),
        ("consecutive = '2'", "1:15: invalid type: string \"2\", expected a whole number".into()),
        ("attempts = '5'", "1:12: invalid type: string \"5\", expected a whole number".into()),
        ("multiplier = '3'", "1:14: invalid type: string \"3\", expected a number".into()),
        ("multiplier = '.5'", "1:14: invalid value `.5`: expected a number, 1 or more, such as `2` or `1.5`".into()),
        ("verbose = '1'", "1:11: invalid type: string \"1\", expected `true`, `false`, or a number from 0 to 2".into()),
        ("stop_on = [2]", "1:12: invalid type: integer `2`, expected a string".into()),
        ("stop_on = 3", "1:11: invalid type: integer `3`, expected a list, in brackets".into()),
        ("redact = [3]", "1:11: invalid type: integer `3`, expected a string".into()),
        ("history = 1", "1:11: invalid type: integer `1`, expected a string".into()),
        ("stop_signal = 1.5", "1:15: invalid value `1.5`: expected a signal: a name such as `TERM` or `SIGTERM`, or a number".into()),
        ("tail = true", "1:8: invalid type: boolean `true`, expected a string or a whole number".into()),
        ("[retries]\na = 1", "1:1: invalid type: table, expected a whole number".into()),
        (
            "retries = 18446744073709551616",
            format!("1:11: invalid value `18446744073709551616`: {number}"),
        ),
        ("delay = -0.5", format!("1:9: invalid value `-0.5`: {duration}")),
        ("delay = nan", format!("1:9: invalid value `NaN`: {duration}")),
        ("delay = inf", format!("1:9: invalid value `inf`: {duration}")),
        ("delay = 1e400", "1:9: floating-point number overflowed".into()),
        ("delays = []", "1:10: expected at least one duration".into()),
        ("delays = [1, 'x']", format!("1:14: invalid value `x`: {duration}")),
        ("quiet = 'yes'", "1:9: invalid type: string \"yes\", expected a boolean".into()),
        ("policy = ['curl']", "1:10: invalid type: list, expected a string".into()),
        ("policy = 5", "1:10: invalid type: integer `5`, expected a string".into()),
        ("stop_on = '7'", "1:11: invalid type: string \"7\", expected a list, in brackets".into()),
        (
            "stop_on = ['7', '256']",
            "1:17: invalid value `256`: expected an exit code from 0 to 255 or a range of them such \
             as `64-78`, not `256`"
                .into(),
        ),
        ("redact = ['a(']", "1:11: invalid value `a(`: expected a regular expression: unclosed group".into()),
        (
            "history = 'alway'",
            "1:11: invalid value `alway`: expected `failure`, `always` or `never`; did you mean `always`?".into(),
        ),
        ("[policy.x]\ncommands = ['']", "2:13: expected a command's first words, e.g. `cargo nextest`".into()),
        ("[policy.x]\ninherit = 1", "2:11: invalid type: integer `1`, expected a string".into()),
    ] {
        assert_eq!(fault(content), format!("c.toml:{message}"));
    }
}

#[test]
fn values_are_taken_in_every_form_in_which_they_can_be_written() {
    for content in [
        "retries = 'unlimited'",
        "retries = 'inf'",
        "attempts = 'unlimited'",
        "multiplier = 3",
        "multiplier = 1.5",
        "delay = 5",
        "delay = 0.5",
        "delay = '5'",
        "delay = '5s'",
        "delays = '1,2'",
        "delays = [1, 0.5, '2s']",
        "tail = 4096",
        "tail = '4096'",
        "tail = '4KiB'",
        "stop_signal = 15",
        "stop_signal = '15'",
        "stop_signal = 'TERM'",
        "verbose = true",
        "verbose = 2",
        "rules = [{ retry_on = '7', limit = 'unlimited', delay = 5 }]",
    ] {
        assert_eq!(configured(content, &["true"]).run().code(), Some(0), "{content}");
    }
}

#[test]
fn rules_stand_in_one_style() {
    for (content, message) in [
        ("rules = [{}]", "1:10: expected exactly one of `success_on`, `stop_on` and `retry_on`"),
        (
            "rules = [{ stop_on = '7', retry_on = '8' }]",
            "1:10: expected exactly one of `success_on`, `stop_on` and `retry_on`",
        ),
        (
            "rules = []\nstop_on = ['7']",
            "2:1: `stop_on` conflicts with `rules`: only one of them can stand here",
        ),
        (
            "[policy.p]\nretry_on = []\nrules = []",
            "2:1: `retry_on` conflicts with `rules`: only one of them can stand here",
        ),
        (
            "rules = ['7']",
            "1:10: invalid type: string \"7\", expected a table such as `{ stop_on = \"2\" }`",
        ),
        (
            "rules = [{ retry_on = '7 & /a(/' }]",
            "1:23: expected a regular expression that can be searched for: `a(`: unclosed group",
        ),
        (
            "stop_on = ['2',\n'/[/']",
            "2:1: expected a regular expression that can be searched for: `[`: unclosed character class",
        ),
        (
            "rules = [{ stop_on = '7', limit = 2 }]",
            "1:10: `limit` belongs to a rule with `retry_on`",
        ),
        (
            "rules = [{ retry_on = '7', delay = 'x' }]",
            "1:36: invalid value `x`: expected a duration: seconds such as `5` or `0.5`, or units such as `500ms`, \
             `1m30s` or `2h 15m`",
        ),
        (
            "rules = [{ retry_on = '7', limit = -1 }]",
            "1:36: invalid value `-1`: expected a whole number of retries, 0 or more, or `unlimited`",
        ),
        (
            "rules = [{ retry_on = '7', limit = '5' }]",
            "1:36: invalid type: string \"5\", expected a whole number",
        ),
        ("rules = [{ retry_on = 7 }]", "1:23: invalid type: integer `7`, expected a string"),
        ("rules = 7", "1:9: invalid type: integer `7`, expected a list, in brackets"),
        (
            "rules = [{ stop_on = 'x' }]",
            "1:22: invalid value `x`: expected an exit code, a range, a signal's name, `nonzero`, \
             `any`, `signal`, `crash`, `timeout`, `idle-timeout`, `spawn` or a regular expression as `/.../`, not `x`",
        ),
    ] {
        assert_eq!(fault(content), format!("c.toml:{message}"));
    }
    // In two tables both may stand.
    let content = "stop_on = ['1']\n[policy.p]\nrules = [{ retry_on = '2' }]";
    assert_eq!(
        Explained::of(configured(content, &["--policy=p"])).rules(),
        ["2 transient retry-on policy p (c.toml:2)", "1 permanent stop-on c.toml:1"]
    );
}

#[test]
fn alternatives_exclude_each_other_within_a_table() {
    for (content, message) in [
        ("retries = 1\nattempts = 2", "2:1: `attempts` conflicts with `retries`"),
        ("delays = [1]\ndelay = 2", "2:1: `delay` conflicts with `delays`"),
        ("delays = [1]\nbackoff = 'linear'", "2:1: `backoff` conflicts with `delays`"),
        ("delays = [1]\nmultiplier = 2", "2:1: `multiplier` conflicts with `delays`"),
        ("quiet = true\nverbose = true", "2:1: `verbose` conflicts with `quiet`"),
    ] {
        assert_eq!(fault(content), format!("c.toml:{message}: only one of them can stand here"));
    }
    let content = "retries = 9\n[policy.p]\nattempts = 2\n";
    assert_eq!(retries(configured(content, &["--policy=p"])).0, 1);
}

#[test]
fn policies_that_cannot_be_are_refused() {
    for (content, message) in [
        (
            "[policy.b]\ncommands = ['x y']\n[policy.a]\ncommands = ['x  y']",
            "3:9: the policies `b` and `a` both claim the command `x y`",
        ),
        ("[policy.x]\ninherit = 'y'", "2:11: there is no policy `y` to inherit"),
        ("[policy.x]\ninherit = 'x'", "2:11: there is no policy `x` to inherit"),
        (
            "[policy.x]\ninherit = 'crl'",
            "2:11: there is no policy `crl` to inherit; did you mean `curl`?",
        ),
        (
            "[policy.x]\ninherit = 'y'\n[policy.y]\ninherit = 'x'",
            "4:11: the policy `x` inherits itself",
        ),
    ] {
        assert_eq!(fault(content), format!("c.toml:{message}"));
    }
    let twice = "[policy.x]\ncommands = ['curl', 'curl']\n";
    assert_eq!(policy(configured(twice, &["curl"])), "x");
}

#[test]
fn a_variable_that_cannot_be_is_refused_by_its_name() {
    let refused = |name: &str, value: &[u8]| {
        let test = Test::new(["echo", "ran"]).env(name, OsStr::from_bytes(value));
        refusal(test)
    };
    for (name, value, message) in [
        (
            "RETRIES",
            "x",
            "invalid value `x`: expected a whole number of retries, 0 or more, or `unlimited`",
        ),
        (
            "ATTEMPTS",
            "0",
            "invalid value `0`: expected a whole number of attempts, 1 or more, or `unlimited`",
        ),
        ("QUIET", "on", "invalid value `on`: expected `true`, `false`, `1`, `0`, `yes` or `no`"),
        (
            "BACKOFF",
            "expo",
            "invalid value `expo`: expected `constant`, `linear`, `exponential` or `fibonacci`; did you \
             mean `exponential`?",
        ),
        (
            "STOP_ON",
            "1\n7;8",
            "invalid value `7;8`: expected an exit code from 0 to 255 or a range of them such as `64-78`, not `7;8`",
        ),
        (
            "STOP_ON",
            "1\n7 & /a(/",
            "invalid value `7 & /a(/`: expected a regular expression that can be searched for: `a(`: unclosed group",
        ),
        ("REDACT", "a(", "invalid value `a(`: expected a regular expression: unclosed group"),
        (
            "DEADLINE_AT",
            "soon",
            "invalid value `soon`: expected Unix seconds, as an outer run sets them",
        ),
        (
            "DEADLINE_AT",
            "-1",
            "invalid value `-1`: expected Unix seconds, as an outer run sets them",
        ),
        (
            "DEADLINE_AT",
            "1e400",
            "invalid value `1e400`: expected Unix seconds, as an outer run sets them",
        ),
    ] {
        let name = format!("RETRYRUN_{name}");
        assert_eq!(refused(&name, value.as_bytes()), format!("{name}: {message}"));
    }
    assert_eq!(
        refused("RETRYRUN_POLICY", b"crl"),
        "environment RETRYRUN_POLICY: there is no policy `crl`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration; did you mean `curl`?"
    );
    assert_eq!(
        refused("RETRYRUN_DELAY", b"5\xff"),
        "RETRYRUN_DELAY: expected UTF-8 text, not \"5\\xFF\""
    );
    assert_eq!(
        refused("RETRYRUN_CONFIG", b"/no/\xff"),
        "cannot read /no/\u{fffd}: No such file or directory"
    );
    let test = Test::new(["echo", "ran"]).env("RETRYRUN_RETRIES", "1");
    assert_eq!(
        refusal(test.env("RETRYRUN_ATTEMPTS", "2")),
        "RETRYRUN_ATTEMPTS conflicts with RETRYRUN_RETRIES: set only one of them"
    );
}

#[test]
fn a_repeatable_variable_has_a_value_a_line() {
    let explained = Explained::of(
        explain(&[])
            .env("RETRYRUN_EXIT_CODE", "timeout=3\n\nflaky=4\r\n")
            .env("RETRYRUN_SUCCESS_ON", "one: 1\ntwo: 2 & !3\n"),
    );
    assert_eq!(explained.value("exit_code"), &json!(["timeout=3", "flaky=4"]));
    assert_eq!(
        explained.rules(),
        [
            "1 success one environment RETRYRUN_SUCCESS_ON",
            "2 & !3 success two environment RETRYRUN_SUCCESS_ON",
        ]
    );
}

#[test]
fn facts_and_foreign_variables_are_no_settings() {
    let test = [
        "ATTEMPT",
        "MAX_ATTEMPTS",
        "RUN_ID",
        "LAST_EXIT_CODE",
        "LAST_SIGNAL",
        "LAST_REASON",
        "NONSENSE",
    ]
    .into_iter()
    .fold(explain(&["x"]), |test, name| test.env(&format!("RETRYRUN_{name}"), "nonsense"));
    assert_eq!(retries(test), (3, "built in".into()));
    assert_eq!(retries(explain(&[]).env("retryrun_retries", "7")).0, 3);
}

#[test]
fn an_inner_run_takes_no_reports_from_the_environment() {
    let test = |is_inside| {
        explain(&[])
            .env("RETRYRUN_RUN_ID", if is_inside { "abc" } else { "" })
            .env("RETRYRUN_HISTORY", "always")
            .env("RETRYRUN_EXIT_CODE", "timeout=3")
            .env("RETRYRUN_RETRIES", "7")
    };
    let values = |explained: Explained| {
        ["history", "exit_code", "retries"].map(|key| explained.value(key).clone())
    };
    assert_eq!(
        values(Explained::of(test(false))),
        [json!("always"), json!(["timeout=3"]), json!(7)]
    );
    assert_eq!(values(Explained::of(test(true))), [json!("failure"), json!([]), json!(7)]);
    // So not even a wrong value there is an error of the inner run.
    assert_eq!(Explained::of(test(true).env("RETRYRUN_HISTORY", "x")).value("history"), "failure");
}

#[test]
fn an_outer_runs_deadline_holds_if_it_is_earlier() {
    let deadline = |words: &[&str], at: &str| {
        let explained = Explained::of(explain(words).env("RETRYRUN_DEADLINE_AT", at));
        (explained.value("deadline").clone(), explained.origin("deadline").to_owned())
    };
    let outer = "outer run, RETRYRUN_DEADLINE_AT".to_owned();
    assert_eq!(deadline(&["--deadline=5"], "4.5"), (json!(0.0), outer.clone()));
    assert_eq!(deadline(&["--deadline=0"], "1"), (json!(0.0), outer));
    assert_eq!(deadline(&["--deadline=5"], "99999999999"), (json!(5.0), "flag --deadline".into()));
    assert_eq!(deadline(&["--deadline=0"], ""), (json!(null), "flag --deadline".into()));
}

#[test]
fn the_systems_file_is_the_weakest() {
    // A mount namespace of its own, in which /etc is ours; where that is forbidden there is no other way to put a file there.
    let unshare = |script: &str, content: &str| {
        let words =
            ["-qn0", "--history=never", "--", "unshare", "-rm", "sh", "-c", script, RETRYRUN];
        Test::new(words).file(USER, content).env("CONTENT", "retries = 8\ndelay = 8\n").run()
    };
    if unshare("mount -t tmpfs none /etc", "").code() != Some(0) {
        return;
    }
    let script = "mount -t tmpfs none /etc && mkdir /etc/retryrun && \
                  printf %s \"$CONTENT\" >/etc/retryrun/config.toml && \
                  unset RETRYRUN_RUN_ID && exec \"$0\" --explain --json";
    let ran = unshare(script, "retries = 7\n");
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    let explained = Explained(serde_json::from_str(&ran.stdout).expect("a JSON object"));
    assert_eq!((explained.value("retries"), explained.value("delay")), (&json!(7), &json!(8.0)));
    assert_eq!(explained.origin("delay"), "/etc/retryrun/config.toml:2");
}

#[test]
fn a_run_is_judged_by_the_policy_of_its_command() {
    let content = "\
history = \"always\"
[policy.p]
commands = [\"bash\"]
retries = 1
delay = 0
rules = [ { stop_on = \"gone: 22\" }, { success_on = \"fine: 24\" } ]
";
    for (code, expected) in [
        (22, "22 permanent gone 22 policy p (c.toml:2)"),
        (24, "0 success fine 24 policy p (c.toml:2)"),
        (25, "25 transient unlisted nonzero built in"),
    ] {
        let script = format!("exit {code}");
        let test = Test::new(["-q", "--config=c.toml", "bash", "-c", &script]);
        let ran = test.file("c.toml", content).run();
        let history = ran.history();
        let policy = (history.policy.name.as_str(), history.policy.origin.as_str());
        assert_eq!(policy, ("p", "c.toml:2"));
        let attempt = history.attempts.last().expect("there is one");
        let words = [&attempt.reason, &attempt.rule, &attempt.rule_origin];
        let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
        let verdict = attempt.verdict.expect("it was judged");
        let status = ran.code().expect("it exited");
        assert_eq!(format!("{status} {verdict} {}", words.join(" ")), expected);
    }
}
