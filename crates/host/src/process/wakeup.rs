//! Wakes a thread that waits on descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A descriptor that becomes readable when another thread wakes the one that waits.
#[derive(Debug)]
pub(crate) struct Wakeup {
    event: EventFd,
    /// Set before a wake-up that ends the wait for good. Any other wake-up announces work.
    dismissed: AtomicBool,
}

impl Wakeup {
    pub(crate) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, dismissed: AtomicBool::new(false) })
    }

    /// Wakes the thread.
    pub(crate) fn wake(&self) {
        // A counter that is full is readable already.
        let _ = self.event.write(1);
    }

    /// Wakes the thread and has it end.
    pub(crate) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Release);
        self.wake();
    }

    /// Returns `true` if the thread is to end.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Acquire)
    }

    /// Makes the descriptor unreadable until the next wake-up.
    pub(crate) fn clear(&self) {
        let _ = self.event.read();
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
