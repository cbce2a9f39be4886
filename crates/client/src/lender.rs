//! The writing end of a client's pipe.

use std::{
    fs::File,
    io::{self, IoSlice, Write},
};

use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, vmsplice},
};

/// Bytes from which a write is lent. A writer's buffer is shorter, so that nothing of it is.
const LEAST: usize = 64 << 10;

/// A pipe that holds the pages of a long write themselves, until they are read, instead of a copy (vmsplice(2)): half the work of
/// sending weights.
///
/// **What was written must stay as it is until the reader has it.** A client's weights do: they change in the next request, which
/// a host sends when it has read the answer to the one before.
#[derive(Debug)]
pub(crate) struct Lender {
    pipe: File,
    /// Not where it is no pipe, or the system lacks the call or refuses it.
    lends: bool,
}

impl Lender {
    pub(crate) fn new(pipe: File) -> Self {
        Self { pipe, lends: true }
    }
}

impl Write for Lender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.lends && bytes.len() >= LEAST {
            match vmsplice(&self.pipe, &[IoSlice::new(bytes)], SpliceFFlags::empty()) {
                Ok(taken) => return Ok(taken),
                Err(error @ (Errno::EINTR | Errno::EPIPE)) => return Err(error.into()),
                Err(_) => self.lends = false,
            }
        }
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek},
        os::fd::OwnedFd,
        thread,
    };

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[test]
    fn what_is_lent_is_what_is_read() {
        // Less than is lent, more than a pipe holds, and pages that are cut anywhere.
        let all = bytes(3_000_001);
        let writes = || [&all[..10], &all[1..LEAST + 2], &all[17..], &all[..LEAST - 1]];
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut lender = Lender::new(OwnedFd::from(writer).into());
        let read = thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map(|_| read)
            });
            writes().iter().for_each(|bytes| lender.write_all(bytes).unwrap());
            assert!(lender.lends);
            drop(lender);
            reading.join().unwrap().unwrap()
        });
        assert!(read == writes().concat());
    }

    #[test]
    fn a_pipe_holds_the_pages_and_no_copy() {
        let mut lent = bytes(LEAST);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut lender = Lender::new(OwnedFd::from(writer).into());
        assert!(lender.write(&lent).unwrap() > 0);
        lent[0] ^= 1;
        let mut first = [0];
        reader.read_exact(&mut first).unwrap();
        assert_eq!(first[0], lent[0]);
    }

    #[test]
    fn what_is_no_pipe_is_written_to() {
        let all = bytes(2 * LEAST);
        let mut file = tempfile::tempfile().unwrap();
        Lender::new(file.try_clone().unwrap()).write_all(&all).unwrap();
        file.rewind().unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert!(read == all);
    }

    #[test]
    fn nobody_who_reads_is_an_error() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let error = Lender::new(OwnedFd::from(writer).into()).write_all(&bytes(LEAST)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
