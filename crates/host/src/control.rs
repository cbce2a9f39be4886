//! How a run is stopped from outside.

use std::sync::mpsc::{self, Receiver, Sender};

use crate::worker::{News, WorkerId};

/// What the run's thread is told.
#[derive(Debug)]
pub(crate) enum Message {
    News(WorkerId, News),
    Stop(i32),
}

/// The run's end of its own inbox; made before the run, so that a stop can be asked for at any time.
#[derive(Debug)]
pub struct Control {
    pub(crate) sender: Sender<Message>,
    pub(crate) inbox: Receiver<Message>,
}

/// Asks a run to stop; may be given to another thread.
#[derive(Debug, Clone)]
pub struct Stopper(Sender<Message>);

impl Default for Control {
    fn default() -> Self {
        let (sender, inbox) = mpsc::channel();
        Self { sender, inbox }
    }
}

impl Control {
    /// A handle that stops the run.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }
}

impl Stopper {
    /// Ends the run at once, keeping what its last whole round left; `signal` is the number that the exit code tells.
    pub fn stop(&self, signal: i32) {
        // A run that is over has no inbox, and nothing to stop.
        let _ = self.0.send(Message::Stop(signal));
    }
}
