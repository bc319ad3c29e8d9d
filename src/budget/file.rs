//! A budget in a file of the state folder, for all runs of a user on this machine.
//!
//! The file has two places for the bucket, written by turns: what is cut off in the middle of one leaves the other. So it is never
//! replaced, needs no more room on the disk once it is there, and is its own lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::bucket::{Bucket, Moment, Numbers};
use super::{Change, Changed, nanos};
use crate::error::reason;
use crate::unix::clock;
use crate::unix::private::PrivateFolder;

/// How long a place is: a sector, which disks write whole or not at all.
const PLACE: usize = 512;

/// What each place begins with.
const MAGIC: &str = "retryrun.budget/1";

/// The folder of budgets in the state folder.
const FOLDER: &str = "budgets";

/// The file of a budget.
#[derive(Clone, Debug)]
pub(super) struct BudgetFile {
    state: PathBuf,
    name: String,
}

impl BudgetFile {
    /// A budget in the state folder. That it can be written, also when the disk is full later, is known from then on.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn open(state: PathBuf, name: &str, numbers: Numbers) -> io::Result<BudgetFile> {
        let budget = BudgetFile { state, name: name.to_owned() };
        let (folder, file) = budget.file()?;
        // Whoever holds the lock is writing it just now.
        if file.metadata()?.len() < 2 * PLACE as u64 && file.try_lock().is_ok() {
            // Another may have come first.
            if file.metadata()?.len() == 0 {
                let bucket = Bucket::full(numbers, now());
                for count in 0..2 {
                    write(&file, &Kept { count, bucket })?;
                }
                folder.sync()?;
            }
            file.unlock()?;
        }
        Ok(budget)
    }

    /// Where it is.
    #[must_use]
    pub(super) fn path(&self) -> PathBuf {
        self.state.join(FOLDER).join(&self.name)
    }

    /// Opened anew each time: somebody may have removed it.
    fn file(&self) -> io::Result<(PrivateFolder, File)> {
        let folder = PrivateFolder::make(&self.state)?.folder(FOLDER)?;
        let file = folder.file(&self.name)?;
        Ok((folder, file))
    }

    /// Changes what is in it; from now on `numbers` hold. Waits for all others.
    ///
    /// # Errors
    /// It cannot be read or written; then it is as it was.
    pub(super) fn change(&self, numbers: Numbers, change: Change) -> io::Result<Changed> {
        let (_, file) = self.file()?;
        let unlocked = lock(&file)?;
        // Not before the lock: whoever had it until now has written a later moment.
        let now = now();
        let (kept, is_damaged) = read(&file)?;
        let (count, mut bucket) = match kept {
            Some(Kept { count, bucket }) => (count, bucket.later(numbers, now)),
            None => (0, Bucket::full(numbers, now)),
        };
        let granted = change.apply(&mut bucket);
        write(&file, &Kept { count: count.wrapping_add(1), bucket })?;
        file.unlock().or_else(|error| if unlocked.is_some() { Ok(()) } else { Err(error) })?;
        if granted {
            // Others need not wait for it, and a disk that cannot do it still has the token.
            let _in_memory = file.sync_data();
        }
        let damaged =
            is_damaged.then(|| "it was damaged, and begins anew as a full one".to_owned());
        Ok(Changed { granted, bucket: Some(bucket), flaw: damaged.or(unlocked) })
    }
}

/// Now, by all clocks that there are.
pub(super) fn now() -> Moment {
    Moment {
        calendar: nanos(clock::calendar()),
        boot: clock::boot().unwrap_or_default(),
        since_boot: nanos(clock::since_boot()),
    }
}

/// Waits for the lock. A file system that has none is said, and used without.
fn lock(file: &File) -> io::Result<Option<String>> {
    match file.lock() {
        Ok(()) => Ok(None),
        Err(error) if has_no_locks(&error) => {
            let reason = reason(&error);
            Ok(Some(format!(
                "it cannot be locked ({reason}): runs at the same time may take too much"
            )))
        }
        Err(error) => Err(error),
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::ENOTSUP | libc::ENOSYS))
}

/// A bucket in its place.
struct Kept {
    /// How many were written before.
    count: u64,
    bucket: Bucket,
}

/// The bucket that was written last, if there is one; and whether what is there says nothing.
fn read(file: &File) -> io::Result<(Option<Kept>, bool)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 2 * PLACE];
    while bytes.len() < buffer.len() {
        match file.read_at(&mut buffer, bytes.len() as u64)? {
            0 => break,
            read => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    let kept = bytes.chunks(PLACE).filter_map(parse).max_by_key(|kept| kept.count);
    let is_damaged = kept.is_none() && !bytes.is_empty();
    Ok((kept, is_damaged))
}

fn write(file: &File, kept: &Kept) -> io::Result<()> {
    let text = format!("{MAGIC} {} {}", kept.count, kept.bucket);
    let line = format!("{text} {:016x}", checksum(&text));
    // Lines for people: a place ends in a newline.
    let place = format!("{line:<width$}\n", width = PLACE - 1);
    let offset = if kept.count.is_multiple_of(2) { 0 } else { PLACE as u64 };
    file.write_all_at(place.as_bytes(), offset)
}

fn parse(place: &[u8]) -> Option<Kept> {
    let text = std::str::from_utf8(place).ok()?.trim_end_matches(['\n', ' ']);
    let (text, sum) = text.rsplit_once(' ')?;
    if u64::from_str_radix(sum, 16).ok()? != checksum(text) {
        return None;
    }
    let (count, bucket) = text.strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
    Some(Kept { count: count.parse().ok()?, bucket: bucket.parse().ok()? })
}

/// FNV-1a, by the Internet draft draft-eastlake-fnv: it finds what a power cut or a bad disk does.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn numbers() -> Numbers {
        Numbers::new(5, 3_600_000_000_000).expect("numbers that may be")
    }

    fn take(budget: &BudgetFile) -> bool {
        budget.change(numbers(), Change::Take).expect("it can be written").granted
    }

    fn taken(budget: &BudgetFile) -> usize {
        (0..10).filter(|_| take(budget)).count()
    }

    fn open(folder: &Path) -> BudgetFile {
        BudgetFile::open(folder.join("state/retryrun"), "x", numbers()).expect("a new file")
    }

    #[test]
    fn what_is_taken_is_taken_for_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (open(folder.path()), open(folder.path()));
        assert!(take(&one) && take(&other) && take(&one));
        assert_eq!((taken(&other), taken(&one)), (2, 0));
        let back = one.change(numbers(), Change::PutBack(100)).expect("it can be written");
        assert!(back.flaw.is_none());
        assert_eq!(taken(&other), 1);
    }

    #[test]
    fn a_file_that_is_cut_anywhere_has_the_old_state_the_new_one_or_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let budget = open(folder.path());
        assert!(take(&budget) && take(&budget));
        let whole = fs::read(budget.path()).expect("it is there");
        assert_eq!(whole.len(), 2 * PLACE);
        for length in 0..whole.len() {
            fs::write(budget.path(), &whole[..length]).expect("a cut file");
            let changed = budget.change(numbers(), Change::Take).expect("it can be written");
            let left = taken(&budget);
            // A place is whole when all of it but blanks is there; the second one was written last.
            let is_whole = |place: &[u8]| place.iter().all(u8::is_ascii_whitespace);
            let has_first = is_whole(&whole[length.min(PLACE)..PLACE]);
            let has_second = is_whole(&whole[length.max(PLACE)..]);
            let expected = match (has_first, has_second) {
                (true, true) => 2,
                (true, false) => 3,
                (false, _) => 4,
            };
            assert_eq!(left, expected, "cut to {length} bytes");
            assert_eq!(changed.flaw.is_some(), length > 0 && !has_first, "cut to {length} bytes");
        }
    }

    #[test]
    fn a_place_that_is_torn_leaves_the_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let budget = open(folder.path());
        assert!(take(&budget) && take(&budget));
        let whole = fs::read(budget.path()).expect("it is there");
        // The second one was written last.
        for (place, left) in [(0, 3), (PLACE, 4)] {
            for offset in 0..PLACE - 1 {
                let mut torn = whole.clone();
                torn[place + offset] ^= 1;
                fs::write(budget.path(), &torn).expect("a torn file");
                let changed = budget.change(numbers(), Change::PutBack(0)).expect("it is written");
                assert!(changed.flaw.is_none(), "the other place is whole");
                assert_eq!(taken(&budget), left, "torn at {}", place + offset);
            }
        }
    }

    #[test]
    fn a_damaged_file_begins_anew_and_then_keeps_to_the_law() {
        let folder = tempfile::tempdir().expect("a folder");
        let budget = open(folder.path());
        for damage in [&b"nonsense"[..], &[0; 2 * PLACE], &[0xff; 3 * PLACE]] {
            fs::write(budget.path(), damage).expect("a damaged file");
            let changed = budget.change(numbers(), Change::Take).expect("it can be written");
            let flaw = changed.flaw.expect("it is damaged");
            assert!(changed.granted && flaw.contains("it was damaged"), "{flaw}");
            assert_eq!(taken(&budget), 4);
        }
    }

    #[test]
    fn a_file_that_was_removed_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let budget = open(folder.path());
        assert_eq!(taken(&budget), 5);
        fs::remove_dir_all(folder.path().join("state")).expect("it was there");
        assert_eq!(taken(&budget), 5);
    }
}
