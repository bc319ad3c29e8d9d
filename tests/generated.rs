//! The files that come with the program, in the hands of those that read them: mandoc and real shells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::session::Session;
use crate::test::Test;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn completions(name: &str) -> PathBuf {
    root().join("completions").join(name)
}

#[test]
fn the_program_prints_the_files_that_are_in_the_repository() {
    for (kind, file) in [
        ("man", "man/retryrun.1"),
        ("complete-bash", "completions/retryrun.bash"),
        ("complete-zsh", "completions/_retryrun"),
        ("complete-fish", "completions/retryrun.fish"),
        ("complete-elvish", "completions/retryrun.elv"),
        ("complete-powershell", "completions/_retryrun.ps1"),
        ("schema", "src/generate/history.schema.json"),
        ("schema-events", "src/generate/event.schema.json"),
        ("config", "src/generate/config.toml"),
    ] {
        let ran = Test::new(["--generate", kind]).run();
        let file = fs::read_to_string(root().join(file)).expect("a committed file");
        assert!(!file.is_empty(), "{kind}");
        assert_eq!((ran.code(), ran.stdout, ran.stderr.as_str()), (Some(0), file, ""), "{kind}");
    }
}

#[test]
fn the_manual_page_is_well_formed_and_complete() {
    let page = root().join("man/retryrun.1");
    let lint = Command::new("mandoc").args(["-Tlint", "-Werror"]).arg(&page).output();
    let lint = lint.expect("mandoc runs");
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    let text = Command::new("mandoc").args(["-Tutf8"]).arg(&page).output().expect("mandoc runs");
    let text = String::from_utf8(text.stdout).expect("text");
    // Bold letters are struck twice.
    let plain: String = text.split('\u{8}').map(|part| &part[..part.len() - 1]).collect();
    for heading in ["SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
        assert!(plain.contains(heading), "{heading} in {plain}");
    }
    let source = std::fs::read_to_string(&page).expect("the page is text");
    for paragraph in source.split("\n.TP\n").skip(1) {
        let mut lines = paragraph.lines();
        let (term, meaning) = (lines.next(), lines.next());
        assert!(meaning.is_some_and(|meaning| !meaning.is_empty()), "{term:?} is explained");
    }
}

/// Types a beginning, and waits for what the shell makes of it.
fn completes(shell: &mut Session, cases: &[(&str, &str)]) {
    for (typed, completed) in cases {
        shell.press(&format!("{typed}\t"));
        shell.wait_for(completed);
        // The line is given up.
        shell.press("\u{15}");
    }
}

/// Beginnings that every shell completes in the same way; `tool` knows the word `alphabet`.
const CASES: [(&str, &str); 7] = [
    ("retryrun --max-de", "retryrun --max-delay"),
    ("retryrun --backoff fibo", "retryrun --backoff fibonacci"),
    ("retryrun -qn 3 --history alw", "retryrun -qn 3 --history always"),
    ("retryrun -d 5 too", "retryrun -d 5 tool"),
    ("retryrun -d 5 tool alph", "retryrun -d 5 tool alphabet"),
    ("retryrun --backoff=linear -- tool alph", "retryrun --backoff=linear -- tool alphabet"),
    ("retryrun --retry-on busy:75 -q tool alph", "retryrun --retry-on busy:75 -q tool alphabet"),
];

/// A folder with a command of the name `tool` in it.
fn tool() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tool");
    fs::write(&path, "#!/bin/sh\n").expect("a file");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    folder
}

#[test]
fn bash_completes_options_and_the_command() {
    let folder = tool();
    let mut shell = Session::start(&["bash", "--norc", "--noprofile", "-i"]);
    shell.press(&format!(
        "PS1='> ' PATH={}:$PATH; bind 'set enable-bracketed-paste off'; \
         . /usr/share/bash-completion/bash_completion; . {}; complete -W alphabet tool; echo re''ady\n",
        folder.path().display(),
        completions("retryrun.bash").display()
    ));
    shell.wait_for("ready");
    completes(&mut shell, &CASES);
    shell.press("exit\n");
    shell.finish();
}

#[test]
fn bash_completes_without_the_library_of_completions() {
    let folder = tool();
    let mut shell = Session::start(&["bash", "--norc", "--noprofile", "-i"]);
    shell.press(&format!(
        "PS1='> ' PATH={}:$PATH; bind 'set enable-bracketed-paste off'; . {}; echo re''ady\n",
        folder.path().display(),
        completions("retryrun.bash").display()
    ));
    shell.wait_for("ready");
    completes(&mut shell, &CASES[..4]);
    shell.press("exit\n");
    shell.finish();
}

#[test]
fn zsh_completes_options_and_the_command() {
    let folder = tool();
    let mut shell = Session::start(&["zsh", "-f", "-i"]);
    shell.press(&format!(
        "PS1='> ' PATH={}:$PATH fpath=({} $fpath); unsetopt zle_bracketed_paste; bindkey -e; \
         autoload -U compinit; compinit -u -D; compdef '_arguments 1:word:\\(alphabet\\)' tool; echo re''ady\n",
        folder.path().display(),
        root().join("completions").display()
    ));
    shell.wait_for("ready");
    completes(&mut shell, &CASES);
    shell.press("exit\n");
    shell.finish();
}

#[test]
fn fish_completes_options_and_the_command() {
    let folder = tool();
    let home = tempfile::tempdir().expect("a folder");
    for (typed, completed) in CASES {
        let script = format!(
            "set -x PATH {} $PATH; source {}; complete -c tool -f -a alphabet; complete -C '{typed}'",
            folder.path().display(),
            completions("retryrun.fish").display(),
        );
        let output = Command::new("fish")
            .args(["--no-config", "-c", &script])
            .env("HOME", home.path())
            .output()
            .expect("fish runs");
        let offered = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{typed}");
        let last = completed.rsplit(' ').next().expect("a last word");
        let first = offered.lines().next().unwrap_or_default();
        assert_eq!(first.split('\t').next(), Some(last), "{typed}: {offered}");
    }
}

#[test]
fn behind_the_command_no_option_of_ours_is_offered() {
    let folder = tool();
    let home = tempfile::tempdir().expect("a folder");
    let script = format!(
        "set -x PATH {} $PATH; source {}; complete -c tool -f -a alphabet; complete -C 'retryrun tool --max-de'",
        folder.path().display(),
        completions("retryrun.fish").display(),
    );
    let output = Command::new("fish")
        .args(["--no-config", "-c", &script])
        .env("HOME", home.path())
        .output()
        .expect("fish runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    for shell in ["bash", "zsh"] {
        let mut shell =
            Session::start(&[shell, if shell == "bash" { "--norc" } else { "-f" }, "-i"]);
        let load = format!(
            ". {}; bind 'set enable-bracketed-paste off'",
            completions("retryrun.bash").display()
        );
        let load_zsh = format!(
            "fpath=({} $fpath); autoload -U compinit; compinit -u -D",
            root().join("completions").display()
        );
        shell.press(&format!(
            "if [ -n \"$BASH_VERSION\" ]; then {load}; else {load_zsh}; fi; echo re''ady\n"
        ));
        shell.wait_for("ready");
        shell.press("retryrun true --max-de\t");
        shell.press("=end\u{1}echo \u{5}\n");
        shell.wait_for("retryrun true --max-de=end\r\n");
        shell.press("exit\n");
        shell.finish();
    }
}
