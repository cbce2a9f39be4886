//! A client that says any bytes: no panic, no allocation beyond what was asked for, and no answer taken that is
//! not fit to be averaged.
#![no_main]

use fedpipe_host::fuzzing::receive;
use fedpipe_protocol::{MAGIC, PROTOCOL, Reply, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        // Frames around the bytes, so that the fuzzer need not find out lengths.
        Some((0, frames)) => receive(&[hello(), framed(frames)].concat()),
        Some((1, after_hello)) => receive(&[&hello(), after_hello].concat()),
        _ => receive(bytes),
    };
});

fn hello() -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame, &Reply::Hello { protocol: PROTOCOL }, &[]).expect("memory takes everything");
    frame
}

/// Each frame is a header, a 0, the length of its payload in a byte, and the payload.
fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let (header, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
        let length = rest.first().map_or(0, |&length| usize::from(length).min(rest.len() - 1));
        let payload = rest.get(1..1 + length).unwrap_or_default();
        frames.extend(MAGIC);
        frames.extend((header.len() as u32).to_le_bytes());
        frames.extend((length as u64).to_le_bytes());
        frames.extend([header, payload].concat());
        bytes = rest.get(1 + length..).unwrap_or_default();
    }
    frames
}
