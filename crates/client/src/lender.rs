//! The writing end of a client's pipe.

use std::{
    fs::File,
    io::{self, BufWriter, IoSlice, Write},
};

use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, vmsplice},
};

/// Bytes that are lent; fewer are copied as fast.
const LEAST: usize = 64 << 10;

/// A pipe to which weights are lent: it holds their pages until they are read (vmsplice(2)), where a write makes pages, copies
/// into them, and has them given back.
#[derive(Debug)]
pub(crate) struct Lender {
    pipe: BufWriter<File>,
    /// Not where it is no pipe, or the system lacks the call or refuses it.
    lends: bool,
}

impl Lender {
    pub(crate) fn new(pipe: File) -> Self {
        Self { pipe: BufWriter::new(pipe), lends: true }
    }

    /// Writes `bytes`, which must stay as they are, and where they are, until they were read.
    pub(crate) fn lend(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pipe.flush()?;
        let mut rest = bytes;
        while self.lends && rest.len() >= LEAST {
            match vmsplice(self.pipe.get_ref(), &[IoSlice::new(rest)], SpliceFFlags::empty()) {
                Ok(taken) => rest = &rest[taken..],
                Err(Errno::EINTR) => {}
                Err(_) => self.lends = false,
            }
        }
        self.pipe.write_all(rest)?;
        self.pipe.flush()
    }
}

impl Write for Lender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test without threads has failed")]
mod tests {
    use std::{
        io::{PipeReader, Read, Seek},
        os::fd::OwnedFd,
        thread,
    };

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn pipe() -> (PipeReader, Lender) {
        let (reader, writer) = std::io::pipe().unwrap();
        (reader, Lender::new(OwnedFd::from(writer).into()))
    }

    #[test]
    fn what_is_lent_is_what_is_read() {
        // Less than is lent, more than a pipe holds, and pages that are cut anywhere.
        let all = bytes(3_000_001);
        let lent = || [&all[..10], &all[1..LEAST + 2], &all[17..], &all[..LEAST - 1]];
        let (mut reader, mut lender) = pipe();
        let read = thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map(|_| read)
            });
            for bytes in lent() {
                lender.write_all(b"between").unwrap();
                lender.lend(bytes).unwrap();
            }
            assert!(lender.lends);
            drop(lender);
            reading.join().unwrap().unwrap()
        });
        let expected: Vec<u8> = lent().iter().flat_map(|bytes| [b"between", *bytes].concat()).collect();
        assert!(read == expected);
    }

    #[test]
    fn lent_pages_are_no_copy_and_written_ones_are() {
        // Whole pages, as many as a pipe holds: more would wait for a reader.
        let mut given = bytes(LEAST + 4096);
        let start = given.as_ptr().align_offset(4096);
        let given = &mut given[start..start + LEAST];
        let mut read = vec![0; LEAST];
        let (mut reader, mut lender) = pipe();

        // A header may be as long, and is gone once it is written.
        lender.write_all(given).unwrap();
        let written = given.to_vec();
        given.fill(1);
        reader.read_exact(&mut read).unwrap();
        assert!(read == written);

        lender.lend(given).unwrap();
        // Nothing forks in this process, which would leave the pipe with the old pages.
        given.fill(2);
        reader.read_exact(&mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 2));
    }

    #[test]
    fn what_is_no_pipe_is_written_to() {
        let all = bytes(2 * LEAST);
        let mut file = tempfile::tempfile().unwrap();
        let mut lender = Lender::new(file.try_clone().unwrap());
        lender.lend(&all).unwrap();
        lender.lend(&all).unwrap();
        file.rewind().unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert!(read == [all.as_slice(), &all].concat());
    }

    #[test]
    fn nobody_who_reads_is_an_error() {
        let (reader, mut lender) = pipe();
        drop(reader);
        assert_eq!(lender.lend(&bytes(LEAST)).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
