//! The log of a client's standard output and error: a file of limited size, created at the first byte.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::process::last_words::last_words;

/// The bytes that are kept of a client's output, since a `println!` in a loop must not fill the disk.
pub(crate) const CAP: usize = 1 << 20;

/// The last bytes of the output, in which the last words are found. A backtrace has some ten thousand bytes.
const TAIL: usize = 1 << 16;

/// A log that is written.
#[derive(Debug)]
pub(crate) struct ClientLog {
    path: PathBuf,
    file: Option<File>,
    written: usize,
    tail: VecDeque<u8>,
}

impl ClientLog {
    /// Opens a log at `path`, at the first byte. It is appended to, so that a client that is started again has the same
    /// file.
    pub(crate) fn new(path: PathBuf) -> Self {
        let written = path.metadata().map_or(0, |data| data.len() as usize);
        Self { path, file: None, written, tail: VecDeque::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends output. If the log cannot be written, the run continues without these lines.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        let room = CAP.saturating_sub(self.written);
        if room == 0 {
            return;
        }
        self.append(&bytes[..bytes.len().min(room)]);
        if bytes.len() >= room {
            self.append(format!("\n[fedpipe keeps the first {CAP} bytes]\n").as_bytes());
        }
    }

    /// Returns the bytes that are kept so far. A new log has those of earlier processes.
    pub(crate) fn written(&self) -> u64 {
        self.written as u64
    }

    /// Returns the last lines that tell the reason of the process's end.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        last_words(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.file.is_none() {
            self.file = File::options().create(true).append(true).open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(bytes);
        }
        self.written += bytes.len();
    }
}

/// Returns the last words after the first `start` bytes of a log that is complete; none if there is no log.
pub(crate) fn last_lines_of(path: &Path, start: u64) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(end.saturating_sub(TAIL as u64).max(start)))?;
        let mut bytes = Vec::new();
        file.take(TAIL as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    last_words(&read().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_capped_and_the_end_of_the_output_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("000.log");
        let mut log = ClientLog::new(path.clone());
        for i in 0..200_000 {
            log.take(format!("line {i}\n").as_bytes());
        }
        assert_eq!(log.last_lines(), ["line 199997", "line 199998", "line 199999"]);
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.len() < CAP + 100 && written.ends_with("[fedpipe keeps the first 1048576 bytes]\n"));
        assert_eq!(last_lines_of(&path, 0).last().unwrap(), "[fedpipe keeps the first 1048576 bytes]");
        assert!(last_lines_of(&dir.path().join("001.log"), 0).is_empty());
    }

    #[test]
    fn the_words_of_the_process_before_are_not_those_of_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("000.log");
        ClientLog::new(path.clone()).take(b"thread 'main' panicked at src/lib.rs:1:1:\nof the first\n");
        let mut second = ClientLog::new(path.clone());
        let start = second.written();
        assert!(last_lines_of(&path, start).is_empty());
        second.take(b"of the second\n");
        assert_eq!(last_lines_of(&path, start), ["of the second"]);
    }
}
