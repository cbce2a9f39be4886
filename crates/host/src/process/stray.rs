//! Ends the processes that a model started and that left their client's process group. Their environment names the
//! client.
//!
//! There are such processes only without isolation, which forbids a fork. A host that is killed cannot look for them.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    os::fd::{AsFd, OwnedFd},
};

use nix::poll::PollTimeout;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::poll::wait_readable;

/// The environment variable that names a client process.
pub(crate) const MARK: &str = "FEDPIPE_CLIENT";

/// The number of searches through all processes, since a process may fork during a search.
const LOOKS: usize = 10;

/// Returns a mark that no other fleet has, in this process or another, also in another PID namespace. The mark of a
/// client process is this mark followed by a number.
pub(crate) fn new_mark() -> String {
    format!("{:016x}.", RandomState::new().hash_one(std::process::id()))
}

/// Kills the processes whose mark `is_meant` and waits up to 100 ms for the exit of each.
pub(crate) fn end_strays(is_meant: &dyn Fn(&str) -> bool) {
    for _ in 0..LOOKS {
        let strays = find(is_meant);
        if strays.is_empty() {
            return;
        }
        for stray in &strays {
            let _ = pidfd_send_signal(stray, Signal::KILL);
        }
        for stray in &strays {
            let _ = wait_readable(stray.as_fd(), PollTimeout::from(100_u8));
        }
    }
}

fn find(is_meant: &dyn Fn(&str) -> bool) -> Vec<OwnedFd> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let is_stray = |pid: Pid| mark_of(pid).is_some_and(|mark| is_meant(&mark));
    let stray = |pid| {
        let process = is_stray(pid).then(|| pidfd_open(pid, PidfdFlags::empty()).ok())??;
        // The second look is at the process that is held: the number may have passed to another one before.
        is_stray(pid).then_some(process)
    };
    numbers.filter_map(stray).collect()
}

/// Returns the mark in the environment that a process was started with; none if this user may not read it.
fn mark_of(pid: Pid) -> Option<String> {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    let mark = environment
        .split(|&byte| byte == 0)
        .find_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="));
    Some(String::from_utf8_lossy(mark?).into_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Starts a process of another group that would live long.
    fn marked(mark: &str) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo; exec sleep 1000"]).env(MARK, mark).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        // Its environment is in place once it has written something.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        child
    }

    #[test]
    fn those_with_the_mark_are_ended_and_no_others() {
        let (mine, others) = (new_mark(), new_mark());
        assert_ne!(mine, others);
        let [mut first, mut second] = ["1", "2"].map(|number| marked(&format!("{mine}{number}")));
        let mut other = marked(&format!("{others}1"));
        let exact = format!("{mine}1");
        end_strays(&|mark| mark == exact);
        assert!(!first.wait().unwrap().success());
        assert!(second.try_wait().unwrap().is_none());
        end_strays(&|mark| mark.starts_with(&mine));
        assert!(!second.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
