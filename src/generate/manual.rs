//! The manual page: what clap_mangen makes of the command line, and what stands only there.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::cli::definition;

/// The page.
pub(super) fn page() -> String {
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
    let sections = [exit_status(), signals(), state(), environment(), files(), examples()];
    for section in sections {
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
                "1",
                "--retry-job or --stop-job asked a run that does not go on; of a run, see below.",
            ),
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
                "retryrun itself failed: usage, configuration, a named run that goes on already or is not known, the system refused what it \
                 needs, a process cannot be killed, or what a successful command wrote, and retryrun read, cannot be written to its stdout.",
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
         Without one it has a group of its own, so that what is sent to retryrun's group reaches it once, through retryrun. The leader of a \
         group cannot begin a session: setsid(1) leaves its command to run by itself then, and has succeeded. Use setsid --wait, or \
         --process-group inherit.",
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

fn state() -> Roff {
    let mut roff = section("STATE");
    for paragraph in [
        "With --job NAME the state of a run is kept until it has ended, and its history after that. If retryrun dies before (a kill, a crash, a \
         loss of power), its command dies with it, and the next call with that name goes on: with the count of attempts, in which the one \
         that was running counts and is shown as lost; with the rest of the wait, which is never longer than it was planned; and with the options \
         of the earlier calls where it gives none itself. What has changed of command, folder and policy is said. A run that ended, be it \
         by a signal or --stop-job, is not gone on with: the next call begins a new one. Reports in files and bundles hold the whole run; \
         what is written to a descriptor or a fifo holds what happens from then on.",
        "A second call while a run goes on is refused with 125, and nothing is run. --fresh forgets a run that did not end.",
        "--jobs lists them; a run is running, waiting, dead (it did not end, and nobody goes on with it) or, by its outcome, ended. --retry-job, \
         --stop-job and the keys of --jobs --watch reach runs of the same user only. An attempt that was asked for by hand does not \
         count against the limit.",
        "The state holds the words of the command as they were given, for --rerun-job: only its owner can read it. In what is shown secrets are \
         masked. Where a disk is full, that is said once, and the run goes on.",
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
                 does not take RETRYRUN_JOB, RETRYRUN_LOG_DIR, RETRYRUN_REPORT, RETRYRUN_HISTORY, RETRYRUN_EXIT_CODE and those of hooks.",
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
            (
                "XDG_STATE_HOME, HOME",
                "Where the state of named runs is; a relative folder is ignored.",
            ),
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
            (
                "$XDG_STATE_HOME/retryrun/jobs/NAME/",
                "The state of a named run, by default in ~/.local/state: its journal, a lock that who goes on with it holds, and a socket for \
                 requests. A journal that says nothing is set aside there as journal.damaged-N.",
            ),
        ],
    );
    roff.control("PP", []);
    roff.text([roman(
        "A configuration is TOML. Its keys are the long options with _ for -; success_on, stop_on, retry_on, redact and exit_code are lists. \
         [policy.NAME] holds a policy: the same keys, and commands (a list of first words for which it is chosen), inherit \
         (another policy on which it builds), docs, and rules (an ordered list of tables with one of success_on, stop_on \
         and retry_on, in place of these lists; beside retry_on may stand limit, the retries that the rule may order, and \
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
        (
            "Go on after a crash, and never start twice at once:",
            "retryrun --job nightly-backup -n 20 --max-delay 1h -- ./backup",
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
