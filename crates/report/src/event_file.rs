//! The event file that TensorBoard reads: records of Protocol Buffers in TensorFlow's framing.
//!
//! A record is the length (u64), the masked CRC-32C of the length, the data, and the masked CRC-32C of the data. The
//! messages are `Event` and `Summary` of TensorFlow's `event.proto` and `summary.proto`; this module writes the few
//! fields that a scalar needs.

use std::collections::BTreeMap;

use fedpipe_record::{
    history::History,
    timeline::{TimelineEvent, TimelineSession},
};

use crate::metrics_table::numbers;

/// Returns the file: each number of each round as a scalar, the round as its step.
pub fn event_file(history: &History, sessions: &[TimelineSession]) -> Vec<u8> {
    let times = times(history, sessions);
    let begin = times.values().copied().next().unwrap_or(0.0);
    let mut file = record(&event(begin, 0, &bytes_field(3, b"brain.Event:2")));
    if let Some(initial) = history.initial {
        let scores = [("accuracy", initial.accuracy), ("loss", Some(initial.loss))];
        let scores = scores.into_iter().filter_map(|(name, number)| Some((name, number?.get())));
        file.extend(record(&event(begin, 0, &summary(scores))));
    }
    for round in &history.rounds {
        let time = times.get(&round.round).copied().unwrap_or(begin);
        file.extend(record(&event(time, round.round, &summary(numbers(round)))));
    }
    file
}

/// Returns the seconds since 1970 at which each round ended, by the timeline. A round that the timeline lacks ended
/// after the one before by its own seconds.
fn times(history: &History, sessions: &[TimelineSession]) -> BTreeMap<u64, f64> {
    let mut known = BTreeMap::new();
    for session in sessions {
        for entry in &session.entries {
            if let TimelineEvent::Phase { round, .. } = &entry.event {
                let end = session.unix_us + entry.until.unwrap_or(entry.at);
                known.insert(*round, end as f64 / 1e6);
            }
        }
    }
    let mut last = sessions.first().map_or(0.0, |session| session.unix_us as f64 / 1e6);
    let mut all = BTreeMap::from([(0, last)]);
    for round in &history.rounds {
        last = known.get(&round.round).copied().unwrap_or(last + round.seconds.get());
        all.insert(round.round, last);
    }
    all
}

/// Returns an `Event` with `wall_time` (1), `step` (2) and another field.
fn event(time: f64, step: u64, field: &[u8]) -> Vec<u8> {
    let mut message = vec![1 << 3 | 1];
    message.extend(time.to_le_bytes());
    // A field with its default value is absent.
    if step > 0 {
        message.push(2 << 3);
        message.extend(varint(step));
    }
    message.extend(field);
    message
}

/// Returns the field `summary` (5) of an `Event`: a list of `Value` (1), each with `tag` (1) and `simple_value` (2).
fn summary<'n>(numbers: impl Iterator<Item = (&'n str, f64)>) -> Vec<u8> {
    let value = |(name, number): (&str, f64)| {
        let mut value = bytes_field(1, name.as_bytes());
        value.push(2 << 3 | 5);
        value.extend((number as f32).to_le_bytes());
        bytes_field(1, &value)
    };
    bytes_field(5, &numbers.flat_map(value).collect::<Vec<u8>>())
}

/// Returns a field whose type has a length.
fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], &varint(content.len() as u64)[..], content].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// Returns the checksum as TFRecord masks it.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TensorBoard 2.21 wrote the stored records (`event_file.py`).
    #[test]
    fn records_are_those_of_tensorboard() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let stored: Vec<&str> =
            include_str!("event_file.golden").lines().filter(|line| !line.starts_with('#')).collect();
        let version = event(1.5, 0, &bytes_field(3, b"brain.Event:2"));
        let scalars = event(2.25, 300, &summary([("loss", 0.5), ("accuracy", -1.0)].into_iter()));
        assert_eq!([version, scalars].map(|message| hex(&record(&message))), stored[..]);
    }

    #[test]
    fn numbers_of_any_size_are_varints() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(300), [0xac, 2]);
        assert_eq!(varint(u64::MAX).len(), 10);
    }
}
