//! The budget that a run shares with others: asked of a store, or of a file where there is none or it is silent.
//!
//! What an answer means for the run is the engine's.

mod bucket;
mod file;
mod redis;

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::store::Store;
use crate::config::{Sharing, budget};
use crate::engine::{Refund, Token};
use crate::error::{Error, reason};
use crate::unix::aside::Aside;
use bucket::{Bucket, Numbers};
use file::BudgetFile;
use redis::Redis;

/// How long a store may take to answer, in all; and how long the end of a run waits for what it puts back.
const BRIEF: Duration = Duration::from_millis(500);

/// How long we wait for a file that others use. Whoever has it has it for a moment, unless somebody stopped him in that.
const LONG: Duration = Duration::from_secs(30);

/// What is to be done with a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Take a token.
    Take,
    /// Put back so many hundredths of one.
    PutBack(u8),
}

/// What a change came to.
#[derive(Debug)]
struct Changed {
    /// Whether there was a token, where one was to be taken.
    granted: bool,
    /// The bucket, where it can be seen.
    bucket: Option<Bucket>,
    /// What was wrong, though it was done.
    flaw: Option<String>,
}

/// Where a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// On a server, for all machines.
    Store,
    /// In a file, for this machine.
    File,
    /// Here, for this run alone.
    Own,
}

/// What is said, and once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failure(Source),
    Flaw,
}

/// A change that is being made aside: what it comes to, or why it cannot be made.
type Changing = Aside<Result<Changed, String>>;

/// What a budget says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the retry is paid for.
    pub token: Token,
    /// What is to be said of how that came about.
    pub said: Vec<String>,
}

/// The budget of a run.
pub struct Budget {
    numbers: Numbers,
    percent: u8,
    /// The store, and what it is called.
    store: Option<(Redis, String)>,
    /// None where the run ends without the store.
    file: Option<BudgetFile>,
    is_strict: bool,
    /// What was last seen of the file: where that fails, the run goes on from there.
    own: Option<Bucket>,
    /// Where the last token came from.
    source: Source,
    /// Whether somebody is to be asked.
    is_wanted: bool,
    asking: Option<(Source, Changing)>,
    token: Option<Token>,
    /// Who was asked and did not answer in time.
    late: Vec<(Source, Changing)>,
    returning: Option<Changing>,
    said: Vec<String>,
    has_said: Vec<Kind>,
}

/// Checks what is said of a store, also where no budget needs it.
///
/// # Errors
/// It cannot be read.
pub fn check(sharing: &Sharing) -> Result<(), Error> {
    let Some((store, origin)) = &sharing.store else { return Ok(()) };
    store.address().map(|_| ()).map_err(|expected| unusable(store, origin, expected))
}

/// The value is not quoted: there may be a password in it.
fn unusable(store: &Store, origin: &str, expected: &str) -> Error {
    Error::Usage(format!("budget_store ({origin}): invalid value `{store}`: {expected}"))
}

/// The store that is named, and what it is called.
fn store_of(sharing: &Sharing, name: &str) -> Result<Option<(Redis, String)>, Error> {
    let Some((store, origin)) = &sharing.store else { return Ok(None) };
    let address = store.address().map_err(|expected| unusable(store, origin, expected))?;
    let lacks = |feature| {
        Error::Usage(format!(
            "budget_store ({origin}): {store}: this program was built without the cargo feature `{feature}`"
        ))
    };
    Ok(Some((Redis::new(address.clone(), name).map_err(lacks)?, store.to_string())))
}

impl Budget {
    /// The budget of a run, if it shares one. What is kept on this machine is in the state folder.
    ///
    /// # Errors
    /// There is no such folder, it cannot be written, or the program lacks the feature that knows the store.
    pub fn open(sharing: &Sharing, state: Option<PathBuf>) -> Result<Option<Budget>, Error> {
        let Some(budget) = &sharing.budget else { return Ok(None) };
        let budget::Budget { name, retries, period, percent, .. } = budget;
        let too_large = || Error::Usage(format!("budget: `{budget}`: expected smaller numbers"));
        let numbers = Numbers::new((*retries).into(), period.as_nanos()).ok_or_else(too_large)?;
        let store = store_of(sharing, name.as_str())?;
        let is_needed = store.is_none() || !sharing.strict;
        let file = match state {
            _ if !is_needed => None,
            Some(state) => {
                let path = state.clone();
                let fail = |source| Error::File { action: "keep a budget in", path, source };
                Some(BudgetFile::open(state, name.as_str(), numbers).map_err(fail)?)
            }
            None => {
                let nowhere = "budget: nothing says where to keep it: set HOME or XDG_STATE_HOME";
                return Err(Error::Usage(nowhere.to_owned()));
            }
        };
        Ok(Some(Budget {
            numbers,
            percent: *percent,
            store,
            file,
            is_strict: sharing.strict,
            own: None,
            source: Source::Own,
            is_wanted: false,
            asking: None,
            token: None,
            late: Vec::new(),
            returning: None,
            said: Vec::new(),
            has_said: Vec::new(),
        }))
    }

    /// Begins to ask for a token.
    pub fn take(&mut self) {
        self.is_wanted = true;
    }

    /// Waits for the answer to what was asked; for ever if nothing was. May be cancelled and called again.
    pub async fn answer(&mut self) -> Answer {
        loop {
            if let Some(token) = self.token.take() {
                return Answer { token, said: std::mem::take(&mut self.said) };
            }
            if self.is_wanted {
                // What an attempt by hand gave back is there first: it may be the last token.
                self.settled().await;
                self.is_wanted = false;
                self.ask(if self.store.is_some() { Source::Store } else { Source::File });
                continue;
            }
            let Some((_, changing)) = &mut self.asking else { return pending().await };
            let changed = changing.result().await;
            let Some((source, changing)) = self.asking.take() else { continue };
            match changed {
                Some(Ok(changed)) => self.changed(source, changed),
                Some(Err(why)) => self.failed(source, &why),
                None => {
                    self.late.push((source, changing));
                    self.failed(source, "it does not answer in time");
                }
            }
        }
    }

    fn ask(&mut self, source: Source) {
        self.late.retain(|(_, changing)| changing.goes_on());
        if self.late.iter().any(|(late, _)| *late == source) {
            return self.failed(source, "it still does not answer");
        }
        let limit = if source == Source::Store { BRIEF } else { LONG };
        match self.start(source, Change::Take, limit) {
            Ok(Some(changing)) => self.asking = Some((source, changing)),
            Ok(None) => self.token = Some(Token::Unreachable),
            Err(error) => self.failed(source, &reason(&error)),
        }
    }

    /// Begins a change aside, where there is such a bucket.
    fn start(
        &self,
        source: Source,
        change: Change,
        limit: Duration,
    ) -> io::Result<Option<Changing>> {
        let numbers = self.numbers;
        let work: Box<dyn FnOnce() -> Result<Changed, String> + Send> =
            match (source, &self.store, &self.file) {
                (Source::Store, Some((redis, _)), _) => {
                    let redis = redis.clone();
                    Box::new(move || redis.change(numbers, change))
                }
                (Source::File, _, Some(file)) => {
                    let file = file.clone();
                    Box::new(move || file.change(numbers, change).map_err(|error| reason(&error)))
                }
                (Source::Store | Source::File | Source::Own, ..) => return Ok(None),
            };
        Aside::start(limit, work).map(Some)
    }

    fn changed(&mut self, source: Source, changed: Changed) {
        let Changed { granted, bucket, flaw } = changed;
        self.own = bucket.or(self.own);
        if let Some(flaw) = flaw {
            let name = self.name_of(source);
            self.say(Kind::Flaw, format!("{name}: {flaw}"));
        }
        self.answered(granted, source);
    }

    fn answered(&mut self, granted: bool, source: Source) {
        self.source = source;
        self.token = Some(if granted { Token::Granted } else { Token::Refused });
    }

    /// What was asked does not answer. Something else serves in its place, since to end the run would lose a user's work, who may
    /// want just that.
    fn failed(&mut self, source: Source, why: &str) {
        let name = self.name_of(source);
        let (what, so) = match source {
            Source::Store => ("cannot be reached", "this machine's budget serves in its place"),
            Source::File | Source::Own => {
                ("cannot be used", "this run goes on with one of its own")
            }
        };
        let so = if self.is_strict { String::new() } else { format!("; {so}") };
        self.say(Kind::Failure(source), format!("{name} {what}: {why}{so}"));
        match source {
            _ if self.is_strict => self.token = Some(Token::Unreachable),
            Source::Store => self.ask(Source::File),
            Source::File | Source::Own => {
                let now = file::now();
                let full = || Bucket::full(self.numbers, now);
                let mut bucket = self.own.map_or_else(full, |own| own.later(self.numbers, now));
                let granted = bucket.take();
                self.own = Some(bucket);
                self.answered(granted, Source::Own);
            }
        }
    }

    fn name_of(&self, source: Source) -> String {
        match (source, &self.store, &self.file) {
            (Source::Store, Some((_, name)), _) => format!("the store {name}"),
            (Source::File, _, Some(file)) => format!("the budget in {}", file.path().display()),
            (Source::Store | Source::File | Source::Own, ..) => "the budget".to_owned(),
        }
    }

    fn say(&mut self, kind: Kind, text: String) {
        if !self.has_said.contains(&kind) {
            self.has_said.push(kind);
            self.said.push(text);
        }
    }

    /// Begins to put something back. Where that fails it is lost, which takes nothing from anybody.
    pub fn put_back(&mut self, refund: Refund) {
        let (percent, to) = match refund {
            Refund::Token => (100, self.source),
            Refund::Share if self.store.is_some() => (self.percent, Source::Store),
            Refund::Share => (self.percent, Source::File),
        };
        if let (Source::Own, Some(own)) = (to, &mut self.own) {
            own.put_back(percent);
        } else if percent > 0 {
            self.returning = self.start(to, Change::PutBack(percent), BRIEF).ok().flatten();
        }
    }

    /// Waits until what was put back is there, but not for long.
    pub async fn settled(&mut self) {
        if let Some(returning) = &mut self.returning {
            let _lost = returning.result().await;
            self.returning = None;
        }
    }
}

impl Change {
    /// Does it. Whether there was a token, where one is taken.
    fn apply(self, bucket: &mut Bucket) -> bool {
        match self {
            Change::Take => bucket.take(),
            Change::PutBack(percent) => {
                bucket.put_back(percent);
                true
            }
        }
    }
}

/// The nanoseconds of a duration; as many as fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
