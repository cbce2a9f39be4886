//! How a run is spoken to from outside.

use std::sync::mpsc::{self, Receiver, Sender};

use crate::worker::{News, WorkerId};

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
}

/// Asks something of a run; may be given to another thread.
#[derive(Debug, Clone)]
pub struct Handle(Sender<Message>);

impl Default for Control {
    fn default() -> Self {
        let (sender, inbox) = mpsc::channel();
        Self { sender, inbox }
    }
}

impl Control {
    /// A handle for another thread.
    pub fn handle(&self) -> Handle {
        Handle(self.sender.clone())
    }
}

impl Handle {
    /// Ends the run at once, keeping what its last whole round left; `signal` is the number that the exit code tells.
    pub fn stop(&self, signal: i32) {
        // A run that is over has no inbox, and nothing to stop.
        let _ = self.0.send(Message::Stop(signal));
    }

    /// Takes the model's dylib anew from where it came, at the next round.
    pub fn reload(&self) {
        let _ = self.0.send(Message::Reload);
    }
}
