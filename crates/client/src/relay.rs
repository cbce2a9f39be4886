//! The relay: stands in for a client on another machine and copies bytes between its two pipes and a Unix socket.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::ExitCode,
    thread::Builder,
};

use anyhow::{Context, Result};

use crate::{inherited, stderr::write_line};

/// The name (`argv[0]`) under which the host executes its own binary again to start a relay.
pub const RELAY_NAME: &str = "fedpipe-relay";

/// The error if the system refuses the second thread; the relay needs one for each direction.
const NO_THREAD: &str = "cannot start a thread; raise `ulimit -u`, or the cgroup's pids.max";

/// Runs a relay: `arguments` are the path of a socket and then those of a client. The relay ends when either side ends.
pub fn relay(arguments: &[OsString]) -> ExitCode {
    let _ = nix::sys::prctl::set_name(c"fedpipe-relay");
    match carry(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_line(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn carry(arguments: &[OsString]) -> Result<()> {
    let [socket, pipes @ ..] = arguments else { anyhow::bail!("it is started by fedpipe, not by hand") };
    let (from_host, to_host) = inherited::pipes(pipes)?;
    let stream = UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    let to_socket = stream.try_clone()?;
    let up = move || {
        let _ = pass(from_host, &to_socket);
        let _ = to_socket.shutdown(Shutdown::Write);
    };
    Builder::new().name("relay".into()).spawn(up).context(NO_THREAD)?;
    // The process ends when the socket ends, whatever the other thread waits for. The host thus sees the client's end.
    pass(stream, to_host)?;
    anyhow::bail!("the client at the other end of {} closed the connection", socket.display())
}

/// Copies all bytes. `io::copy` would use `splice`, which can wait forever here: the test `e2e/over.rs` then hangs.
fn pass(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut bytes = vec![0; 256 << 10];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&bytes[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::pipe,
        os::{fd::IntoRawFd, unix::net::UnixListener},
    };

    use super::*;

    /// A reader that is interrupted before each of its parts, and fails at an empty part.
    struct Interrupted<'a>(Vec<&'a [u8]>, bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match self.0.pop() {
                Some([]) => Err(io::ErrorKind::ConnectionReset.into()),
                Some(mut part) => part.read(bytes),
                None => Ok(0),
            }
        }
    }

    #[test]
    fn bytes_pass_across_interruptions_up_to_the_end_or_a_failure() {
        let mut passed = Vec::new();
        pass(Interrupted(vec![b"cd", b"ab"], false), &mut passed).unwrap();
        assert_eq!(passed, b"abcd");
        passed.clear();
        let failed = pass(Interrupted(vec![b"", b"ab"], false), &mut passed).unwrap_err();
        assert_eq!((failed.kind(), passed.as_slice()), (io::ErrorKind::ConnectionReset, &b"ab"[..]));
    }

    #[test]
    fn a_relay_carries_both_directions_and_ends_with_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let ((from_host, mut request), (mut reply, to_host)) = (pipe().unwrap(), pipe().unwrap());
        let node = move || {
            let (mut host, _) = listener.accept().unwrap();
            let mut bytes = [0; 4];
            host.read_exact(&mut bytes).unwrap();
            bytes.reverse();
            host.write_all(&bytes).unwrap();
        };
        let node = Builder::new().spawn(node).unwrap();
        request.write_all(b"abcd").unwrap();
        let pipes = [from_host.into_raw_fd(), to_host.into_raw_fd(), 0].map(|number| number.to_string().into());
        let why = carry(&[&[path.clone().into()], &pipes[..]].concat()).unwrap_err().to_string();
        assert_eq!(why, format!("the client at the other end of {} closed the connection", path.display()));
        let mut bytes = Vec::new();
        reply.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"dcba");
        node.join().unwrap();
    }

    #[test]
    fn a_socket_that_nobody_listens_at_is_named() {
        assert_eq!(carry(&[]).unwrap_err().to_string(), "it is started by fedpipe, not by hand");
        let (from_host, _request) = pipe().unwrap();
        let (_reply, to_host) = pipe().unwrap();
        let pipes = [from_host.into_raw_fd(), to_host.into_raw_fd(), 0].map(|number| number.to_string().into());
        let why = carry(&[&["/nonexistent/socket".into()], &pipes[..]].concat()).unwrap_err();
        let expected = "cannot connect to /nonexistent/socket: No such file or directory (os error 2)";
        assert_eq!(format!("{why:#}"), expected);
    }
}
