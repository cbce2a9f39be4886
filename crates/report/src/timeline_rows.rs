//! The timeline of a run as lanes with marks: one lane for the host, one for its checkpoints, one for each process.

use std::collections::{BTreeMap, BTreeSet};

use fedpipe_record::timeline::{PipeMessage, TimelineEntry, TimelineEvent, TimelineSession};
use serde::{Serialize, Serializer, ser::SerializeTuple};

/// The most rounds that a page has.
const MOST_ROUNDS: usize = 24;

/// The most marks of a round in a page; a round of very many clients has more.
const MOST_MARKS: usize = 6000;

/// A part of the timeline: a round, or the time before the first one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) name: String,
    /// Microseconds since the start of the session.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) lanes: Vec<LaneOfMarks>,
}

/// A lane with its marks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LaneOfMarks {
    pub(crate) name: String,
    pub(crate) marks: Vec<Mark>,
}

/// A mark in a lane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    pub(crate) kind: MarkKind,
    pub(crate) at: u64,
    pub(crate) until: u64,
    pub(crate) text: String,
}

/// The kind of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MarkKind {
    /// A message to a process.
    Request,
    /// A message to the host.
    Reply,
    /// A local epoch.
    Epoch,
    /// The work between a request and its reply that is no local epoch.
    Work,
    Phase,
    Checkpoint,
    Crash,
    Start,
    End,
}

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(4)?;
        tuple.serialize_element(&self.kind)?;
        tuple.serialize_element(&self.at)?;
        tuple.serialize_element(&self.until)?;
        tuple.serialize_element(&self.text)?;
        tuple.end()
    }
}

/// The place of a lane: the host comes first, then its checkpoints, its strategy's program, and the processes by
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LanePlace {
    Host,
    Checkpoints,
    Strategy,
    Process(u32),
}

impl LanePlace {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Host => "host".to_owned(),
            Self::Checkpoints => "checkpoints".to_owned(),
            Self::Strategy => "strategy".to_owned(),
            Self::Process(number) => format!("process {number}"),
        }
    }
}

/// Returns the marks of a session, each with its lane. The work of a process is the time between a request and its
/// reply.
pub(crate) fn marks(session: &TimelineSession) -> Vec<(LanePlace, Mark)> {
    let mut asked: BTreeMap<u32, (u64, PipeMessage<'static>)> = BTreeMap::new();
    let mut trained = BTreeSet::new();
    let is_strategy = |event: &TimelineEvent<'_>| match event {
        TimelineEvent::Spawned { process, strategy: true, .. } => Some(*process),
        _ => None,
    };
    let strategy = session.entries.iter().find_map(|entry| is_strategy(&entry.event));
    let lane_of =
        |process: u32| if strategy == Some(process) { LanePlace::Strategy } else { LanePlace::Process(process) };
    let mut all = Vec::new();
    for TimelineEntry { at, until, event } in &session.entries {
        let (at, until) = (*at, until.unwrap_or(*at));
        let mut add = |lane, kind, at, until, text: String| all.push((lane, Mark { kind, at, until, text }));
        match event {
            TimelineEvent::Session { .. } => {}
            TimelineEvent::Spawned { process, pid, .. } => {
                let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
                add(lane_of(*process), MarkKind::Start, at, at, format!("started{pid}"));
            }
            TimelineEvent::Sent(message) => {
                trained.remove(&message.process);
                asked.insert(message.process, (until, message.clone()));
                add(lane_of(message.process), MarkKind::Request, at, until, described(message));
            }
            TimelineEvent::Received(message) => {
                let lane = lane_of(message.process);
                let request = asked.remove(&message.process);
                // The local epochs are the work of a training.
                if let Some((since, request)) = request.filter(|_| !trained.contains(&message.process)) {
                    add(lane, MarkKind::Work, since, at, format!("works on {}", request.message));
                }
                add(lane, MarkKind::Reply, at, until, described(message));
            }
            TimelineEvent::Epoch { process, client, round, epoch } => {
                trained.insert(*process);
                let text = format!("local epoch {} of client {client} in round {round}", epoch + 1);
                add(lane_of(*process), MarkKind::Epoch, at, until, text);
            }
            TimelineEvent::Exited { process, cause } => {
                asked.remove(process);
                let kind = if cause.is_some() { MarkKind::Crash } else { MarkKind::End };
                let text = cause.as_ref().map_or("ended by the host".to_owned(), |cause| format!("crashed: {cause}"));
                add(lane_of(*process), kind, at, at, text);
            }
            TimelineEvent::Phase { phase, round } => {
                add(LanePlace::Host, MarkKind::Phase, at, until, format!("{phase}, round {round}"));
            }
            TimelineEvent::Checkpoint { round } => {
                let text = format!("checkpoint of round {round} written");
                add(LanePlace::Checkpoints, MarkKind::Checkpoint, at, until, text);
            }
        }
    }
    all
}

fn described(message: &PipeMessage<'_>) -> String {
    let client = message.client.map_or_else(String::new, |client| format!(" of client {client}"));
    format!("{}{client}, parts of {}", message.message, shown_bytes(message.bytes))
}

/// Returns a number of bytes with a unit.
pub(crate) fn shown_bytes(bytes: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = units.into_iter().find(|(size, _)| bytes as f64 >= *size);
    unit.map_or_else(|| format!("{bytes} B"), |(size, name)| format!("{:.1} {name}", bytes as f64 / size))
}

/// Returns the rounds of the page: the time before the first round, the first and the last rounds, rounds with a crash,
/// and rounds between them at equal distances. A round that a resume repeated is the repeated one.
pub(crate) fn spans(sessions: &[TimelineSession]) -> Vec<Span> {
    let mut windows: BTreeMap<u64, (usize, u64, u64)> = BTreeMap::new();
    let mut crashed = BTreeSet::new();
    for (index, session) in sessions.iter().enumerate() {
        let mut first = None;
        let mut of_session: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for entry in &session.entries {
            if let TimelineEvent::Phase { round, .. } = &entry.event {
                let until = entry.until.unwrap_or(entry.at);
                let window = of_session.entry(*round).or_insert((entry.at, until));
                window.1 = window.1.max(until);
                first = first.or(Some(entry.at));
            }
        }
        let begins = first.or(session.entries.iter().map(|entry| entry.until.unwrap_or(entry.at)).max());
        if let (0, Some(begin)) = (index, begins) {
            windows.insert(0, (index, 0, begin));
        }
        for entry in session.entries.iter().filter(|e| matches!(e.event, TimelineEvent::Exited { cause: Some(_), .. }))
        {
            let round = of_session.iter().find(|(_, (start, end))| (*start..=*end).contains(&entry.at));
            crashed.extend(round.map(|(round, _)| *round));
        }
        windows.extend(of_session.into_iter().map(|(round, (start, end))| (round, (index, start, end))));
    }
    let rounds: Vec<u64> = windows.keys().copied().collect();
    let all: Vec<Vec<(LanePlace, Mark)>> = sessions.iter().map(marks).collect();
    let span = |round: u64| {
        let (index, start, end) = windows[&round];
        span_of(round, (start, end), &all[index])
    };
    chosen(&rounds, &crashed).into_iter().map(span).collect()
}

/// Returns at most [`MOST_ROUNDS`] of the rounds, ascending.
fn chosen(rounds: &[u64], crashed: &BTreeSet<u64>) -> Vec<u64> {
    const ENDS: usize = 4;
    if rounds.len() <= MOST_ROUNDS {
        return rounds.to_vec();
    }
    let mut kept: BTreeSet<u64> = rounds[..=ENDS].iter().chain(&rounds[rounds.len() - ENDS..]).copied().collect();
    kept.extend(crashed.iter().take((MOST_ROUNDS - kept.len()) / 2));
    let left = MOST_ROUNDS - kept.len();
    let between = (1..=left).map(|step| rounds[step * (rounds.len() - 1) / (left + 1)]);
    kept.extend(between);
    kept.into_iter().collect()
}

/// Returns a round with the marks that touch it. A checkpoint is written while the next round trains.
fn span_of(round: u64, (start, end): (u64, u64), marks: &[(LanePlace, Mark)]) -> Span {
    let of_round =
        |mark: &Mark| mark.kind == MarkKind::Checkpoint && mark.text == format!("checkpoint of round {round} written");
    let written = marks.iter().filter(|(_, mark)| of_round(mark)).map(|(_, mark)| mark.until);
    // A slow disk must not make the round a dot.
    let end = written.filter(|until| *until < end + (end - start) / 2).fold(end, u64::max);
    let mut lanes: BTreeMap<LanePlace, Vec<Mark>> = BTreeMap::new();
    let inside = marks.iter().filter(|(_, mark)| mark.until >= start && mark.at <= end);
    for (lane, mark) in inside.take(MOST_MARKS) {
        let (at, until) = (mark.at.max(start), mark.until.min(end));
        lanes.entry(*lane).or_default().push(Mark { at, until, ..mark.clone() });
    }
    let lanes = lanes.into_iter().map(|(lane, marks)| LaneOfMarks { name: lane.name(), marks }).collect();
    let name = if round == 0 { "start, before round 1".to_owned() } else { round.to_string() };
    Span { name, start, end, lanes }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn session(entries: &[(u64, u64, TimelineEvent<'static>)]) -> TimelineSession {
        let entry = |(at, until, event): &(u64, u64, TimelineEvent<'static>)| TimelineEntry {
            at: *at,
            until: Some(*until),
            event: event.clone(),
        };
        TimelineSession { unix_us: 1_000_000, host: 7, entries: entries.iter().map(entry).collect() }
    }

    pub(crate) fn message(process: u32, name: &'static str) -> PipeMessage<'static> {
        PipeMessage { process, message: name.into(), client: Some(process), bytes: 8 }
    }

    /// A start, and a round in which process 1 trains and process 0 crashes.
    pub(crate) fn one_round() -> TimelineSession {
        let phase = |phase: &'static str, round| TimelineEvent::Phase { phase: phase.into(), round };
        session(&[
            (1, 1, TimelineEvent::Spawned { process: 0, pid: Some(5), strategy: false }),
            (2, 3, TimelineEvent::Received(PipeMessage { client: None, ..message(0, "hello") })),
            (10, 11, phase("sample", 1)),
            (12, 14, TimelineEvent::Sent(message(1, "train"))),
            (12, 13, TimelineEvent::Sent(message(0, "train"))),
            (20, 20, TimelineEvent::Exited { process: 0, cause: Some("it exited with code 3".into()) }),
            (15, 30, TimelineEvent::Epoch { process: 1, client: 1, round: 1, epoch: 0 }),
            (31, 33, TimelineEvent::Received(message(1, "update"))),
            (11, 34, phase("train", 1)),
            (35, 36, TimelineEvent::Sent(message(1, "evaluate"))),
            (39, 40, TimelineEvent::Received(message(1, "evaluated"))),
            (34, 41, phase("evaluate", 1)),
            (42, 50, TimelineEvent::Checkpoint { round: 1 }),
        ])
    }

    #[test]
    fn each_process_has_a_lane_with_its_messages_work_and_crash() {
        let spans = spans(&[one_round()]);
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["start, before round 1", "1"]);
        let round = &spans[1];
        assert_eq!((round.start, round.end), (10, 50));
        let lanes: Vec<&str> = round.lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(lanes, ["host", "checkpoints", "process 0", "process 1"]);
        let kinds: Vec<MarkKind> = round.lanes[3].marks.iter().map(|mark| mark.kind).collect();
        use MarkKind::{Crash, Epoch, Reply, Request, Work};
        assert_eq!(kinds, [Request, Epoch, Reply, Request, Work, Reply], "an epoch stands for the work of a training");
        assert_eq!(round.lanes[2].marks[1].kind, Crash);
        assert_eq!(round.lanes[2].marks[1].text, "crashed: it exited with code 3");
        assert_eq!(
            serde_json::to_string(&round.lanes[3].marks[1]).unwrap(),
            r#"["epoch",15,30,"local epoch 1 of client 1 in round 1"]"#
        );
    }

    #[test]
    fn a_long_run_has_its_ends_its_crashes_and_rounds_between() {
        let rounds: Vec<u64> = (0..=1000).collect();
        let kept = chosen(&rounds, &BTreeSet::from([77, 500]));
        assert!(kept.len() <= MOST_ROUNDS && kept.len() > 20);
        for round in [0, 1, 4, 77, 500, 997, 1000] {
            assert!(kept.contains(&round), "{round} of {kept:?}");
        }
        assert_eq!(chosen(&[0, 1, 2], &BTreeSet::new()), [0, 1, 2]);
    }

    #[test]
    fn a_round_that_a_resume_repeated_is_the_repeated_one() {
        let with = |at| session(&[(at, at + 5, TimelineEvent::Phase { phase: "train".into(), round: 1 })]);
        assert_eq!(spans(&[with(3), with(8)])[1].start, 8);
    }

    #[test]
    fn bytes_have_a_unit() {
        assert_eq!([999, 1_500, 2_500_000, 3_000_000_000].map(shown_bytes), ["999 B", "1.5 kB", "2.5 MB", "3.0 GB"]);
    }
}
