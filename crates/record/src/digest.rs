//! The SHA-256 of weights, of a server's state and of bytes, in hexadecimal.

use fedpipe_data::pieces_sha256;
use fedpipe_strategy::slots::Slots;

use crate::client_state::ClientFile;

/// Returns the SHA-256 of flat weights, in hexadecimal: over little-endian f32 in layout order, without a header.
pub fn weights_sha256(weights: &[f32]) -> String {
    bytes_sha256(bytemuck::cast_slice(weights))
}

/// Returns the SHA-256 of a state, in hexadecimal; `None` for an empty one. Each slot counts as its name, its length in
/// bytes (u64) and its bytes, little-endian, in the order of the names.
pub fn slots_sha256(state: &Slots) -> Option<String> {
    let lengths: Vec<[u8; 8]> = state.iter().map(|(_, slot)| (slot.bytes().len() as u64).to_le_bytes()).collect();
    let pieces = lengths.iter().zip(state.iter()).flat_map(|(len, (name, slot))| [name.as_bytes(), len, slot.bytes()]);
    (!state.is_empty()).then(|| pieces_sha256(pieces))
}

/// Returns the SHA-256 of the client states that a round changed, in hexadecimal; `None` if there are none. Each
/// counts as the client's number (u32, little-endian) and the SHA-256 of its file, in the order of the clients.
pub fn clients_sha256(changed: &[ClientFile]) -> Option<String> {
    let numbers: Vec<[u8; 4]> = changed.iter().map(|file| file.client.to_le_bytes()).collect();
    let pieces = numbers.iter().zip(changed).flat_map(|(number, file)| [number.as_slice(), file.sha256.as_bytes()]);
    (!changed.is_empty()).then(|| pieces_sha256(pieces))
}

/// Returns the SHA-256 of bytes, in hexadecimal.
pub fn bytes_sha256(bytes: &[u8]) -> String {
    pieces_sha256([bytes])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fedpipe_strategy::slots::Slot;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_readme_of_strategy() {
        let state = Slots::from_iter([("m", Slot::F32(Arc::new(vec![1.0])))]);
        let vector = |values: &[f32]| ("c", Slot::F32(Arc::new(values.to_vec())));
        let program = ("program", Slot::Bytes(Arc::new(vec![7])));
        let files = [(0, Slots::from_iter([vector(&[1.0])])), (3, Slots::from_iter([vector(&[1.0, -2.0]), program]))];
        let files = files.map(|(client, state)| ClientFile::of(client, 1, &state).unwrap().0);
        let hashes = [
            ("`weights_sha256` of 1, −2", weights_sha256(&[1.0, -2.0])),
            ("`server_sha256` of m = 1", slots_sha256(&state).unwrap()),
            ("SHA-256 of the file of a state: c = 1, −2 and program = 7", files[1].sha256.clone()),
            ("`clients_sha256` of client 0 with c = 1, and client 3 with that file", clients_sha256(&files).unwrap()),
        ];
        for (name, hash) in hashes {
            let row = format!("| {name} | {hash} |");
            assert!(include_str!("../../strategy/README.md").lines().any(|line| line == row), "{row}");
        }
    }

    #[test]
    fn a_state_is_known_by_its_vectors_and_their_names() {
        let state = |m: &[f32], v: &[f32], program: &[u8]| {
            let vector = |values: &[f32]| Slot::F32(Arc::new(values.to_vec()));
            let program = Slot::Bytes(Arc::new(program.to_vec()));
            Slots::from_iter([("m", vector(m)), ("v", vector(v)), ("program", program)])
        };
        assert_eq!(slots_sha256(&state(&[], &[], &[])), None);
        // printf 'm\x04\0\0\0\0\0\0\0\x00\x00\x80\x3f' | sha256sum
        let known = "29691c6eaadea27035f1e0d0ce4a43cf8696f99b4adf136aae845280ee6f2501";
        assert_eq!(slots_sha256(&state(&[1.0], &[], &[])).unwrap(), known);
        let others = [state(&[], &[1.0], &[]), state(&[1.0, 0.0], &[], &[]), state(&[], &[], &[0, 0, 128, 63])];
        assert!(others.iter().all(|other| slots_sha256(other).unwrap() != known));
    }
}
