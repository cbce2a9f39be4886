//! A client that sends any bytes. The host must not panic, allocate more than it asked for, or accept an answer that
//! must not be averaged.
#![no_main]

use fedpipe_host::fuzzing::receive_input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    receive_input(bytes);
});
