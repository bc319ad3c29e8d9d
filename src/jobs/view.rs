//! What `--jobs --watch` shows, and what keys do to it: the list, the history of one run, and a question before one is stopped.
//!
//! It asks nobody for anything itself.

use std::mem;

use super::list::{Listed, Standing};
use super::table::within;
use crate::config::name::Name;
use crate::engine::time::Timestamp;
use crate::report::columns::{cut, width};
use crate::unix::screen::{Key, Size};

/// What keys do, from wordy to short.
const KEYS: [&str; 2] =
    ["Enter: history  r: retry now  s: stop  q: quit", "Enter r(etry) s(top) q(uit)"];

/// The same beside a history.
const KEYS_OF_A_HISTORY: [&str; 2] = ["Up, Down: scroll  q: back to the list", "q: back"];

/// With fewer lines than these there is no title above the list, and no headings.
const LOW: usize = 6;

/// The view.
#[derive(Debug, Default)]
pub struct View {
    /// The runs, those first that have not ended.
    runs: Vec<Listed>,
    /// The one that is selected.
    selected: Option<Name>,
    /// How many rows are above those that are shown.
    above: usize,
    shown: Shown,
    /// What came of the last wish.
    note: Option<String>,
}

/// What is shown.
#[derive(Debug, Default)]
enum Shown {
    /// The list.
    #[default]
    List,
    /// The list, and the question whether a run is to be stopped.
    Question(Name),
    /// The history of a run.
    History {
        /// Whose.
        name: Name,
        /// Its lines.
        lines: Vec<String>,
        /// How many of them are above those that are shown.
        above: usize,
    },
}

/// What somebody wants who pressed a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but to look.
    Look,
    /// The history of a run.
    History(Name),
    /// The next attempt of a run.
    Retry(Name),
    /// The end of a run.
    Stop(Name),
    /// No more.
    Quit,
}

impl View {
    /// Takes the runs as they are now.
    pub fn update(&mut self, mut runs: Vec<Listed>) {
        runs.sort_by_key(|run| run.state == Standing::Ended);
        // One that is gone leaves its place to the next.
        let place = self.place();
        self.runs = runs;
        if self.index().is_none() {
            self.select(place);
        }
    }

    /// The run whose history is shown.
    #[must_use]
    pub fn history_of(&self) -> Option<&Name> {
        match &self.shown {
            Shown::History { name, .. } => Some(name),
            Shown::List | Shown::Question(_) => None,
        }
    }

    /// Shows the history of a run, as it is now.
    pub fn show_history(&mut self, name: Name, text: &str) {
        let lines = text.lines().map(str::to_owned).collect();
        let above = match &self.shown {
            Shown::History { name: shown, above, .. } if *shown == name => *above,
            Shown::History { .. } | Shown::List | Shown::Question(_) => 0,
        };
        self.shown = Shown::History { name, lines, above };
    }

    /// Says what came of a wish.
    pub fn note(&mut self, note: String) {
        self.note = Some(note);
    }

    /// A key was pressed.
    pub fn press(&mut self, key: Key, size: Size) -> Wish {
        self.note = None;
        match mem::take(&mut self.shown) {
            Shown::List => self.press_in_list(key, size),
            // Whatever is not a yes is a no.
            Shown::Question(name) if key == Key::Character(b'y') => Wish::Stop(name),
            Shown::Question(_) => Wish::Look,
            Shown::History { name, lines, above } => {
                if matches!(key, Key::Escape | Key::Enter | Key::Character(b'q')) {
                    return Wish::Look;
                }
                let page = page(size);
                let last = lines.len().saturating_sub(page);
                let above = moved(above, key, page).min(last);
                self.shown = Shown::History { name, lines, above };
                Wish::Look
            }
        }
    }

    fn press_in_list(&mut self, key: Key, size: Size) -> Wish {
        let selected = || self.selected.clone();
        match key {
            Key::Character(b'q') => return Wish::Quit,
            Key::Character(b'r') => return selected().map_or(Wish::Look, Wish::Retry),
            Key::Character(b's') => {
                self.shown = selected().map_or(Shown::List, Shown::Question);
            }
            Key::Enter => return selected().map_or(Wish::Look, Wish::History),
            Key::Up
            | Key::Down
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Escape
            | Key::Character(_) => {
                let place = moved(self.place(), key, page(size));
                self.select(place);
            }
        }
        Wish::Look
    }

    fn index(&self) -> Option<usize> {
        self.runs.iter().position(|run| Some(&run.job) == self.selected.as_ref())
    }

    /// The row of the selected run.
    fn place(&self) -> usize {
        self.index().unwrap_or(0)
    }

    /// Selects a row, or the nearest that there is.
    fn select(&mut self, place: usize) {
        let last = self.runs.len().saturating_sub(1);
        self.selected = self.runs.get(place.min(last)).map(|run| run.job.clone());
    }

    /// The lines, and which of them is marked.
    pub fn draw(&mut self, size: Size, now: Timestamp) -> Vec<(String, bool)> {
        let page = page(size);
        let mut lines = match &self.shown {
            Shown::History { name, lines, above } => {
                let shown = lines.iter().skip(*above).take(page + 1);
                let title = (format!("the run {name}"), false);
                [title].into_iter().chain(shown.map(|line| (line.clone(), false))).collect()
            }
            Shown::List | Shown::Question(_) => self.draw_list(size, page, now),
        };
        lines.truncate(size.rows.saturating_sub(1));
        lines.resize(size.rows.saturating_sub(1), (String::new(), false));
        lines.push((self.last_line(size.columns), false));
        // The last column stays free: whoever writes there does not know where the cursor is.
        let columns = size.columns.saturating_sub(1);
        for (line, is_marked) in &mut lines {
            *line = cut(line, columns);
            if *is_marked {
                line.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(line))));
            }
        }
        lines
    }

    fn draw_list(&mut self, size: Size, page: usize, now: Timestamp) -> Vec<(String, bool)> {
        let place = self.place();
        // The selected one is always to be seen.
        let last = self.runs.len().saturating_sub(page);
        self.above = self.above.min(place).max((place + 1).saturating_sub(page)).min(last);
        // A mark before each, since not every terminal has another for it.
        let mut table = within(size.columns.saturating_sub(3), &self.runs, now).into_iter();
        let headings = table.next().unwrap_or_default();
        let mut lines = match is_low(size) {
            true => Vec::new(),
            false => vec![(self.title(), false), (format!("  {headings}"), false)],
        };
        let rows = table.enumerate().skip(self.above).take(page);
        lines.extend(rows.map(|(index, row)| match index == place {
            true => (format!("> {row}"), true),
            false => (format!("  {row}"), false),
        }));
        lines
    }

    fn title(&self) -> String {
        let counts = [Standing::Running, Standing::Waiting, Standing::Dead, Standing::Ended]
            .map(|state| (state, self.runs.iter().filter(|run| run.state == state).count()));
        let counts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        match counts.as_slice() {
            [] => "no named runs".to_owned(),
            counts => format!("named runs: {}", counts.join(", ")),
        }
    }

    fn last_line(&self, columns: usize) -> String {
        let [wordy, short] = match &self.shown {
            Shown::Question(name) => return format!("stop {name}? y: yes"),
            Shown::List | Shown::History { .. } if self.note.is_some() => {
                return self.note.clone().unwrap_or_default();
            }
            Shown::List => KEYS,
            Shown::History { .. } => KEYS_OF_A_HISTORY,
        };
        if wordy.len() < columns { wordy } else { short }.to_owned()
    }
}

/// How many rows there is room for, beside the title, the headings and what keys do.
fn page(size: Size) -> usize {
    let others = if is_low(size) { 1 } else { 3 };
    size.rows.saturating_sub(others).max(1)
}

fn is_low(size: Size) -> bool {
    size.rows < LOW
}

/// Where a key leads from a place.
fn moved(place: usize, key: Key, page: usize) -> usize {
    match key {
        Key::Up | Key::Character(b'k') => place.saturating_sub(1),
        Key::Down | Key::Character(b'j') => place.saturating_add(1),
        Key::PageUp => place.saturating_sub(page),
        Key::PageDown => place.saturating_add(page),
        Key::Home | Key::Character(b'g') => 0,
        Key::End | Key::Character(b'G') => usize::MAX,
        Key::Enter | Key::Escape | Key::Character(_) => place,
    }
}
