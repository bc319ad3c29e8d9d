//! The status line, and the keys that somebody presses at it: when there is one, and when it changes.
//!
//! What it says is `report::live`'s.

use std::future::pending;
use std::time::Duration;

use super::Driver;
use super::waiting::remaining;
use crate::engine::time::Timestamp;
use crate::engine::{Input, Why};
use crate::report::columns::width;
use crate::report::live::{self, Room};
use crate::unix::clock::Alarm;
use crate::unix::keys::{self, Keys};
use crate::unix::line::{Line, Place, Where};
use crate::unix::terminal::Terminal;

/// A wait that nobody could read of, or cut short, goes by in silence.
const SHORT: Duration = Duration::from_millis(500);

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(250);

/// How often it is looked whether there is a place for it again.
const LOOK: Duration = Duration::from_secs(1);

/// The status line.
#[derive(Default)]
pub(super) struct Screen {
    place: Option<Place>,
    line: Option<Line>,
    text: String,
    listening: Listening,
    alarm: Option<Alarm>,
    /// Whether the alarm is set.
    is_timed: bool,
    /// Whether we have just been continued.
    was_continued: bool,
    /// Whether what the attempt has changed of the terminal is put back.
    is_restored: bool,
    /// Whether others may have left a row unfinished.
    begins_a_row: bool,
}

/// Whether keys are heard in a wait.
#[derive(Default)]
enum Listening {
    #[default]
    NotYet,
    To(Keys),
    /// What was typed is not for us.
    Not,
}

/// What there is to show.
#[derive(Clone, Copy)]
pub(super) enum Scene {
    Nothing,
    /// Others may write: keys are heard, and nothing is shown.
    Keys,
    Wait {
        remaining: Duration,
    },
    Attempt {
        number: u64,
        age: Duration,
    },
}

impl Screen {
    pub(super) fn new(place: Option<Place>) -> Screen {
        Screen { place, ..Screen::default() }
    }

    /// Where the line is, if there is a place for one.
    pub(super) fn place(&self) -> Option<Place> {
        self.place
    }

    /// What was shown is over.
    pub(super) fn end_scene(&mut self) {
        self.clear();
        // Else it follows a line of ours.
        self.begins_a_row = self.place.is_some_and(|place| place.is_quiet);
        self.is_restored = false;
    }

    /// Takes the line away and gives the terminal back, for whoever uses it next.
    fn clear(&mut self) {
        self.listening = Listening::NotYet;
        self.is_timed = false;
        if let Some(line) = &self.line {
            line.erase();
        }
    }

    /// Waits for a key, or until the line says something else: then there is no input.
    pub(super) async fn next(&mut self) -> Option<Input> {
        tokio::select! {
            biased;
            key = pressed(&mut self.listening) => match key {
                b'r' | b'R' | b'\n' | b'\r' => Some(Input::RetryNow),
                b'q' | b'Q' => Some(Input::Stop),
                _ => None,
            },
            () = rings(self.alarm.as_ref().filter(|_| self.is_timed)) => {
                self.is_timed = false;
                None
            }
        }
    }

    /// Others write, and may leave a row unfinished.
    pub(super) fn begins_a_row(&mut self) {
        self.begins_a_row = true;
    }

    /// A line of ours was the last that was written.
    pub(super) fn follows_our_line(&mut self) {
        self.begins_a_row = false;
    }

    /// We were stopped: whoever had the terminal meanwhile has written to it, and may not have given it back yet.
    pub(super) fn continued(&mut self) {
        if let Some(line) = &self.line {
            line.forget();
        }
        self.was_continued = true;
    }

    fn change_after(&mut self, after: Duration) {
        if self.alarm.is_none() {
            self.alarm = Alarm::new().ok();
        }
        if let Some(alarm) = &self.alarm {
            alarm.set(after);
            self.is_timed = true;
        }
    }

    fn write(&mut self, text: String) {
        let Some(line) = &self.line else { return };
        if text.is_empty() {
            line.erase();
        } else if text != self.text || !line.is_shown() {
            if std::mem::take(&mut self.begins_a_row) {
                line.begin_a_row();
            }
            line.show(&text, width(&text));
            self.text = text;
        }
    }
}

impl Driver {
    /// Shows how things stand.
    pub(super) fn show(&mut self, place: Place, scene: Scene) {
        if self.screen.line.is_none() && !matches!(scene, Scene::Nothing) {
            self.screen.line = Line::open(place);
        }
        match scene {
            Scene::Nothing => self.screen.clear(),
            Scene::Keys => self.hear_keys(),
            Scene::Wait { remaining } => self.show_wait(remaining),
            Scene::Attempt { number, age } => self.show_attempt(number, age),
        }
    }

    /// What there is to show now.
    pub(super) fn scene(&self, place: Place) -> Scene {
        let now = self.clock.now();
        let last = self.run.history().last_attempt();
        if self.child.is_some() {
            return match last.filter(|last| last.elapsed.is_none()) {
                // What it writes to the terminal is the terminal's.
                Some(last) if place.terminal == Where::Controlling => {
                    let of = |stamp: Timestamp| stamp.as_duration();
                    let began =
                        of(last.started_at).saturating_sub(of(self.run.history().started_at));
                    let age = now.elapsed.saturating_sub(began);
                    Scene::Attempt { number: last.attempt, age }
                }
                Some(_) | None => Scene::Nothing,
            };
        }
        let is_long = last.and_then(|last| last.next_delay).is_some_and(|delay| delay >= SHORT);
        match self.run.wakeup() {
            // What hooks print comes to the same terminal, and what others behind us in a pipeline do; and so does what an attempt
            // left behind.
            Some((_, Why::Delay)) if is_long && self.others_may_write() => Scene::Keys,
            Some((at, why @ Why::Delay)) if is_long => {
                Scene::Wait { remaining: remaining(now, at, why) }
            }
            Some(_) | None => Scene::Nothing,
        }
    }

    fn others_may_write(&self) -> bool {
        let last = self.run.history().last_attempt();
        self.hooks.are_running()
            || keys::may_be_others()
            || last.is_some_and(|last| last.leftovers > 0)
    }

    fn hear_keys(&mut self) {
        if !self.screen.line.as_ref().is_some_and(Line::is_ours) {
            return self.screen.clear();
        }
        if let Some(line) = &self.screen.line {
            line.erase();
        }
        self.screen.is_timed = false;
        self.listen();
    }

    fn show_wait(&mut self, remaining: Duration) {
        let was_continued = std::mem::take(&mut self.screen.was_continued);
        if !self.screen.line.as_ref().is_some_and(Line::is_ours) {
            self.screen.clear();
            if was_continued {
                // Shells that continue us before they put us into the foreground.
                self.screen.change_after(LOOK);
            }
            return;
        }
        self.listen();
        let takes_keys = matches!(self.screen.listening, Listening::To(_));
        let is_read = !takes_keys && self.is_read_by_others();
        let screen = &mut self.screen;
        let Some(line) = &screen.line else { return };
        if is_read {
            // A pager has the screen.
            line.forget();
            return screen.change_after(LOOK);
        }
        let room = Room { columns: line.columns(), takes_keys };
        screen.write(live::waiting(self.run.history(), remaining, room));
        screen.change_after(live::until_change(remaining));
    }

    fn show_attempt(&mut self, number: u64, age: Duration) {
        let is_read = self.is_read_by_others();
        let screen = &mut self.screen;
        let Some(line) = &screen.line else { return };
        if !line.is_ours() {
            line.forget();
            return screen.change_after(LOOK);
        }
        if is_read {
            // A password is asked for, maybe in the line's own row.
            line.give_way();
        } else if age >= TURN {
            let room = Room { columns: line.columns(), takes_keys: false };
            let turn = age.as_millis() / TURN.as_millis();
            screen.write(live::attempting(number, self.run.history(), age, turn, room));
        }
        screen.change_after(TURN);
    }

    /// Whether what is typed is not shown, as it was when we began: then somebody asks for a password, or reads keys. A pager may
    /// have begun before us.
    fn is_read_by_others(&self) -> bool {
        let echoes = self.screen.line.as_ref().is_some_and(Line::echoes);
        let echoed = || self.terminal.as_ref().is_some_and(Terminal::echoed);
        !echoes && (echoed() || keys::may_be_others())
    }

    /// Hears keys from now on, where there are any for us.
    fn listen(&mut self) {
        if let Listening::To(keys) = &self.screen.listening
            && !keys.are_heard()
        {
            // We were stopped meanwhile.
            self.screen.listening = Listening::NotYet;
        }
        if !matches!(self.screen.listening, Listening::NotYet) {
            return;
        }
        self.screen.listening = Listening::Not;
        if self.streams.stdin.is_replayed() || !keys::are_ours() {
            return;
        }
        // What the attempt has changed is nothing for those who press keys; what they change themselves, as we are stopped, stays.
        if !std::mem::replace(&mut self.screen.is_restored, true)
            && let Some(terminal) = &self.terminal
        {
            terminal.restore(&self.tree);
        }
        if let Some(keys) = Keys::listen() {
            self.screen.listening = Listening::To(keys);
        }
    }
}

async fn pressed(listening: &mut Listening) -> u8 {
    match listening {
        Listening::To(keys) => keys.pressed().await,
        Listening::NotYet | Listening::Not => pending().await,
    }
}

async fn rings(alarm: Option<&Alarm>) {
    match alarm {
        Some(alarm) => alarm.rings().await,
        None => pending().await,
    }
}
