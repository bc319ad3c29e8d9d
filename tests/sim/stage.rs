//! Plays a script against the engine on a simulated clock, as the driver would in the world, and writes down
//! every order and every record.

use std::time::Duration;

use retryrun::engine::event::{Event, Record, Verdict};
use retryrun::engine::history::Attempt;
use retryrun::engine::output::Matches;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::{Time, human};
use retryrun::engine::{Action, ExitStatus, Input, Run, Sender, Why};

use super::{Command, Happening, Played, Reaction, Script, exited};

/// Process id of the first attempt's command; each further one has the next.
const FIRST_PID: u32 = 4712;

/// A script being played.
pub(super) struct Stage {
    script: Script,
    now: Time,
    running: Option<Running>,
    /// When what was left behind will have ended, on the elapsed clock.
    swept: Option<Duration>,
    /// When all is done that the user wants done before the next attempt, on the elapsed clock.
    prepared: Option<Duration>,
    /// When the budget will have answered, on the elapsed clock.
    answered: Option<Duration>,
    asked: usize,
    started: usize,
    happened: usize,
    played: Played,
}

/// A command that runs; it ends by the active clock, since it sleeps when the machine does.
struct Running {
    ends: Option<(Duration, ExitStatus)>,
    reaction: Reaction,
    leftovers: u64,
    matches: Matches,
}

/// How long it takes to end what was left behind.
pub(crate) const SWEEP: Duration = Duration::from_millis(500);

/// How long the user's own command takes before an attempt.
const PREPARATION: Duration = Duration::from_millis(300);

/// How long the budget takes to answer.
const ANSWER: Duration = Duration::from_millis(200);

/// What comes next; of what comes at the same moment the first, since a wake-up is always a little late.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    CommandEnds,
    Swept,
    Prepared,
    Answered,
    Happening,
    Wakeup,
}

impl Stage {
    /// The script before its begin.
    pub(super) fn new(script: Script, run: Run) -> Stage {
        Stage {
            script,
            now: run.now(),
            running: None,
            swept: None,
            prepared: None,
            answered: None,
            asked: 0,
            started: 0,
            happened: 0,
            played: Played { transcript: String::new(), records: Vec::new(), run },
        }
    }

    /// Plays it to the end of the run.
    pub(super) fn play(mut self) -> Played {
        self.feed(Input::Begin);
        while self.played.run.exit().is_none() {
            self.step();
        }
        self.played
    }

    /// Plays all that happens up to a moment of the elapsed clock.
    pub(super) fn play_until(mut self, moment: Duration) -> Vec<Record> {
        self.feed(Input::Begin);
        let is_early = |stage: &Stage| {
            let (remaining, _) = stage.upcoming()?;
            Some(stage.now.elapsed.saturating_add(remaining) <= moment)
        };
        while is_early(&self) == Some(true) {
            self.step();
        }
        self.played.records
    }

    fn step(&mut self) {
        let (remaining, next) = self.next();
        if self.script.fidgety && remaining > Duration::ZERO {
            let early = self.now.plus(remaining / 2);
            let actions = self.played.run.handle(early, Input::Tick);
            assert_eq!(actions, [], "an early tick does nothing");
        }
        self.now = self.now.plus(remaining);
        match next {
            Next::CommandEnds => self.command_ends(),
            Next::Swept => {
                self.swept = None;
                self.write("< swept");
                self.feed(Input::Swept { survives: self.script.survives });
            }
            Next::Prepared => {
                self.prepared = None;
                self.write("< prepared");
                self.feed(Input::Prepared);
            }
            Next::Answered => {
                self.answered = None;
                let tokens = &self.script.tokens;
                let token = *tokens.get(self.asked).or(tokens.last()).expect("there is an answer");
                self.asked += 1;
                self.write(&format!("< {token:?}"));
                self.feed(Input::Token(token));
            }
            Next::Happening => self.happens(),
            Next::Wakeup => self.feed(Input::Tick),
        }
    }

    fn next(&self) -> (Duration, Next) {
        self.upcoming().unwrap_or_else(|| panic!("waits forever:\n{}", self.played.transcript))
    }

    /// None where nothing will ever happen.
    fn upcoming(&self) -> Option<(Duration, Next)> {
        let command = self.running.as_ref().and_then(|running| running.ends);
        let command = command.map(|(end, _)| end.saturating_sub(self.now.active));
        let happening = self.script.happenings.get(self.happened);
        let happening = happening.map(|(moment, _)| moment.saturating_sub(self.now.elapsed));
        let wakeup = self.played.run.wakeup().map(|(time, why)| match why {
            Why::Timeout | Why::Idle | Why::PassOn | Why::Grace | Why::Unkillable => {
                time.active.saturating_sub(self.now.active)
            }
            Why::Deadline | Why::Delay => time.elapsed.saturating_sub(self.now.elapsed),
        });
        let swept = self.swept.map(|moment| moment.saturating_sub(self.now.elapsed));
        let prepared = self.prepared.map(|moment| moment.saturating_sub(self.now.elapsed));
        let answered = self.answered.map(|moment| moment.saturating_sub(self.now.elapsed));
        let all = [
            (command, Next::CommandEnds),
            (swept, Next::Swept),
            (prepared, Next::Prepared),
            (answered, Next::Answered),
            (happening, Next::Happening),
            (wakeup, Next::Wakeup),
        ];
        all.into_iter().filter_map(|(remaining, next)| Some((remaining?, next))).min()
    }

    fn command_ends(&mut self) {
        let running = self.running.take().expect("only what runs ends");
        let (_, status) = running.ends.expect("only a command with an end ends");
        let leftovers = running.leftovers;
        self.feed(exited(status, leftovers, running.matches));
    }

    fn happens(&mut self) {
        let happening = self.script.happenings.get(self.happened);
        let (_, happening) = *happening.expect("it was chosen as the next one");
        self.happened += 1;
        match happening {
            Happening::Signal(signal, sender) => self.signal(signal, sender),
            Happening::Output => self.feed(Input::Output),
            Happening::OutputStalled => self.feed(Input::OutputStalled),
            Happening::RetryNow => {
                self.write("< retry now");
                self.feed(Input::RetryNow);
            }
            Happening::Stop => {
                self.write("< stop");
                self.feed(Input::Stop);
            }
            Happening::Sleep(duration) => {
                self.write(&format!("< the machine sleeps for {}", human(duration)));
                self.now.elapsed = self.now.elapsed.saturating_add(duration);
                // The driver's timer runs on the elapsed clock, whatever the wake-up is for.
                self.feed(Input::Tick);
            }
        }
    }

    fn signal(&mut self, signal: Signal, sender: Sender) {
        match sender {
            Sender::Terminal => {
                self.write(&format!("< {signal} from the keyboard"));
                self.reach(signal);
            }
            Sender::Process | Sender::ProcessToGroup => self.write(&format!("< {signal}")),
        }
        self.feed(Input::Signal { signal, sender });
    }

    /// The run hears of it and is obeyed.
    fn feed(&mut self, input: Input) {
        let is_tick = input == Input::Tick;
        let actions = self.played.run.handle(self.now, input);
        if is_tick && self.script.fidgety {
            let more = self.played.run.handle(self.now, Input::Tick);
            assert_eq!(more, [], "a second tick does nothing");
        }
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Start { attempt, trigger } => {
                    self.write(&format!("start {attempt} ({trigger})"));
                    answers.push(self.start());
                }
                Action::Kill(signal) => {
                    self.write(&format!("kill {signal}"));
                    self.reach(signal);
                    if self.prepared.is_some() {
                        self.prepared = Some(self.now.elapsed);
                    }
                }
                Action::Hurry => self.write("hurry"),
                Action::Sweep { which, signal } => {
                    self.write(&format!("sweep {which:?} with {signal}"));
                    self.swept = Some(self.now.elapsed.saturating_add(SWEEP));
                }
                Action::Ask(_) => {
                    self.write("ask");
                    answers.push(Input::Answered(self.script.answer));
                }
                Action::Prepare { attempt, trigger } => {
                    self.write(&format!("prepare {attempt} ({trigger})"));
                    self.prepared = Some(self.now.elapsed.saturating_add(PREPARATION));
                }
                Action::TakeToken => {
                    self.write("take a token");
                    self.answered = Some(self.now.elapsed.saturating_add(ANSWER));
                }
                Action::PutBack(refund) => self.write(&format!("put back: {refund:?}")),
                Action::Abandon => {
                    self.write("abandon");
                    self.running = None;
                }
                Action::Tell(record) => self.tell(record),
            }
        }
        for answer in answers {
            if self.started == self.script.told_at_start {
                self.signal(Signal::TERM, Sender::Process);
            }
            self.feed(answer);
        }
    }

    fn start(&mut self) -> Input {
        let commands = &self.script.commands;
        let command = commands.get(self.started).or(commands.last());
        let command = command.expect("a script has a command").clone();
        self.started += 1;
        match command {
            Command::Runs { ends, reaction, leftovers, matches } => {
                let ends =
                    ends.map(|(lasts, status)| (self.now.active.saturating_add(lasts), status));
                self.running = Some(Running { ends, reaction, leftovers, matches });
                let before = u32::try_from(self.started - 1).expect("scripts are short");
                Input::Started { pid: FIRST_PID + before }
            }
            Command::CannotStart(kind) => {
                Input::CannotStart { kind, error: kind.name().replace('-', " ") }
            }
        }
    }

    /// The command gets a signal.
    fn reach(&mut self, signal: Signal) {
        let Some(running) = &mut self.running else {
            return;
        };
        let died = ExitStatus::Signal { signal, core_dumped: false };
        let (after, status) = match running.reaction {
            Reaction::Immortal => return,
            _ if signal == Signal::KILL => (Duration::ZERO, died),
            Reaction::Deaf => return,
            Reaction::Dies(after) => (after, died),
            Reaction::Exits(after, code) => (after, ExitStatus::Code(code)),
        };
        let end = self.now.active.saturating_add(after);
        if running.ends.is_none_or(|(earlier, _)| end < earlier) {
            running.ends = Some((end, status));
        }
    }

    fn tell(&mut self, record: Record) {
        let text = match &record.event {
            Event::RunStarted(_) => "run started".to_owned(),
            Event::RunResumed(event) => match event.changed.as_slice() {
                [] => "run resumed".to_owned(),
                changed => format!("run resumed, changed: {}", changed.join(", ")),
            },
            Event::AttemptStarted(event) => format!("attempt {} started", event.attempt),
            Event::AttemptCut(event) => {
                format!("attempt {} cut: {}", event.attempt, event.ended_by)
            }
            Event::AttemptEnded(_) => {
                let last = self.played.history().last_attempt();
                ended(last.expect("an attempt that ended began"))
            }
            Event::RetryPlanned(event) => {
                format!("retry {} in {}", event.retry, human(event.delay))
            }
            Event::RunStopped(event) => {
                let (outcome, status) = (event.outcome, event.exit_code);
                format!("run stopped: {outcome}, status {status}\n{}", event.message)
            }
        };
        self.write(&text);
        self.played.records.push(record);
    }

    fn write(&mut self, text: &str) {
        let line = format!("{:.3} {text}\n", self.now.elapsed.as_secs_f64());
        self.played.transcript.push_str(&line);
    }
}

fn ended(attempt: &Attempt) -> String {
    let verdict = attempt.verdict.map_or("not judged", Verdict::name);
    let reason = attempt.reason.as_deref().unwrap_or("no reason");
    let number = attempt.attempt;
    format!("attempt {number} ended: {}, {verdict} ({reason})", attempt.ending())
}
