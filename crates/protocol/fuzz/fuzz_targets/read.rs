//! Reads hostile bytes as a host and as a client. Nothing may panic or allocate beyond the limits. A message that is
//! understood must be the same after it is written and read again.
#![no_main]

use std::fmt::Debug;

use fedpipe_protocol::{PartData, Limits, MAGIC, Part, Parts, Reply, Request, read, write};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { header: 1 << 20, payload: 1 << 20 };

/// The operations that both kinds of message have.
trait FuzzedMessage: Debug + PartialEq + Sized {
    fn read(bytes: &mut &[u8]) -> Option<(Self, Parts)>;
    fn write(&self, parts: &[Part<'_>]) -> Vec<u8>;
}

macro_rules! message {
    ($type:ty) => {
        impl FuzzedMessage for $type {
            fn read(bytes: &mut &[u8]) -> Option<(Self, Parts)> {
                read(bytes, LIMITS).ok()
            }

            fn write(&self, parts: &[Part<'_>]) -> Vec<u8> {
                let mut bytes = Vec::new();
                write(&mut bytes, self, parts).expect("a write to memory cannot fail");
                bytes
            }
        }
    };
}

message!(Reply);
message!(Request);

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        // The bytes get a frame around them, since a fuzzer rarely finds valid lengths. The header ends at the first 0.
        Some((0, rest)) => {
            let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
            let (header, payload) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
            let lengths = ((header.len() as u32).to_le_bytes(), (payload.len() as u64).to_le_bytes());
            both(&[&MAGIC[..], &lengths.0, &lengths.1, header, payload].concat());
        }
        _ => both(bytes),
    }
});

fn both(bytes: &[u8]) {
    conversation::<Reply>(bytes);
    conversation::<Request>(bytes);
}

/// Reads frames until one is broken.
fn conversation<M: FuzzedMessage>(mut bytes: &[u8]) {
    while let Some((message, parts)) = M::read(&mut bytes) {
        let written = message.write(&borrowed(&parts));
        let (again, parts) = M::read(&mut written.as_slice()).expect("a frame that was written can be read");
        assert_eq!(again, message);
        // Bytes are compared, since NaN is not equal to itself.
        assert_eq!(again.write(&borrowed(&parts)), written);
    }
}

fn borrowed(parts: &Parts) -> Vec<Part<'_>> {
    let mut borrowed = Vec::new();
    for (name, data) in parts.iter() {
        borrowed.push(match data {
            PartData::F32(values) => Part::F32(name, values),
            PartData::U8(bytes) => Part::U8(name, bytes),
            PartData::U32(values) => Part::U32(name, values),
        });
    }
    borrowed
}
