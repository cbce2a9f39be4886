//! The lane of a process in the timeline: its messages, its local epochs and its end.

use fedpipe_protocol::Update;
use fedpipe_record::{
    cause::Cause,
    timeline::{PipeMessage, TimelineEvent},
};

use crate::disk::timeline_log::Timeline;

/// The lane of a client process, or of a strategy's program. The default value records nothing.
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
        Self::begin(timeline, TimelineEvent::Spawned { process, pid, strategy: false }, process)
    }

    /// Returns the lane of a strategy's program that was just started.
    pub(crate) fn of_strategy(timeline: &Timeline, process: u32, pid: Option<i32>) -> Self {
        Self::begin(timeline, TimelineEvent::Spawned { process, pid, strategy: true }, process)
    }

    fn begin(timeline: &Timeline, spawned: TimelineEvent<'_>, process: u32) -> Self {
        timeline.note(timeline.now(), None, spawned);
        Self { timeline: timeline.clone(), process, asked: 0, answered: 0 }
    }

    /// Returns the present time.
    pub(crate) fn now(&self) -> u64 {
        self.timeline.now()
    }

    /// Records a request of the type, about the client, that was written since `at`.
    pub(crate) fn sent(&mut self, at: u64, (kind, client): (&'static str, Option<u32>), bytes: u64) {
        self.asked = self.now();
        self.timeline.note(at, Some(self.asked), TimelineEvent::Sent(self.message(kind, client, bytes)));
    }

    /// Marks the begin of a reply.
    pub(crate) fn begin_reply(&mut self) {
        self.answered = self.now();
    }

    /// Records the times of the local epochs, which are taken out of the update.
    pub(crate) fn trained(&self, update: &mut Update) {
        for (epoch, [begin, end]) in (0..).zip(std::mem::take(&mut update.epochs)) {
            // The clock of the client is not trusted: an epoch lies between the request and the reply.
            let within = |offset: u64| self.asked.saturating_add(offset).min(self.answered);
            let (client, round, process) = (update.client, update.round, self.process);
            let event = TimelineEvent::Epoch { process, client, round, epoch };
            self.timeline.note(within(begin), Some(within(end)), event);
        }
    }

    /// Records a reply of the type, about the client, that has been read.
    pub(crate) fn received(&self, kind: &'static str, client: Option<u32>, bytes: u64) {
        let message = self.message(kind, client, bytes);
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
    use fedpipe_record::timeline::TimelineSession;

    use super::*;

    #[test]
    fn epochs_lie_between_the_request_and_the_reply_and_leave_the_reply() {
        let folder = tempfile::tempdir().unwrap();
        let timeline = Timeline::open(folder.path());
        let mut lane = Lane::new(&timeline, 2, Some(77));
        lane.sent(0, ("train", Some(5)), 8);
        lane.begin_reply();
        let mut update = Update { epochs: vec![[0, 1], [2, u64::MAX]], ..Update::plain(5, 3, 1) };
        lane.trained(&mut update);
        lane.received("update", Some(5), 16);
        assert_eq!(update, Update::plain(5, 3, 1));
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
