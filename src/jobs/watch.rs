//! `--jobs --watch`: the named runs on the whole screen, as they are each second, and what keys ask of them.

use std::time::Duration;

use super::answer::{self, find};
use super::control::{self, Request};
use super::folder::State;
use super::list::list;
use super::masked;
use super::view::{View, Wish};
use crate::config::name::Name;
use crate::engine::exit::Exit;
use crate::engine::time::Time;
use crate::error::Error;
use crate::unix::clock::{Clock, timestamp};
use crate::unix::screen::{Happened, Screen};

/// How often the runs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When they are looked at after something was asked of one: it needs a moment to do so.
const LOOK_SOON: Duration = Duration::from_millis(100);

/// Watches until somebody has seen enough.
///
/// # Errors
/// The state cannot be read, or the terminal not be used.
pub fn watch(state: &State, mask: &dyn Fn(&str) -> String) -> Result<Exit, Error> {
    let fail = |source| Error::System { action: "use the terminal", source };
    let mut watch = Watch { state, mask, view: View::default() };
    watch.look()?;
    let mut screen = Screen::open().map_err(fail)?;
    let clock = Clock::start(Time::default());
    let mut due = LOOK_EVERY;
    loop {
        let size = screen.size();
        screen.draw(&watch.view.draw(size, timestamp()));
        let within = due.saturating_sub(clock.now().elapsed);
        match screen.next(within).map_err(fail)? {
            Happened::Told(signal) => return Ok(Exit::Signal(signal)),
            Happened::Disturbed => {}
            Happened::Nothing => {
                watch.look()?;
                due = clock.now().elapsed.saturating_add(LOOK_EVERY);
            }
            Happened::Pressed(key) => match watch.view.press(key, size) {
                Wish::Quit => return Ok(Exit::Code(0)),
                Wish::Look => {}
                Wish::History(name) => watch.show(name),
                Wish::Retry(name) => {
                    watch.ask(&name, Request::Retry);
                    due = clock.now().elapsed.saturating_add(LOOK_SOON);
                }
                Wish::Stop(name) => {
                    watch.ask(&name, Request::Stop);
                    due = clock.now().elapsed.saturating_add(LOOK_SOON);
                }
            },
        }
    }
}

struct Watch<'a> {
    state: &'a State,
    mask: &'a dyn Fn(&str) -> String,
    view: View,
}

impl Watch<'_> {
    fn look(&mut self) -> Result<(), Error> {
        let mut runs = list(self.state)?.listed;
        runs.iter_mut().for_each(|run| masked::listed(run, self.mask));
        self.view.update(runs);
        if let Some(name) = self.view.history_of().cloned() {
            self.show(name);
        }
        Ok(())
    }

    fn show(&mut self, name: Name) {
        match answer::show(self.state, &name, true, self.mask) {
            Ok(text) => self.view.show_history(name, &text),
            Err(error) => self.view.note((self.mask)(&error.to_string())),
        }
    }

    fn ask(&mut self, name: &Name, request: Request) {
        let asked = find(self.state, name).and_then(|(folder, _)| {
            let fail = |source| Error::Job { name: name.to_string(), source };
            match folder.is_owned() && control::ask(&folder, request).map_err(fail)? {
                true => Ok(()),
                false => Err(Error::NotRunning(name.to_string())),
            }
        });
        match asked {
            Ok(()) => self.view.note(format!("asked {name} to {request}")),
            Err(error) => self.view.note(error.to_string()),
        }
    }
}
