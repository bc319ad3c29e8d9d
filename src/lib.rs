//! retryrun: runs a command and, when it fails in a way that may pass, runs it again.
//!
//! In reading order: [`engine`] decides, and is pure; its events are the vocabulary of everything else. [`driver`] carries a run
//! through the world with [`child`], one attempt's processes, and [`unix`], all system calls. [`report`] tells people and
//! programs. [`cli`] and [`config`] turn a command line into the engine's policy; [`patterns`] searches output for what its rules
//! look for, and [`classify`] asks them about endings of elsewhere. [`redact`] masks secrets; [`generate`] holds the files that
//! come with the program; [`error`] is what can go wrong with retryrun itself.

pub mod budget;
pub mod bundle;
pub mod child;
pub mod classify;
pub mod cli;
pub mod command;
pub mod config;
pub mod destination;
pub mod driver;
pub mod earlier;
pub mod engine;
pub mod error;
pub mod facts;
pub mod generate;
pub mod hint;
pub mod hook;
pub mod jobs;
pub mod leftovers;
pub mod patterns;
pub mod redact;
pub mod report;
pub mod reporting;
pub mod streams;
pub mod unix;

use std::ffi::{CString, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use budget::Budget;
use classify::Failure;
use cli::{Args, Request};
use command::{Command, StreamPlan};
use config::environment::Environment;
use config::name::Name;
use config::value::{Pattern, StdinMode, StdoutMode};
use config::{Call, Hooks, Resolved, Sources, Streaming, TextRules, explain};
use earlier::Earlier;
use engine::Run;
use engine::event::RunStarted;
use engine::exit::Exit;
use engine::history::History;
use engine::output::Stream;
use engine::resume::Unended;
use error::Error;
use hint::HintFile;
use jobs::Job;
use jobs::control::Request as JobRequest;
use jobs::folder::State;
use redact::Redactor;
use report::Sinks;
use report::text::{harmless, harmless_json};
use rustix::rand::GetRandomFlags;
use streams::logs::Logs;
use streams::outputs::Plan;
use streams::stdin::Wish;
use unix::output::Output;
use unix::{cgroup, clock, screen, start};

/// Does what a command line asks for, and answers how the process is to end. `words` begin with our own name.
#[must_use]
pub fn run(words: Vec<OsString>, environment: Environment) -> Exit {
    let args = match cli::parse(words.clone()) {
        Ok(Request::Print(text)) => {
            return print(&text).unwrap_or_else(|error| refuse(&error, &[], &environment));
        }
        Ok(Request::Call(args)) => *args,
        // The user's own patterns are not known where the command line cannot be read.
        Err(error) => return refuse(&error, &[], &environment),
    };
    let of_the_environment = || environment.layer().ok()?.settings.redact;
    let mut redact = args.settings.redact.clone().or_else(of_the_environment).unwrap_or_default();
    let variables = environment.clone();
    let asked = Asked { words, again: Vec::new() };
    let answered = answer(args, &asked, environment, &mut redact);
    answered.unwrap_or_else(|error| refuse(&error, &redact, &variables))
}

/// Says what went wrong with ourselves. What it quotes may hold a secret.
fn refuse(error: &Error, redact: &[Pattern], environment: &Environment) -> Exit {
    let redactor = Redactor::new(redact, environment);
    let mask = |text: &str| match &redactor {
        Ok(redactor) => harmless(&redactor.mask(text)),
        Err(_) => harmless(text),
    };
    let excerpt: String = error.excerpt().iter().map(|line| format!("\n{}", mask(line))).collect();
    say(&format!("{}{excerpt}", mask(&error.to_string())));
    error.exit()
}

/// Says something where no run has a log for it.
fn say(text: &str) {
    // If stderr takes nothing, there is nobody left to tell; the exit status still does.
    let _unheard = io::stderr().write_all(format!("retryrun: {text}\n").as_bytes());
}

/// What we were called with.
struct Asked {
    /// The words, with our own name.
    words: Vec<OsString>,
    /// What the run was called with that somebody runs again.
    again: Vec<jobs::call::Call>,
}

/// `redact` becomes what is to be masked also by what files say, once that is known.
fn answer(
    args: Args,
    asked: &Asked,
    environment: Environment,
    redact: &mut Vec<Pattern>,
) -> Result<Exit, Error> {
    if let Some(kind) = args.generate {
        return print(generate::text(kind));
    }
    if args.jobs || args.show_job.is_some() {
        return look(&args, &environment);
    }
    let asked_of_a_job = [
        args.retry_job.as_ref().map(|name| (name, JobRequest::Retry)),
        args.stop_job.as_ref().map(|name| (name, JobRequest::Stop)),
    ];
    if let Some((name, request)) = asked_of_a_job.into_iter().flatten().next() {
        let note = jobs::answer::ask(&State::of(&environment)?, name, request)?;
        note.iter().for_each(|note| say(note));
        return Ok(Exit::Code(0));
    }
    if let Some(name) = args.rerun_job.clone() {
        return run_again(name, args, &asked.words, environment, redact);
    }
    let Args { settings, explain, json, classify, command, .. } = args;
    // 32 bits of chance are enough, and every JSON reader holds them exactly.
    let seed = random()? >> 32;
    let mut earlier = Earlier::of(&asked.again)?;
    let mut flags = vec![settings];
    if let Some(latest) = earlier.first_mut() {
        // A run that is run again is called with the same flags.
        flags.append(&mut latest.flags);
    }
    let call = |earlier, now, random_seed| Call {
        flags: flags.clone(),
        environment: &environment,
        earlier,
        command: &command,
        now,
        random_seed,
    };
    let now = clock::timestamp();
    if classify {
        let sources = call(Vec::new(), now, seed).sources()?;
        return judge_stdin(&sources, &environment, redact);
    }
    let mut layered = call(Earlier::settings(earlier), now, seed).layers()?;
    let mut job = None;
    if let Some(name) = layered.job().filter(|_| !explain) {
        // A limit on files is to be an error there, and not to kill us.
        start::prepare();
        let mut taken = Job::take(&State::of(&environment)?, &name, layered.is_fresh())?;
        if let Some((unended, calls)) = taken.unended() {
            let earlier = Earlier::of(calls);
            let History { started_at: began, policy, .. } = &unended.history;
            let seed = if unended.history.start_is_known() { policy.seed } else { seed };
            let (began, unread) = (*began, earlier.as_ref().err().map(ToString::to_string));
            layered = call(Earlier::settings(earlier.unwrap_or_default()), began, seed).layers()?;
            if let Some(unread) = unread {
                taken.note_unreadable(&unread);
            }
        }
        job = Some(taken);
    }
    *redact = layered.redact();
    let mut redactor = Redactor::new(redact, &environment)?;
    layered.secrets().for_each(|secret| redactor.hide(secret));
    let mask = |text: &str| redactor.mask(text);
    let resolved = if explain { layered.explained(&mask) } else { layered.resolve(&mask) };
    budget::check(&resolved.sharing)?;
    if explain {
        return print(&if json {
            harmless_json(&explain::json(&resolved))
        } else {
            explain::text(&resolved).lines().map(|line| harmless(line) + "\n").collect()
        });
    }
    execute(resolved, redactor, command, environment, job.as_ref(), asked)
}

/// Answers `--jobs` and `--show-job`.
fn look(args: &Args, environment: &Environment) -> Result<Exit, Error> {
    let now = clock::timestamp();
    let call = Call {
        flags: vec![args.settings.clone()],
        environment,
        earlier: Vec::new(),
        command: &[],
        now,
        random_seed: 0,
    };
    let patterns = call.layers()?.redact();
    let redactor = Redactor::new(&patterns, environment)?;
    let mask = |text: &str| redactor.mask(text);
    let state = State::of(environment)?;
    if let Some(name) = &args.show_job {
        let for_people = io::stdout().is_terminal();
        return print(&jobs::answer::show(&state, name, for_people, &mask)?);
    }
    if args.watch {
        let is_dumb = environment.get("TERM").is_none_or(|terminal| terminal == "dumb");
        return match screen::is_there() && !is_dumb {
            true => jobs::watch::watch(&state, &mask),
            false => Err(Error::Usage(
                "--watch needs a terminal that can be drawn on, as stdin and stdout".into(),
            )),
        };
    }
    let (text, unread) = jobs::answer::list(&state, args.json, now, &mask)?;
    for error in unread {
        refuse(&error, &patterns, environment);
    }
    print(&text)
}

/// Answers `--rerun-job`. What is said now is seen from the folder of the run, too.
fn run_again(
    name: Name,
    mut args: Args,
    words: &[OsString],
    environment: Environment,
    redact: &mut Vec<Pattern>,
) -> Result<Exit, Error> {
    let again = jobs::answer::calls_of_ended(&State::of(&environment)?, &name)?;
    let unknown = |why: &str| {
        let message =
            format!("--rerun-job: the journal of {name} does not say what was called{why}");
        Error::Usage(message)
    };
    let all = Earlier::of(&again).map_err(|error| unknown(&format!(": {error}")))?;
    let latest = all.into_iter().next().ok_or_else(|| unknown(""))?;
    if let Some(folder) = latest.folder {
        let fail = |source| Error::File { action: "go to", path: folder.clone(), source };
        std::env::set_current_dir(&folder).map_err(fail)?;
    }
    args.rerun_job = None;
    args.command = latest.command;
    args.settings.job = Some(name);
    answer(args, &Asked { words: words.to_vec(), again }, environment, redact)
}

/// Answers `--classify`.
fn judge_stdin(
    sources: &Sources,
    environment: &Environment,
    redact: &mut Vec<Pattern>,
) -> Result<Exit, Error> {
    let stdout = open_stdout()?;
    // Every layer that can say what to mask is one of the call or of a file, whatever the command is.
    *redact = sources.layers(&[])?.redact();
    let redactor = Redactor::new(redact, environment)?;
    let mask = |text: &str| redactor.mask(text);
    match classify::answer(sources, &mask, io::stdin().lock(), stdout.lock()) {
        Ok(()) => Ok(Exit::Code(0)),
        Err(Failure::Line(error)) => Err(error),
        Err(Failure::Read(source)) => Err(Error::System { action: "read stdin", source }),
        Err(Failure::Write(source)) => written(Err(source)),
    }
}

/// Our stdout, if we were given one: else Rust has put /dev/null in its place.
fn open_stdout() -> Result<io::Stdout, Error> {
    if Output::Stdout.was_open() {
        return Ok(io::stdout());
    }
    let source = io::Error::from_raw_os_error(libc::EBADF);
    Err(Error::System { action: "write to stdout", source })
}

/// Prints an answer to stdout.
fn print(text: &str) -> Result<Exit, Error> {
    let mut stdout = open_stdout()?.lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// How we end after an answer.
fn written(result: io::Result<()>) -> Result<Exit, Error> {
    match result {
        Ok(()) => Ok(Exit::Code(0)),
        // Whoever read it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Code(0)),
        Err(source) => Err(Error::System { action: "write to stdout", source }),
    }
}

/// Runs the command.
fn execute(
    resolved: Resolved,
    redactor: Redactor,
    command: Vec<OsString>,
    environment: Environment,
    job: Option<&Job>,
    asked: &Asked,
) -> Result<Exit, Error> {
    let unended = job.and_then(Job::unended).map(|(unended, calls)| {
        let policy = Earlier::policy(calls, &environment, &unended.history).ok();
        Unended { policy, ..unended }
    });
    let shown: Vec<String> =
        command.iter().map(|word| redactor.mask(&word.to_string_lossy())).collect();
    let identity = RunStarted {
        run_id: match &unended {
            Some(unended) => unended.history.run_id.clone(),
            None => format!("{:016x}", random()?),
        },
        job: resolved.keeping.job.as_ref().map(Name::to_string),
        command: shown.clone(),
        cwd: std::env::current_dir().ok().map(|folder| redactor.mask(&folder.to_string_lossy())),
        host: redactor.mask(&rustix::system::uname().nodename().to_string_lossy()),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        policy: resolved.policy.summary(),
        max_retries: resolved.policy.retries.limit(),
    };
    let words = command.into_iter().map(|word| {
        CString::new(word.into_vec()).map_err(|error| {
            Error::Usage(format!("a word of the command holds a zero byte: {:?}", error.into_vec()))
        })
    });
    let state = config::state_folder(&environment);
    let mask: Rc<dyn Fn(&str) -> String> = Rc::new(move |text| redactor.mask(text));
    let mut sinks = Sinks::default();
    reporting::add_reports(&mut sinks, &resolved.reporting, &*mask)?;
    if let Some(job) = job {
        let call = jobs::call::Call::of(&asked.words, &environment);
        let mut calls = asked.again.clone();
        // What is said again is said once, and last.
        calls.retain(|earlier| *earlier != call);
        calls.push(call);
        let fail = |source| Error::Job { name: identity.job.clone().unwrap_or_default(), source };
        let journal = job.journal(&calls).map_err(fail)?;
        sinks.add_lasting_report("the state of the run".to_owned(), Box::new(journal));
        jobs::prune(&State::of(&environment)?, &resolved.keeping, clock::timestamp())?;
    }
    reporting::add_lines(&mut sinks, &resolved.reporting, &environment);
    let place = reporting::place_of_the_status_line(&resolved.reporting, &environment);
    let streams = streams(&resolved, &identity.run_id)?;
    if let Some(logs) = streams.logs.as_ref().filter(|_| unended.is_none()) {
        let path = logs.folder().to_owned();
        logs.forget_earlier().map_err(|source| unloggable(&path, source))?;
    }
    reporting::add_bundles(&mut sinks, &resolved, &streams, &identity.run_id, &environment, &mask)?;
    let command = Command {
        words: words.collect::<Result<_, _>>()?,
        shown_name: shown.into_iter().next().unwrap_or_default(),
        environment,
        process_group: resolved.supervision.process_group,
        cgroup: resolved.supervision.cgroup,
        streams,
        hooks: hooks(resolved.supervision.hooks, resolved.policy.kill_after)?,
        hints: resolved.supervision.hints,
        c_locale: resolved.supervision.c_locale,
        job: job.map(|job| job.folder().clone()),
        mask,
    };
    if let Some(folder) = &command.cgroup {
        cgroup::check(folder).map_err(|source| Error::Option {
            option: "cgroup",
            action: "make cgroups in",
            path: folder.clone(),
            source,
        })?;
    }
    if command.hints {
        HintFile::check()?;
    }
    let budget = Budget::open(&resolved.sharing, state)?;
    let now = clock::timestamp();
    for damage in job.map_or(&[][..], Job::damage) {
        sinks.error(&(command.mask)(damage));
    }
    let run = match unended {
        Some(unended) => {
            sinks.recall(job.map_or(&[], Job::records), &unended.history);
            let elapsed = jobs::elapsed(&unended, now);
            Run::resume(resolved.policy, identity, unended, elapsed)
        }
        None if !asked.again.is_empty() => Run::new(resolved.policy, identity, now).by_hand(),
        None => Run::new(resolved.policy, identity, now),
    };
    let exit = driver::drive(run, command, budget, sinks, place)?;
    if let Some(job) = job {
        job.leave(&resolved.keeping);
    }
    Ok(exit)
}

/// What is done with the command's streams.
fn streams(resolved: &Resolved, run_id: &str) -> Result<StreamPlan, Error> {
    const DEFAULT_TAIL: u64 = 4096;
    let Streaming { stdin, stdout, log_dir, delay_from, tail, spool_limit } = &resolved.streaming;
    let policy = &resolved.policy;
    // A bundle has the logs of all attempts, be it where --log-dir says or in its own folder.
    let log_dir = log_dir.as_ref().or_else(|| reporting::bundles(&resolved.reporting).next());
    let reads_both = policy.idle_timeout.is_some() || log_dir.is_some() || delay_from.is_some();
    let holds_stdout = *stdout == StdoutMode::Final;
    let stdin = match stdin {
        StdinMode::Inherit => Wish::Inherit,
        StdinMode::Null => Wish::Null,
        StdinMode::Replay => Wish::Replay,
        StdinMode::Auto => {
            let retries = policy.retries.limit() != Some(0) || policy.consecutive > 1;
            Wish::Auto { retries }
        }
    };
    let patterns = policy.rules.patterns();
    // A policy that the command's words chose must cost a person at a terminal nothing.
    let is_searched = |stream, is_terminal: &dyn Fn() -> bool| {
        let reads = || match resolved.text_rules {
            TextRules::None => false,
            TextRules::NoTerminal => !is_terminal(),
            TextRules::All => true,
        };
        patterns.iter().any(|pattern| pattern.is_for(stream)) && reads()
    };
    let searches_stdout = is_searched(Stream::Stdout, &|| io::stdout().is_terminal());
    let searches_stderr = is_searched(Stream::Stderr, &|| io::stderr().is_terminal());
    let outputs = Plan {
        reads_stdout: reads_both || holds_stdout || searches_stdout,
        reads_stderr: reads_both || tail.is_some_and(|tail| tail > 0) || searches_stderr,
        holds_stdout,
        tail: usize::try_from(tail.unwrap_or(DEFAULT_TAIL)).unwrap_or(usize::MAX),
        patterns,
        delay_from: delay_from.as_ref().map(|delay_from| delay_from.regex().to_owned()),
    };
    let logs = log_dir.map(|folder| {
        let fail = |source| unloggable(folder, source);
        if resolved.streaming.log_dir.is_some() {
            return Logs::open(folder, run_id).map_err(fail);
        }
        let fail = |source| {
            let name = format!("bundle:{}", folder.display());
            Error::Report { name, source }
        };
        bundle::create_folder(folder).map_err(fail)?;
        Logs::open(folder, run_id).map(Logs::private).map_err(fail)
    });
    Ok(StreamPlan { stdin, spool_limit: *spool_limit, outputs, logs: logs.transpose()? })
}

fn unloggable(folder: &Path, source: io::Error) -> Error {
    Error::Option { option: "log-dir", action: "keep logs in", path: folder.to_owned(), source }
}

fn hooks(hooks: Hooks, kill_after: Duration) -> Result<hook::Commands, Error> {
    let command = |text: Option<String>| text.map(hook::command).transpose();
    Ok(hook::Commands {
        retry_if: command(hooks.retry_if)?,
        on_retry: command(hooks.on_retry)?,
        before_attempt: command(hooks.before_attempt)?,
        on_success: command(hooks.on_success)?,
        on_give_up: command(hooks.on_give_up)?,
        timeout: hooks.timeout,
        kill_after,
    })
}

/// Random bits of the kernel.
#[expect(clippy::disallowed_methods, reason = "the one place where chance is drawn")]
fn random() -> Result<u64, Error> {
    let mut bits = [0; 8];
    // So few bytes come all at once.
    rustix::rand::getrandom(&mut bits, GetRandomFlags::empty())
        .map_err(|error| Error::System { action: "draw random bits", source: error.into() })?;
    Ok(u64::from_ne_bytes(bits))
}
