//! Bytes that are kept to be read again: in memory, and when they are many in a file that has no name.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// How many are kept in memory.
const IN_MEMORY: usize = 1024 * 1024;

/// Kept bytes: written at the end, read anywhere.
#[derive(Debug, Default)]
pub struct Spool {
    memory: Vec<u8>,
    /// All of them, once there are too many.
    file: Option<File>,
    length: u64,
    limit: Option<u64>,
}

impl Spool {
    /// An empty spool that takes at most `limit` bytes.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Spool {
        Spool { limit, ..Spool::default() }
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether there is room for so many bytes more.
    #[must_use]
    pub fn has_room(&self, length: usize) -> bool {
        let length = self.length.saturating_add(length as u64);
        self.limit.is_none_or(|limit| length <= limit)
    }

    /// Adds bytes at its end, all of them or none.
    ///
    /// # Errors
    /// The limit is reached, or a file is needed and cannot be written; what was there before is kept.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.has_room(bytes.len()) {
            return Err(io::Error::other("it is larger than --spool-limit allows"));
        }
        let length = self.length.saturating_add(bytes.len() as u64);
        if self.file.is_none() && length > IN_MEMORY as u64 {
            let file = tempfile::tempfile()?;
            file.write_all_at(&self.memory, 0)?;
            self.file = Some(file);
            self.memory = Vec::new();
        }
        match &self.file {
            Some(file) => file.write_all_at(bytes, self.length)?,
            None => self.memory.write_all(bytes)?,
        }
        self.length = length;
        Ok(())
    }

    /// The file that holds all of them, and its end, for bytes that the kernel moves; none where memory does.
    #[must_use]
    pub fn file(&self) -> Option<(&File, u64)> {
        Some((self.file.as_ref()?, self.length))
    }

    /// What is behind a place, where memory holds it.
    #[must_use]
    pub fn in_memory(&self, place: u64) -> &[u8] {
        let start = usize::try_from(place).unwrap_or(usize::MAX);
        self.memory.get(start..).unwrap_or_default()
    }

    /// The kernel has moved bytes to the end of the file.
    pub fn note_moved(&mut self, length: usize) {
        self.length = self.length.saturating_add(length as u64);
    }

    /// Reads from a place; 0 at the end.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn read_at(&self, place: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(place)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..length) else { return Ok(0) };
        if let Some(file) = &self.file {
            return file.read_at(buffer, place);
        }
        let bytes = self.in_memory(place).get(..length).unwrap_or_default();
        buffer.copy_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Spool::new(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_wherever_it_is_kept() {
        let mut spool = Spool::new(None);
        let mut expected = Vec::new();
        for round in 0..40u8 {
            let bytes: Vec<u8> = (0..50_000u32).map(|n| (n % 251) as u8 ^ round).collect();
            spool.append(&bytes).expect("there is room");
            expected.extend(bytes);
        }
        assert!(spool.file.is_some() && spool.memory.is_empty());
        assert_eq!(spool.len(), expected.len() as u64);
        for place in [0, 1, 999_999, 1_048_575, 1_999_990] {
            let mut buffer = vec![0; 1000];
            let read = spool.read_at(place as u64, &mut buffer).expect("it can be read");
            let rest = &expected[place..];
            assert_eq!(&buffer[..read], &rest[..read]);
            assert_eq!(read, rest.len().min(1000));
        }
        spool.clear();
        assert!(spool.is_empty() && spool.file.is_none());
    }

    #[test]
    fn more_than_the_limit_is_refused_whole() {
        let mut spool = Spool::new(Some(5));
        spool.append(b"abc").expect("there is room");
        assert!(spool.append(b"def").is_err());
        let mut buffer = [0; 9];
        assert_eq!(spool.read_at(0, &mut buffer).expect("it can be read"), 3);
        assert_eq!(&buffer[..3], b"abc");
    }
}
