//! Property tests of the framing: a frame is read as it was written; a broken frame is refused without a panic or a
//! large allocation.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use fedpipe_protocol::{
    FrameError, HeldPartition, Isolation, Level, Limits, MAX_REPLY_HEADER, PROTOCOL, Part, PartData, Parts, Purpose,
    Reply, Request, Setup, Target, Task, Train, Update, read, write,
};
use proptest::prelude::*;

const ANY: Limits = Limits { header: 1 << 20, payload: 1 << 30 };

fn train() -> Request {
    Request::Train(Train::plain(3, 9))
}

fn frame(weights: &[f32], state: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let numbers: Vec<u32> = weights.iter().map(|weight| weight.to_bits()).collect();
    let parts = [Part::U32("numbers", &numbers), Part::F32("weights", weights), Part::U8("state", state)];
    write(&mut bytes, &train(), &parts).unwrap();
    bytes
}

/// A reader that returns one byte a call, as a slow pipe may.
struct Trickle<'a>(&'a [u8]);

impl std::io::Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = out.len().min(self.0.len()).min(1);
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(bits in prop::collection::vec(any::<u32>(), 0..200), state: Vec<u8>) {
        let weights: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        let bytes = [frame(&weights, &state), frame(&[], &[])].concat();
        let mut reader = Trickle(&bytes);
        let (request, mut parts): (Request, Parts) = read(&mut reader, ANY).unwrap();
        prop_assert_eq!(request, train());
        prop_assert_eq!(parts.iter().last(), Some(("state", &PartData::U8(state))));
        // Bits are compared, since NaN must be preserved and NaN differs from itself.
        let got: Vec<u32> = parts.take_f32("weights").unwrap().iter().map(|w| w.to_bits()).collect();
        prop_assert_eq!(&got, &bits);
        prop_assert_eq!(parts.take_f32("numbers"), None);
        prop_assert_eq!(parts.take_u32("numbers"), Some(bits));
        prop_assert!(read::<Request>(&mut reader, ANY).is_ok());
        prop_assert!(matches!(read::<Request>(&mut reader, ANY), Err(FrameError::End)));
    }

    #[test]
    fn a_truncated_frame_is_an_error(cut in 0.0..1.0_f64) {
        let bytes = frame(&[1.0, 2.0], &[3]);
        let kept = (bytes.len() as f64 * cut) as usize;
        match read::<Request>(&mut &bytes[..kept], ANY) {
            Err(FrameError::End) => prop_assert_eq!(kept, 0),
            Err(FrameError::Io(_)) => prop_assert!(kept > 0),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(position in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = frame(&[1.0, 2.0], &[3]);
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        let _ = read::<Request>(&mut bytes.as_slice(), Limits::reply(64));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = read::<Reply>(&mut bytes.as_slice(), Limits::reply(64));
    }
}

fn refusal(header: u32, payload: u64, json: &str) -> String {
    let mut bytes = b"fdp1".to_vec();
    bytes.extend(header.to_le_bytes());
    bytes.extend(payload.to_le_bytes());
    bytes.extend(json.bytes());
    match read::<Reply>(&mut bytes.as_slice(), Limits::reply(64)) {
        Err(FrameError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn claims_beyond_the_limits_are_refused_before_anything_is_allocated() {
    assert!(refusal(MAX_REPLY_HEADER + 1, 0, "").contains("header of 1048577 bytes"));
    assert!(refusal(2, 1 << 60, "{}").contains("payload of 1152921504606846976 bytes, at most 64"));
    let json = r#"{"body":{"type":"weights"},"parts":[{"name":"weights","dtype":"f32","len":4611686018427387905}]}"#;
    assert!(refusal(json.len() as u32, 4, json).contains("do not add up"));
    assert!(refusal(2, 0, "{}").contains("not understood"));
}

/// A reader that ends after `bytes` and records the largest read that is requested after that.
struct RecordingReader<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl std::io::Read for RecordingReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes.is_empty() {
            self.most = self.most.max(out.len());
            return Ok(0);
        }
        self.bytes.read(out)
    }
}

#[test]
fn a_payload_that_does_not_arrive_takes_no_memory() {
    let json = r#"{"body":{"type":"weights"},"parts":[{"name":"weights","dtype":"f32","len":1073741824}]}"#;
    let mut bytes = b"fdp1".to_vec();
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend((4_u64 << 30).to_le_bytes());
    bytes.extend(json.bytes());
    let mut reader = RecordingReader { bytes: &bytes, most: 0 };
    let read = read::<Reply>(&mut reader, Limits::reply(4 << 30));
    assert!(matches!(read, Err(FrameError::Io(_))), "{read:?}");
    assert_eq!(reader.most, 16 << 20);
}

#[test]
fn a_loss_that_json_cannot_hold_is_read_as_nan() {
    let update = |loss_sum| Update { loss_sum, ..Update::plain(0, 1, 1) };
    for (written, is_nan) in [(f64::NAN, true), (f64::INFINITY, true), (0.1 + 0.2, false)] {
        let mut bytes = Vec::new();
        write(&mut bytes, &Reply::Update(update(written)), &[]).unwrap();
        let Ok((Reply::Update(Update { loss_sum, .. }), _)) = read(&mut bytes.as_slice(), ANY) else { panic!() };
        assert_eq!((loss_sum.is_nan(), loss_sum == written), (is_nan, !is_nan));
    }
}

#[test]
fn a_setup_of_sixty_thousand_partitions_is_read_as_it_was_written() {
    let held = |client| HeldPartition {
        client,
        path: format!("/home/somebody/.cache/fedpipe/partitions/{client:032}/{client:06}.safetensors").into(),
        sha256: Some(format!("{client:064}")),
    };
    let isolation = Isolation { level: Level::Auto, memory_limit: None, cpu_seconds: None };
    let purpose = Purpose::Serve {
        task: Task { shape: vec![28, 28], target: Target::Classes(10) },
        partitions: (0..60_000).map(held).collect(),
        test: "/test".into(),
    };
    let request = Request::Setup(Setup { purpose, ..Setup::describe(None, isolation) });
    let mut bytes = Vec::new();
    write(&mut bytes, &request, &[]).unwrap();
    assert!(bytes.len() > 10 * MAX_REPLY_HEADER as usize);
    assert_eq!(read::<Request>(&mut bytes.as_slice(), Limits::request(0)).unwrap().0, request);
    // A client that claims as large a header is refused before memory is taken.
    assert!(matches!(read::<Request>(&mut bytes.as_slice(), Limits::reply(0)), Err(FrameError::Malformed(_))));
}

#[test]
fn another_magic_is_shown() {
    let error = read::<Reply>(&mut &b"GET / HTTP/1.1\r\n"[..], ANY).unwrap_err().to_string();
    assert!(error.contains(r#"starts with "GET ""#), "{error}");
}

#[test]
fn a_reply_has_the_bytes_of_the_specification() {
    let mut bytes = Vec::new();
    write(&mut bytes, &Reply::Hello { protocol: 1 }, &[]).unwrap();
    let json = br#"{"body":{"type":"hello","protocol":1}}"#;
    assert_eq!(bytes, [b"fdp1".as_slice(), &38_u32.to_le_bytes(), &0_u64.to_le_bytes(), json].concat());
}

/// A fuzzer that starts from frames of another version finds nothing behind the first field.
#[test]
fn the_seeds_of_the_fuzzer_are_frames_of_this_protocol() {
    const BROKEN: [&str; 4] = ["huge-payload", "long-header", "overflow", "truncated"];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        // The fuzzer puts a frame around a bare one.
        if name.ends_with("-bare") {
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        let request = read::<Request>(&mut &bytes[..], ANY);
        let reply = read::<Reply>(&mut &bytes[..], ANY);
        assert_eq!(request.is_ok() || reply.is_ok(), !BROKEN.contains(&name.as_str()), "{name}: {request:?} {reply:?}");
        let is_current = !matches!(reply, Ok((Reply::Hello { protocol }, _)) if protocol != PROTOCOL);
        assert!(is_current, "{name}");
    }
}
