//! The one call of `poll(2)` of the host.

use std::{io, os::fd::BorrowedFd};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// A descriptor and the events that are waited for.
pub(crate) type Polled<'fd> = (BorrowedFd<'fd>, PollFlags);

/// Waits until one of the descriptors is ready or the timeout is over. Returns for each whether it is ready, which
/// includes an error and a hang-up; an absent one never is. A signal ends the wait early.
///
/// # Errors
/// Returns the errors of `poll`, but for an interruption.
pub(crate) fn wait_for<const N: usize>(
    descriptors: [Option<Polled<'_>>; N],
    timeout: PollTimeout,
) -> io::Result<[bool; N]> {
    let mut polled: Vec<PollFd<'_>> =
        descriptors.iter().flatten().map(|&(descriptor, events)| PollFd::new(descriptor, events)).collect();
    match poll(&mut polled, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok([false; N]),
        Err(error) => return Err(error.into()),
    }
    let mut ready = polled.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
    Ok(descriptors.map(|descriptor| descriptor.is_some() && ready.next() == Some(true)))
}

/// Waits until `descriptor` is readable. Returns `false` if the timeout is over before.
///
/// # Errors
/// Returns the errors of [`wait_for`].
pub(crate) fn wait_readable(descriptor: BorrowedFd<'_>, timeout: PollTimeout) -> io::Result<bool> {
    wait_for([Some((descriptor, PollFlags::POLLIN))], timeout).map(|[ready]| ready)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd};

    use super::*;

    #[test]
    fn each_descriptor_that_is_ready_is_reported_in_its_place() {
        let (empty, _kept) = io::pipe().unwrap();
        let (full, mut writer) = io::pipe().unwrap();
        let (hung_up, _) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let readable = |fd| Some((fd, PollFlags::POLLIN));
        let polled = [readable(empty.as_fd()), None, readable(full.as_fd()), readable(hung_up.as_fd())];
        assert_eq!(wait_for(polled, PollTimeout::NONE).unwrap(), [false, false, true, true]);
        assert!(!wait_readable(empty.as_fd(), PollTimeout::ZERO).unwrap());
    }
}
