//! The lane of a client process in the timeline: its messages, its local epochs and its end.

use fedpipe_protocol::{Reply, Request};
use fedpipe_record::{
    cause::Cause,
    timeline::{PipeMessage, TimelineEvent},
};

use crate::disk::timeline_log::Timeline;

/// The lane of a client process. The default value records nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lane {
    timeline: Timeline,
    process: u32,
    /// The end of the last request.
    asked: u64,
    /// The begin of the reply to it.
    answered: u64,
}

impl Lane {
    /// Returns the lane of a process that was just started.
    pub(crate) fn new(timeline: &Timeline, process: u32, pid: Option<i32>) -> Self {
        timeline.note(timeline.now(), None, TimelineEvent::Spawned { process, pid });
        Self { timeline: timeline.clone(), process, asked: 0, answered: 0 }
    }

    /// Returns the present time.
    pub(crate) fn now(&self) -> u64 {
        self.timeline.now()
    }

    /// Records a request that was written since `at`.
    pub(crate) fn sent(&mut self, at: u64, request: &Request, bytes: u64) {
        self.asked = self.now();
        let message = self.message(request.kind(), request.client(), bytes);
        self.timeline.note(at, Some(self.asked), TimelineEvent::Sent(message));
    }

    /// Marks the begin of a reply.
    pub(crate) fn begin_reply(&mut self) {
        self.answered = self.now();
    }

    /// Records a reply that has been read, and takes the times of the local epochs out of it.
    pub(crate) fn received(&mut self, reply: &mut Reply, bytes: u64) {
        let client = if let Reply::Update(update) = reply { Some(update.client) } else { None };
        if let Reply::Update(update) = reply {
            let epochs = std::mem::take(&mut update.epochs);
            for (epoch, [begin, end]) in (0..).zip(epochs) {
                // The clock of the client is not trusted: an epoch lies between the request and the reply.
                let within = |offset: u64| self.asked.saturating_add(offset).min(self.answered);
                let (client, round, process) = (update.client, update.round, self.process);
                let event = TimelineEvent::Epoch { process, client, round, epoch };
                self.timeline.note(within(begin), Some(within(end)), event);
            }
        }
        let message = self.message(reply.kind(), client, bytes);
        self.timeline.note(self.answered, Some(self.now()), TimelineEvent::Received(message));
    }

    /// Records the end of the process; without a cause if the host ended it.
    pub(crate) fn exited(&self, cause: Option<&Cause>) {
        let cause = cause.map(|cause| cause.to_string().into());
        self.timeline.note(self.now(), None, TimelineEvent::Exited { process: self.process, cause });
    }

    fn message(&self, kind: &'static str, client: Option<u32>, bytes: u64) -> PipeMessage<'static> {
        PipeMessage { process: self.process, message: kind.into(), client, bytes }
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Update;
    use fedpipe_record::timeline::TimelineSession;

    use super::*;

    #[test]
    fn epochs_lie_between_the_request_and_the_reply_and_leave_the_reply() {
        let folder = tempfile::tempdir().unwrap();
        let timeline = Timeline::open(folder.path());
        let mut lane = Lane::new(&timeline, 2, Some(77));
        lane.sent(0, &Request::GetWeights, 8);
        lane.begin_reply();
        let update = Update { epochs: vec![[0, 1], [2, u64::MAX]], ..Update::plain(5, 3, 1) };
        let mut reply = Reply::Update(update);
        lane.received(&mut reply, 16);
        assert_eq!(reply, Reply::Update(Update::plain(5, 3, 1)));
        lane.exited(None);
        timeline.begin_round(1);
        let entries = TimelineSession::read(folder.path()).unwrap().remove(0).entries;
        let epochs: Vec<_> = entries.iter().filter(|e| matches!(e.event, TimelineEvent::Epoch { .. })).collect();
        assert_eq!((epochs.len(), entries.len()), (2, 6));
        let sent = entries.iter().find(|e| matches!(e.event, TimelineEvent::Sent(_))).unwrap().until.unwrap();
        let received = entries.iter().find(|e| matches!(e.event, TimelineEvent::Received(_))).unwrap().at;
        for epoch in epochs {
            assert!(epoch.at >= sent && epoch.until.unwrap() <= received && epoch.at <= epoch.until.unwrap());
        }
    }
}
