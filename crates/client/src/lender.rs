//! The writing end of a client's pipe, which sends weights without a copy.

use std::{
    fs::File,
    io::{self, BufWriter, IoSlice, Write},
};

use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, vmsplice},
};

/// The least number of bytes that are lent. Fewer are copied, which is as fast.
const LEAST: usize = 64 << 10;

/// The writing end of a client's pipe.
pub(crate) trait WeightWriter: Write {
    /// Writes `bytes`. They must neither move nor change until the host has read them.
    fn lend(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A pipe to which the client lends its weights: the pipe holds their pages until the host reads them (vmsplice(2)).
///
/// A plain write would allocate pages and copy the weights into them.
#[derive(Debug)]
pub(crate) struct Lender {
    pipe: BufWriter<File>,
    /// `false` if the file is not a pipe, or the system lacks or refuses the call.
    lends: bool,
}

impl Lender {
    pub(crate) fn new(pipe: File) -> Self {
        Self { pipe: BufWriter::new(pipe), lends: true }
    }
}

impl WeightWriter for Lender {
    fn lend(&mut self, bytes: &[u8]) -> io::Result<()> {
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
    fn lent_bytes_are_read_unchanged() {
        // Fewer bytes than are lent, more than a pipe holds, and starts that are not page-aligned.
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
        // Whole pages, no more than a pipe holds: otherwise the write would wait for a reader.
        let mut given = bytes(LEAST + 4096);
        let start = given.as_ptr().align_offset(4096);
        let given = &mut given[start..start + LEAST];
        let mut read = vec![0; LEAST];
        let (mut reader, mut lender) = pipe();

        // A written buffer may change at once, since the pipe has a copy.
        lender.write_all(given).unwrap();
        let written = given.to_vec();
        given.fill(1);
        reader.read_exact(&mut read).unwrap();
        assert!(read == written);

        lender.lend(given).unwrap();
        // A lent buffer may not. (After a fork, the pipe would keep the old pages. Nothing forks here.)
        given.fill(2);
        reader.read_exact(&mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 2));
    }

    #[test]
    fn a_file_that_is_not_a_pipe_is_written() {
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
    fn a_pipe_without_a_reader_is_an_error() {
        let (reader, mut lender) = pipe();
        drop(reader);
        assert_eq!(lender.lend(&bytes(LEAST)).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
