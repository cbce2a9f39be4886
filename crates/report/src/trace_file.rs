//! `trace.json`: the timeline in Chrome's trace event format, which Perfetto and `chrome://tracing` read.

use fedpipe_record::timeline::TimelineSession;
use serde_json::{Value, json};

use crate::timeline_rows::{LanePlace, Mark, MarkKind, marks};

/// The threads of a process in the trace: the pipe to it, its work, and the pipe from it.
const THREADS: [&str; 3] = ["pipe to the client", "work", "pipe to the host"];

/// Returns the trace of all sessions. Times are microseconds since 1970, so that sessions follow each other.
///
/// # Errors
/// Returns those of serialising, which a timeline does not meet.
pub fn trace(sessions: &[TimelineSession]) -> serde_json::Result<Vec<u8>> {
    let mut events = Vec::new();
    let mut named = std::collections::BTreeSet::new();
    let first = sessions.first().map_or(0, |session| session.unix_us);
    for session in sessions {
        let offset = session.unix_us.saturating_sub(first);
        for (lane, mark) in marks(session) {
            if named.insert(lane) {
                events.extend(names(lane));
            }
            events.push(event(lane, &mark, offset));
        }
    }
    serde_json::to_vec(&json!({ "traceEvents": events, "displayTimeUnit": "ms" }))
}

/// Returns the number of a lane as a process of the trace.
fn number(lane: LanePlace) -> u64 {
    match lane {
        LanePlace::Host => 1,
        LanePlace::Checkpoints => 2,
        LanePlace::Strategy => 3,
        LanePlace::Process(process) => 10 + u64::from(process),
    }
}

fn thread(kind: MarkKind) -> u64 {
    match kind {
        MarkKind::Request => 1,
        MarkKind::Reply => 3,
        MarkKind::Epoch
        | MarkKind::Work
        | MarkKind::Phase
        | MarkKind::Checkpoint
        | MarkKind::Crash
        | MarkKind::Start
        | MarkKind::End => 2,
    }
}

/// Returns the events that name a lane and its threads.
fn names(lane: LanePlace) -> Vec<Value> {
    let pid = number(lane);
    let meta =
        |name: &str, tid: u64, args: Value| json!({ "name": name, "ph": "M", "pid": pid, "tid": tid, "args": args });
    let mut all = vec![
        meta("process_name", 0, json!({ "name": lane.name() })),
        meta("process_sort_index", 0, json!({ "sort_index": pid })),
    ];
    let threads: &[&str] = if matches!(lane, LanePlace::Process(_) | LanePlace::Strategy) { &THREADS } else { &[] };
    all.extend((1..).zip(threads).map(|(tid, name)| meta("thread_name", tid, json!({ "name": name }))));
    all
}

fn event(lane: LanePlace, mark: &Mark, offset: u64) -> Value {
    let Mark { kind, at, until, text } = mark;
    let (ts, pid, tid) = (at + offset, number(lane), thread(*kind));
    let name = text.split([',', ':']).next().unwrap_or_default();
    let args = json!({ "text": text });
    match kind {
        MarkKind::Crash | MarkKind::Start | MarkKind::End => {
            json!({ "name": name, "cat": kind, "ph": "i", "s": "p", "ts": ts, "pid": pid, "tid": tid, "args": args })
        }
        MarkKind::Request
        | MarkKind::Reply
        | MarkKind::Epoch
        | MarkKind::Work
        | MarkKind::Phase
        | MarkKind::Checkpoint => {
            let dur = until - at;
            json!({ "name": name, "cat": kind, "ph": "X", "ts": ts, "dur": dur, "pid": pid, "tid": tid, "args": args })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline_rows::tests::one_round;

    #[test]
    fn every_mark_is_an_event_with_the_fields_of_the_format() {
        let later = TimelineSession { unix_us: 3_000_000, ..one_round() };
        let trace: Value = serde_json::from_slice(&trace(&[one_round(), later]).unwrap()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
        let count = marks(&one_round()).len();
        assert_eq!(of("X").len() + of("i").len(), 2 * count);
        assert!(of("X").iter().all(|event| event["ts"].is_u64() && event["dur"].is_u64() && event["pid"].is_u64()));
        let epochs: Vec<_> = events.iter().filter(|event| event["cat"] == "epoch").collect();
        assert_eq!((epochs[0]["ts"].as_u64(), epochs[1]["ts"].as_u64()), (Some(15), Some(2_000_015)));
        assert_eq!(epochs[0]["pid"], 11);
        // Two processes with three threads each, a host and its checkpoints.
        assert_eq!(of("M").len(), 2 * (2 + 3) + 2 * 2);
    }
}
