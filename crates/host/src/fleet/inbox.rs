//! The inbox of a fleet: the reports of its client processes, and a stop.

use std::sync::{
    Arc,
    mpsc::{self, Receiver, RecvError, Sender},
};

use crate::{
    error::{Error, Result},
    fleet::control::{StopSign, Wake},
    process::conversation::{ProcessId, ProcessReport},
};

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every message is a report, and few wait at a time")]
enum Message {
    Reported(ProcessId, ProcessReport),
    Stop,
}

/// The inbox; what wakes it lives as long as the inbox does.
#[derive(Debug)]
pub(super) struct Inbox {
    sender: Arc<Sender<Message>>,
    receiver: Receiver<Message>,
    stop: Arc<StopSign>,
}

impl Wake for Sender<Message> {
    fn wake(&self) {
        // An inbox that is gone needs no wake-up.
        let _ = self.send(Message::Stop);
    }
}

impl Inbox {
    /// Creates an inbox that `stop` wakes.
    pub(super) fn new(stop: &Arc<StopSign>) -> Self {
        let (sender, receiver) = mpsc::channel();
        let sender = Arc::new(sender);
        let waker: Arc<dyn Wake> = Arc::<Sender<Message>>::clone(&sender);
        stop.attach(&waker);
        Self { sender, receiver, stop: Arc::clone(stop) }
    }

    /// Returns the function by which the process `id` reports. It returns `false` if the inbox is gone.
    pub(super) fn reporter(&self, id: ProcessId) -> impl Fn(ProcessReport) -> bool + Send + 'static {
        let sender = Sender::clone(&self.sender);
        move |report| sender.send(Message::Reported(id, report)).is_ok()
    }

    /// Returns the stop that this inbox hears.
    pub(super) fn stop(&self) -> &Arc<StopSign> {
        &self.stop
    }

    /// Waits for the next report.
    ///
    /// # Errors
    /// [`Error::Stopped`] once a stop is requested.
    pub(super) fn next(&self) -> Result<(ProcessId, ProcessReport)> {
        match self.receiver.recv() {
            Ok(Message::Reported(id, report)) => Ok((id, report)),
            Ok(Message::Stop) => Err(Error::Stopped(self.stop.signal())),
            Err(RecvError) => Err(anyhow::anyhow!("the inbox of the clients is closed").into()),
        }
    }
}
