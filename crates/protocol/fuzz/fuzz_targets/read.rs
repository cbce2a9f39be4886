//! Reads hostile bytes as a host and as a client would: no panic, no allocation beyond the limits, and whatever is
//! understood survives being written and read again.
#![no_main]

use std::fmt::Debug;

use fedpipe_protocol::{Data, Limits, MAGIC, Part, Parts, Reply, Request, read, write};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { payload: 1 << 20 };

/// What can be done with either message.
trait Message: Debug + PartialEq + Sized {
    fn read(bytes: &mut &[u8]) -> Option<(Self, Parts)>;
    fn write(&self, parts: &[Part<'_>]) -> Vec<u8>;
}

macro_rules! message {
    ($type:ty) => {
        impl Message for $type {
            fn read(bytes: &mut &[u8]) -> Option<(Self, Parts)> {
                read(bytes, LIMITS).ok()
            }

            fn write(&self, parts: &[Part<'_>]) -> Vec<u8> {
                let mut bytes = Vec::new();
                write(&mut bytes, self, parts).expect("memory takes everything");
                bytes
            }
        }
    };
}

message!(Reply);
message!(Request);

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        // A frame around the bytes, so that the fuzzer need not find out lengths: a header up to the first 0, a payload.
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

/// Frame after frame, until one is broken.
fn conversation<M: Message>(mut bytes: &[u8]) {
    while let Some((message, parts)) = M::read(&mut bytes) {
        let written = message.write(&borrowed(&parts));
        let (again, parts) = M::read(&mut written.as_slice()).expect("what was written is read");
        assert_eq!(again, message);
        // By bytes, since NaN is not equal to itself.
        assert_eq!(again.write(&borrowed(&parts)), written);
    }
}

fn borrowed(parts: &Parts) -> Vec<Part<'_>> {
    let mut borrowed = Vec::new();
    for (name, data) in parts.iter() {
        borrowed.push(match data {
            Data::F32(values) => Part::F32(name, values),
            Data::U8(bytes) => Part::U8(name, bytes),
        });
    }
    borrowed
}
