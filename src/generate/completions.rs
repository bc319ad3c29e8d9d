//! Completions: what clap_complete makes of the command line, and ours around it, since alone it completes nothing of the command
//! that is wrapped.
//!
//! Everywhere the command begins at the first word that is neither an option nor an option's value, or behind `--`; from there on the
//! shell completes as it would without us. PowerShell, which completes files there by itself, gets what clap_complete makes.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

use crate::cli::{definition, takes_value};
use crate::config::built_in_policies;
use crate::engine::backoff::Jitter;
use crate::engine::signal::Signal;

/// The completions for a shell.
pub(super) fn script(shell: Shell) -> String {
    let mut command = completable();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "retryrun", &mut script);
    let script = String::from_utf8(script).expect("completions are text");
    match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script),
        Shell::Elvish => elvish(&script),
        _ => script,
    }
}

/// The command line with the values that can be offered; where there are none, no file is offered instead.
fn completable() -> Command {
    let signals = (1..32).filter_map(Signal::new).map(|signal| signal.to_string().leak() as &str);
    let policies = ["auto", "none"].into_iter().chain(built_in_policies());
    definition()
        .mut_arg("jitter", |arg| arg.value_parser(PossibleValuesParser::new(Jitter::NAMES)))
        .mut_arg("stop_signal", |arg| arg.value_parser(PossibleValuesParser::new(signals)))
        .mut_arg("policy", |arg| arg.value_parser(PossibleValuesParser::new(policies)))
        .mut_args(|arg| match arg.get_value_hint() {
            ValueHint::Unknown if takes_value(&arg) && arg.get_possible_values().is_empty() => {
                arg.value_hint(ValueHint::Other)
            }
            _ => arg,
        })
}

/// Options that take a value, which may be the next word.
fn valued() -> Vec<Arg> {
    definition().get_arguments().filter(|arg| takes_value(arg)).cloned().collect()
}

/// The long ones, e.g. `--retries`, with something between them.
fn valued_long(separator: &str) -> String {
    let names = valued().into_iter().filter_map(|arg| Some(format!("--{}", arg.get_long()?)));
    names.collect::<Vec<_>>().join(separator)
}

/// A pattern for a cluster of short options of which the last takes the next word.
fn valued_cluster() -> String {
    let letters: String = valued().iter().filter_map(Arg::get_short).collect();
    format!("^-[^-{letters}]*[{letters}]$")
}

fn replaced(script: &str, from: &str, to: &str) -> String {
    assert!(script.contains(from), "clap_complete no longer writes {from:?}");
    script.replace(from, to)
}

fn bash(script: &str) -> String {
    let ours = format!(
        r#"
_retryrun() {{
    local i=1 word
    while ((i < COMP_CWORD)); do
        word=${{COMP_WORDS[i]}}
        if [[ $word == -- ]]; then
            _retryrun_command $((i + 1))
            return
        elif [[ $word =~ {cluster} || $word =~ ^({long})$ ]]; then
            # The value is the next word. Readline takes `--option=value` and `a:b` apart.
            ((i += 1))
            [[ ${{COMP_WORDS[i]}} == = ]] && ((i += 1))
            while [[ ${{COMP_WORDS[i + 1]-}} == [:=]* ]]; do
                ((i += 2))
            done
        elif [[ $word != -* ]]; then
            _retryrun_command "$i"
            return
        fi
        ((i += 1))
    done
    if ((i == COMP_CWORD)) && [[ ${{COMP_WORDS[i]}} != -* ]]; then
        _retryrun_command "$i"
    elif [[ $3 == = ]]; then
        _retryrun_options "$1" "$2" "${{COMP_WORDS[COMP_CWORD - 2]}}"
    elif [[ $2 == = ]]; then
        _retryrun_options "$1" "" "$3"
    else
        _retryrun_options "$@"
    fi
}}

# Completes the command that begins at a word.
_retryrun_command() {{
    if declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif (($1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "${{COMP_WORDS[COMP_CWORD]}}")
    fi
}}

if [["#,
        cluster = valued_cluster(),
        long = valued_long("|"),
    );
    let script = replaced(script, "_retryrun() {\n", "_retryrun_options() {\n");
    replaced(
        &script,
        "\nif [[ \"${BASH_VERSINFO[0]}\" -eq 4",
        &format!("{ours} \"${{BASH_VERSINFO[0]}}\" -eq 4"),
    )
}

fn zsh(script: &str) -> String {
    let script = replaced(script, "(-s -S -C)", "(-s -S -C -A '-*')");
    replaced(
        &script,
        "'*::command -- The command and its arguments:_cmdambivalent'",
        "'(-)1:command: _command_names -e' \\\n'*::arguments: _normal'",
    )
}

fn fish(script: &str) -> String {
    let begins = format!(
        r#"# The words before the cursor from the command on; fails where none has begun.
function __retryrun_command
    set -l words (commandline -opc)
    set -l is_value 0
    for i in (seq 2 (count $words))
        set -l word $words[$i]
        if test $is_value = 1
            set is_value 0
        else if string match -qr -- '{cluster}|^({long})$' $word
            set is_value 1
        else if test "$word" = --
            string escape -- $words[(math $i + 1)..]
            return 0
        else if not string match -q -- '-*' $word
            string escape -- $words[$i..]
            return 0
        end
    end
    return 1
end

# Completes the command as it would be without us.
function __retryrun_complete_command
    set -l words (__retryrun_command)
    # In one word, since what is completed may look like an option of `complete`.
    complete --do-complete=(string join ' ' -- $words (commandline -ct))
end

"#,
        cluster = valued_cluster(),
        long = valued_long("|"),
    );
    let options = replaced(
        script,
        "complete -c retryrun",
        "complete -c retryrun -n 'not __retryrun_command >/dev/null'",
    );
    let command = "complete -c retryrun -x -a '(__retryrun_complete_command)'\n";
    begins + &options + command
}

fn elvish(script: &str) -> String {
    let ours = format!(
        r#"set edit:completion:arg-completer[retryrun] = {{|@words|
    use re
    var is-value = $false
    for i [(range 1 (- (count $words) 1))] {{
        var word = $words[$i]
        if $is-value {{
            set is-value = $false
        }} elif (re:match '{cluster}|^({long})$' $word) {{
            set is-value = $true
        }} elif (eq $word --) {{
            edit:complete-sudo sudo (all $words[(+ $i 1)..])
            return
        }} elif (not (str:has-prefix $word -)) {{
            edit:complete-sudo sudo (all $words[$i..])
            return
        }}
    }}
    if (and (not $is-value) (not (str:has-prefix $words[-1] -))) {{
        edit:complete-sudo sudo $words[-1]
        return
    }}
"#,
        cluster = valued_cluster(),
        long = valued_long("|"),
    );
    replaced(script, "set edit:completion:arg-completer[retryrun] = {|@words|\n", &ours)
}
