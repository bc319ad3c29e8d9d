//! The run in the world: feeds the engine with what happens, and carries out what it orders.
//!
//! It alone waits for everything at once, and decides nothing.

mod budget;
mod hooks;
mod leaving;
mod masking;
mod needs;
mod screen;
mod signals;
mod tracing;
mod waiting;

use std::collections::HashSet;
use std::future::ready;

use crate::budget::Budget;
use crate::child::{Child, Report, Trouble};
use crate::command::{Command, StreamPlan};
use crate::config::value::ProcessGroup;
use crate::engine::event::{Event, Record, Trigger};
use crate::engine::exit::Exit;
use crate::engine::signal::Signal;
use crate::engine::time::Time;
use crate::engine::{Action, Input, Run, Sweep};
use crate::error::{Error, reason};
use crate::facts;
use crate::hint::HintFile;
use crate::jobs::control::{Control, Request};
use crate::leftovers::Leftovers;
use crate::report::{Sinks, Starting};
use crate::streams::Streams;
use crate::streams::outputs::Outputs;
use crate::streams::stdin::Stdin;
use crate::unix::cgroup::{Cgroup, Cgroups};
use crate::unix::clock::{Alarm, Clock};
use crate::unix::line::Place;
use crate::unix::lines::Stderr;
use crate::unix::output::Output;
use crate::unix::process::own_session;
use crate::unix::signals::Signals;
use crate::unix::spawn::{Entries, Group, Program, SpawnError};
use crate::unix::start;
use crate::unix::terminal::Terminal;
use crate::unix::tree::Tree;
use hooks::Hooks;
use screen::Screen;
use waiting::{control, next_report, next_request, remaining, stays_stopped, swept};

/// Signals that tell us to stop.
const STOP_SIGNALS: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// Carries a run through to its end, with a status line if there is a place for one.
///
/// # Errors
/// The system refuses what supervising needs; nothing was run then.
pub fn drive(
    run: Run,
    mut command: Command,
    budget: Option<Budget>,
    mut sinks: Sinks,
    place: Option<Place>,
) -> Result<Exit, Error> {
    let fail = |source| Error::System { action: "supervise a command", source };
    start::check_descriptors().map_err(fail)?;
    start::prepare();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(fail)?;
    // Made here and not in the future, of which it would be the largest part, and moved with it.
    let context = runtime.enter();
    let terminal = Terminal::controlling();
    let group = match (command.process_group, &terminal) {
        (ProcessGroup::Auto, Some(_)) | (ProcessGroup::Inherit, _) => Group::Inherited,
        (ProcessGroup::Auto, None) | (ProcessGroup::New, _) => Group::New,
        (ProcessGroup::Session, _) => Group::Session,
    };
    let StreamPlan { stdin, spool_limit, outputs, logs } = &mut command.streams;
    let streams = Streams {
        stdin: Stdin::open(*stdin, *spool_limit).map_err(fail)?,
        outputs: Outputs::new(std::mem::take(outputs), logs.take(), command.mask.clone()),
    };
    let at = run.now();
    let control = control(&command, &mut sinks);
    let mut driver = Driver {
        run,
        sinks,
        clock: Clock::start(at),
        control,
        signals: Signals::listen().map_err(fail)?,
        alarm: Alarm::new().map_err(fail)?,
        tree: Tree::new(),
        streams,
        command,
        group,
        terminal,
        child: None,
        reported: None,
        last: None,
        warned: HashSet::new(),
        ended: None,
        leftovers: None,
        cgroups: Cgroups::default(),
        hooks: Hooks::default(),
        screen: Screen::new(place),
        hint_file: None,
        budget,
        stopped: None,
    };
    driver.trace_place();
    let exit = runtime.block_on(driver.drive());
    // They end with the process: to take handlers away one by one costs more than to set them up, and nobody waits for events any more.
    std::mem::forget((driver.signals, driver.alarm, context));
    std::mem::forget(runtime);
    Ok(exit)
}

struct Driver {
    run: Run,
    command: Command,
    sinks: Sinks,
    clock: Clock,
    /// Hears what is asked of a named run.
    control: Option<Control>,
    signals: Signals,
    alarm: Alarm,
    tree: Tree,
    streams: Streams,
    group: Group,
    terminal: Option<Terminal>,
    child: Option<Child>,
    reported: Option<Input>,
    last: Option<Record>,
    warned: HashSet<String>,
    /// An attempt that has ended: its session, and its cgroup for what was left behind.
    ended: Option<(i32, Option<Cgroup>)>,
    leftovers: Option<Leftovers>,
    /// Dropped after each of them.
    cgroups: Cgroups,
    hooks: Hooks,
    screen: Screen,
    hint_file: Option<HintFile>,
    budget: Option<Budget>,
    /// The signal that stopped the command, until it is known whether it stays so.
    stopped: Option<(Signal, Alarm)>,
}

impl Driver {
    async fn drive(&mut self) -> Exit {
        let (mut now, mut input) = (self.run.now(), Input::Begin);
        loop {
            let answer = self.handle(now, input);
            if let Some(exit) = self.run.exit() {
                return self.leave(exit).await;
            }
            input = match answer {
                Some(input) => input,
                None => self.next_input().await,
            };
            now = self.clock.now();
        }
    }

    /// Feeds one input and carries out the actions; an action may have an answer at once.
    fn handle(&mut self, now: Time, input: Input) -> Option<Input> {
        let mut answer = None;
        let mut actions = self.run.handle(now, input);
        if !actions.is_empty() {
            self.screen.end_scene();
        }
        // To write it down may take its time, on a slow disk.
        actions.sort_by_key(|action| !matches!(action, Action::Kill(_)));
        for action in actions {
            self.trace_order(&action);
            match action {
                Action::Start { attempt, trigger } => answer = self.start(attempt, trigger),
                Action::Kill(signal) => self.end(signal),
                Action::Hurry => self.streams.outputs.hurry(),
                Action::Ask(record) => answer = self.ask(&record),
                Action::Prepare { attempt, trigger } => answer = self.prepare(attempt, trigger),
                Action::Sweep { which, signal } => answer = self.sweep(which, signal),
                Action::TakeToken => answer = self.take_token(),
                Action::PutBack(refund) => self.put_back(refund),
                Action::Abandon => self.child = None,
                Action::Tell(record) => self.tell(record),
            }
        }
        answer
    }

    /// The last record is told when all else is done.
    fn tell(&mut self, record: Record) {
        match record.event {
            Event::RunStopped(_) => self.last = Some(record),
            Event::RetryPlanned(_) => {
                // Now, not only before the next attempt: the wait may be long, and Ctrl-C is to end it.
                if let Some(terminal) = &self.terminal {
                    terminal.restore(&self.tree);
                }
                self.sinks.tell(&record, self.run.history());
                self.begin_wait(record);
            }
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptStarted(_)
            | Event::AttemptCut(_)
            | Event::AttemptEnded(_) => self.sinks.tell(&record, self.run.history()),
        }
    }

    fn start(&mut self, attempt: u64, trigger: Trigger) -> Option<Input> {
        if let Some(terminal) = self.terminal.as_ref().filter(|_| attempt > 1) {
            terminal.restore(&self.tree);
        }
        self.leftovers = None;
        self.ended = None;
        self.tree.begin();
        let at = self.run.history().started_at.plus(self.clock.now().elapsed);
        let follows_a_hook = self.hooks.have_run_since();
        let starting = Starting { attempt, trigger, at, follows_a_hook };
        self.sinks.starting(&starting, self.run.history());
        if let Some(input) = self.make_hint_file() {
            return Some(input);
        }
        match self.spawn(attempt, trigger) {
            Ok(child) => {
                let pid = child.pid();
                self.sinks.trace(|| format!("process {pid} is to run attempt {attempt}"));
                self.child = Some(child);
                None
            }
            Err(error) => Some(self.cannot_start(error)),
        }
    }

    fn spawn(&mut self, attempt: u64, trigger: Trigger) -> Result<Child, SpawnError> {
        if let Some(error) = self.streams.outputs.begin(attempt)? {
            self.trouble(&Trouble::Unlogged(error));
        }
        self.streams.stdin.begin(attempt == 1)?;
        self.trace_streams();
        let history = self.run.history();
        let mut entries = facts::of_next(attempt, trigger, history);
        if self.command.c_locale {
            entries.extend(facts::c_locale(&self.command.environment));
        }
        entries.extend(self.hint_file.as_ref().map(HintFile::fact));
        let inherited = facts::beside(&entries, &self.command.environment);
        let environment = Entries { inherited, added: entries };
        let cgroup = self.make_cgroup(attempt)?;
        let words = &self.command.words;
        let (stdin, stdout, stderr) = (None, None, None);
        let program = Program { words, environment, stdin, stdout, stderr, cgroup: None };
        Child::spawn(program, self.group, &mut self.streams, cgroup)
    }

    fn end(&mut self, signal: Signal) {
        if self.hooks.end_awaited(signal) {
            return;
        }
        let Some(child) = &mut self.child else { return };
        // What it wrote, and nobody takes, is not waited for much longer.
        self.streams.outputs.hurry();
        if let Err(error) = child.end(signal, &self.tree) {
            let reason = reason(&error);
            self.sinks.error(&format!("cannot send {signal} to all processes: {reason}"));
        }
    }

    fn sweep(&mut self, which: Sweep, signal: Signal) -> Option<Input> {
        let (session, cgroup) = self.ended.take().unwrap_or_default();
        match Leftovers::new(which, signal, session, cgroup) {
            Ok(leftovers) => {
                self.leftovers = Some(leftovers);
                None
            }
            Err(error) => {
                let reason = reason(&error);
                self.sinks.error(&format!("cannot end what the attempt left behind: {reason}"));
                Some(Input::Swept { survives: false })
            }
        }
    }

    async fn next_input(&mut self) -> Input {
        let now = self.clock.now();
        let remaining = self.run.wakeup().map(|(at, why)| remaining(now, at, why));
        let is_due = remaining.is_some_and(|remaining| remaining.is_zero());
        match remaining {
            // Signals that have come are still looked at first.
            Some(_) if is_due => tokio::task::yield_now().await,
            Some(remaining) => self.alarm.set(remaining),
            None => {}
        }
        loop {
            if let Some(place) = self.screen.place() {
                let scene = self.scene(place);
                // What ended others on the terminal, of whom the scene has nothing any more, has reached us, too, and comes first.
                if let Some(received) = self.signal_until_now().await {
                    match self.signalled(received) {
                        Some(input) => return input,
                        None => continue,
                    }
                }
                self.show(place, scene);
            }
            tokio::select! {
                biased;
                received = self.signals.next() => {
                    if let Some(input) = self.signalled(received) {
                        return input;
                    }
                }
                () = ready(()), if self.reported.is_some() => {
                    // Not taken in the branch's expression: that is evaluated also where another branch wins.
                    if let Some(input) = self.reported.take() {
                        return input;
                    }
                }
                report = next_report(self.child.as_mut(), &mut self.streams, &self.tree) => {
                    self.report(report).await;
                }
                ended = self.hooks.next_end() => {
                    if let Some(input) = self.hook_ended(ended) {
                        return input;
                    }
                }
                survives = swept(self.leftovers.as_mut(), &self.tree) => {
                    self.leftovers = None;
                    return Input::Swept { survives };
                }
                answer = budget::answer(self.budget.as_mut()) => return self.token(answer),
                request = next_request(self.control.as_ref()) => return match request {
                    Request::Retry => Input::RetryNow,
                    Request::Stop => Input::Stop,
                },
                () = stays_stopped(self.stopped.as_ref()) => self.stop_with_the_command(),
                () = ready(()), if is_due => return Input::Tick,
                () = self.alarm.rings(), if remaining.is_some() => return Input::Tick,
                () = Stderr::catch_up() => {}
                input = self.screen.next() => {
                    if let Some(input) = input {
                        return input;
                    }
                }
            }
        }
    }

    /// Keeps a report until it is known that no signal came before it. A signal that ended the command, such as Ctrl-C, has reached
    /// us, too, but the event loop may have been told of the command first.
    async fn report(&mut self, report: Result<Report, SpawnError>) {
        let input = match report {
            Ok(Report::Input(input)) => self.masked(input),
            Ok(Report::Trouble(trouble)) => match self.trouble(&trouble) {
                Some(input) => input,
                None => return,
            },
            Err(error) => self.cannot_start(error),
        };
        let is_over = matches!(input, Input::Exited { .. } | Input::CannotStart { .. });
        if is_over && let Some(child) = self.child.take() {
            self.stopped = None;
            let session = match self.group {
                Group::Session => child.pid().as_raw_nonzero().get(),
                Group::Inherited | Group::New => own_session(),
            };
            self.trace_end(child.pid().as_raw_nonzero().get(), &input);
            self.ended = Some((session, child.into_cgroup()));
        }
        self.reported = Some(input);
        tokio::task::yield_now().await;
    }

    /// Says what went wrong with the streams; answers what the run has to know of it.
    fn trouble(&mut self, trouble: &Trouble) -> Option<Input> {
        let text = trouble.to_string();
        let input = match trouble {
            // A terminal that went away: nobody misses it.
            Trouble::Broken(Output::Stdout, _) if Output::Stdout.is_closed() => None,
            Trouble::Broken(Output::Stdout, _) => Some(Input::OutputLost(text.clone())),
            Trouble::Broken(Output::Stderr, _) | Trouble::Unlogged(_) => None,
            Trouble::Unheld(_) => Some(Input::Failed(text.clone())),
            Trouble::InputLost(_) => Some(Input::InputLost),
        };
        // A log may fail at every attempt.
        if self.warned.insert(text.clone()) {
            self.sinks.error(&text);
        }
        input
    }
}
