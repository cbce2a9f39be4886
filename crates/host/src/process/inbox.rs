//! How a run is spoken to from outside.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
        mpsc::{self, Receiver, Sender},
    },
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::process::conversation::{News, WorkerId};

/// What the run's thread is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every message is news, and a few wait at a time")]
pub(crate) enum Message {
    News(WorkerId, News),
    Stop(i32),
    Reload,
}

/// The run's end of its own inbox; made before the run, so that a stop can be asked for at any time.
#[derive(Debug)]
pub struct Control {
    pub(crate) sender: Sender<Message>,
    pub(crate) inbox: Receiver<Message>,
    pub(crate) stop: Arc<StopSign>,
}

/// Asks something of a run; may be given to another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    sender: Sender<Message>,
    stop: Arc<StopSign>,
}

/// A stop for the run's thread while it waits for something else than its inbox.
#[derive(Debug, Default)]
pub(crate) struct StopSign {
    /// Whether somebody has asked for it.
    pub(crate) raised: Arc<AtomicBool>,
    signal: AtomicI32,
    /// `true` once the run writes its results.
    writing: AtomicBool,
    /// What is waited for besides; made by who waits first.
    wake: OnceLock<Arc<EventFd>>,
}

impl StopSign {
    /// Becomes readable when a stop is asked for, and is so where one was.
    pub(crate) fn wake(&self) -> io::Result<Arc<EventFd>> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let wake = self.wake.get_or_init(|| Arc::new(wake));
        if self.raised.load(Ordering::SeqCst) {
            wake.write(1)?;
        }
        Ok(Arc::clone(wake))
    }

    /// Says that the run writes its results, which takes as long as it takes.
    pub(crate) fn begin_writing(&self) {
        self.writing.store(true, Ordering::SeqCst);
    }

    /// The number that was given with the stop.
    pub(crate) fn signal(&self) -> i32 {
        self.signal.load(Ordering::SeqCst)
    }

    fn raise(&self, signal: i32) {
        self.signal.store(signal, Ordering::SeqCst);
        self.raised.store(true, Ordering::SeqCst);
        // Who makes it after this looks at `raised`.
        if let Some(wake) = self.wake.get() {
            let _ = wake.write(1);
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        let (sender, inbox) = mpsc::channel();
        Self { sender, inbox, stop: Arc::default() }
    }
}

impl Control {
    /// A handle for another thread.
    pub fn handle(&self) -> Handle {
        Handle { sender: self.sender.clone(), stop: Arc::clone(&self.stop) }
    }
}

impl Handle {
    /// Ends the run at once, keeping what its last whole round left; `signal` is the number that the exit code tells.
    pub fn stop(&self, signal: i32) {
        // A run that is over has no inbox, and nothing to stop.
        let _ = self.sender.send(Message::Stop(signal));
        self.stop.raise(signal);
    }

    /// Returns whether the run writes its results, which a stop should wait for.
    pub fn is_writing(&self) -> bool {
        self.stop.writing.load(Ordering::SeqCst)
    }

    /// Takes the model's dylib anew from where it came, at the next round.
    pub fn reload(&self) {
        let _ = self.sender.send(Message::Reload);
    }
}
