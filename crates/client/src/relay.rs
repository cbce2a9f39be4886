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
