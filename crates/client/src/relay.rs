//! A client that is elsewhere: its pipes are carried to a Unix socket and back, byte for byte.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::ExitCode,
    thread::Builder,
};

use anyhow::{Context, Result};

use crate::{complaint::complain, inherited};

/// The name (`argv[0]`) under which the host executes its own binary again to start a relay.
pub const RELAY_NAME: &str = "fedpipe-relay";

/// Two directions need two threads.
const NO_THREAD: &str = "cannot start a thread; raise `ulimit -u`, or the cgroup's pids.max";

/// Runs a relay: `arguments` are the path of a socket, then those of a client. Ends when either side does.
pub fn relay(arguments: &[OsString]) -> ExitCode {
    let _ = nix::sys::prctl::set_name(c"fedpipe-relay");
    match carry(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {error:#}"));
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
    // The process ends with this side, whatever the other thread waits for: the host then knows that the client is gone.
    pass(stream, to_host)?;
    anyhow::bail!("the client at the other end of {} hung up", socket.display())
}

/// `io::copy` without its `splice`, under which a run stood still (tried: `e2e/over.rs` hung).
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
