//! The house in order: who knows whom, and what must not stand in the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms, and the rooms that each may know: ARCHITECTURE.md draws the same picture.
const MAY_KNOW: [(&str, &[&str]); 27] = [
    ("build", &[]),
    ("main", &["lib", "config", "unix"]),
    (
        "lib",
        &[
            "budget",
            "bundle",
            "classify",
            "cli",
            "command",
            "config",
            "destination",
            "driver",
            "earlier",
            "engine",
            "error",
            "generate",
            "hook",
            "jobs",
            "patterns",
            "redact",
            "report",
            "reporting",
            "streams",
            "unix",
        ],
    ),
    ("cli", &["config", "engine", "error"]),
    ("config", &["engine", "error", "patterns"]),
    ("generate", &["cli"]),
    ("redact", &["config", "error"]),
    (
        "driver",
        &[
            "budget",
            "child",
            "command",
            "config",
            "engine",
            "error",
            "facts",
            "hint",
            "hook",
            "jobs",
            "leftovers",
            "report",
            "streams",
            "unix",
        ],
    ),
    ("budget", &["config", "engine", "error", "unix"]),
    ("child", &["engine", "error", "hint", "streams", "unix"]),
    ("classify", &["config", "engine", "error", "patterns"]),
    ("bundle", &["config", "destination", "engine", "patterns", "report", "streams", "unix"]),
    ("command", &["config", "hook", "jobs", "patterns", "streams"]),
    ("destination", &["config", "report", "unix"]),
    ("earlier", &["cli", "config", "engine", "error", "jobs"]),
    ("facts", &["config", "engine"]),
    ("hint", &["config", "engine", "error"]),
    ("hook", &["engine", "error", "unix"]),
    ("jobs", &["config", "engine", "error", "report", "unix"]),
    ("leftovers", &["engine", "unix"]),
    ("patterns", &["engine"]),
    ("streams", &["engine", "patterns", "unix"]),
    ("report", &["engine", "error"]),
    (
        "reporting",
        &["bundle", "command", "config", "destination", "error", "report", "streams", "unix"],
    ),
    ("unix", &["engine", "error"]),
    ("error", &["engine"]),
    ("engine", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds sources");
    found
}

fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("a source");
    let first = inside.components().next().expect("a file");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The code before the unit tests, which may know what they like.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn rooms_know_only_whom_they_may() {
    let may_know: BTreeMap<&str, &[&str]> = MAY_KNOW.into_iter().collect();
    for (path, text) in files("src") {
        if path.ends_with("generate/tests.rs")
            || path.ends_with("generate/completions.rs")
            || path.ends_with("generate/manual.rs")
        {
            continue;
        }
        let room = room(&path);
        let allowed = may_know.get(room.as_str()).unwrap_or_else(|| panic!("{room} is no room"));
        for line in without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"))
        {
            for prefix in ["crate::", "retryrun::"] {
                for (start, _) in
                    line.match_indices(prefix).filter(|_| room != "main" || prefix == "retryrun::")
                {
                    let known: String = line
                        .get(start + prefix.len()..)
                        .into_iter()
                        .flat_map(str::chars)
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    let is_own = known == room || !may_know.contains_key(known.as_str());
                    assert!(
                        is_own || allowed.contains(&known.as_str()),
                        "{}: {line}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in files("src").into_iter().chain(files("tests")) {
        assert!(
            text.starts_with("//! "),
            "{}: the first line says what the file is",
            path.display()
        );
    }
}

#[test]
fn files_have_one_noun() {
    for (path, text) in files("src") {
        let lines = without_tests(&text).lines().count();
        assert!(lines <= 500, "{}: {lines} lines: look for the second noun", path.display());
    }
}

#[test]
fn unsafe_code_lives_in_unix() {
    for (path, text) in files("src").iter().filter(|(path, _)| room(path) != "unix") {
        assert!(!text.contains("unsafe "), "{}", path.display());
    }
}

#[test]
fn functions_in_order_are_named_once_and_without_hashes() {
    let list = fs::read_to_string(root().join("src/build/order.txt")).expect("the list");
    let mut names = BTreeSet::new();
    for name in list.lines() {
        assert!(names.insert(name), "{name}: twice");
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_$.*-:".contains(c));
        let is_member = name.strip_prefix("libc.a:").is_some_and(|member| member.ends_with(".o"));
        let is_function = name.starts_with("_ZN") && name.ends_with("17h*E")
            || name.starts_with("_R") && name.contains("Cs*_");
        assert!(is_plain && (is_member || is_function), "{name}");
    }
    assert!(names.iter().any(|name| name.starts_with("_ZN8retryrun")), "what is ours is in it");
}

#[test]
fn nothing_is_left_over() {
    // Spelled in two halves, so as not to find itself.
    let forbidden = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["dbg", "!("],
        ["to", "do!("],
        ["unimple", "mented!("],
        ["#[ig", "nore"],
    ];
    for (path, text) in files("src").into_iter().chain(files("tests")) {
        for halves in forbidden {
            assert!(!text.contains(&halves.concat()), "{}: {}", path.display(), halves.concat());
        }
    }
}

#[test]
fn only_those_who_own_what_happens_wait_for_several_things() {
    let may_wait = ["driver", "child", "hook", "streams"];
    for (path, text) in files("src") {
        if may_wait.contains(&room(&path).as_str()) {
            continue;
        }
        assert!(!text.contains("select!"), "{}", path.display());
    }
}
