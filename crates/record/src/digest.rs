//! The SHA-256 of weights, of a server's state and of bytes, in hexadecimal.

use fedpipe_data::pieces_sha256;
use fedpipe_strategy::server::ServerState;

/// Returns the SHA-256 of flat weights, in hexadecimal: over little-endian f32 in layout order, without a header.
pub fn weights_sha256(weights: &[f32]) -> String {
    bytes_sha256(bytemuck::cast_slice(weights))
}

/// Returns the SHA-256 of a server's state, in hexadecimal; `None` for an empty one. Each vector that is not empty
/// counts as its name, its length in bytes (u64) and its bytes, little-endian.
pub fn server_sha256(state: &ServerState) -> Option<String> {
    let held = state.vectors().into_iter().filter(|(_, bytes)| !bytes.is_empty());
    let lengths: Vec<[u8; 8]> = held.clone().map(|(_, bytes)| (bytes.len() as u64).to_le_bytes()).collect();
    let pieces = lengths.iter().zip(held).flat_map(|(len, (name, bytes))| [name.as_bytes(), len, bytes]);
    (!lengths.is_empty()).then(|| pieces_sha256(pieces))
}

/// SHA-256 of bytes, in hexadecimal.
pub fn bytes_sha256(bytes: &[u8]) -> String {
    pieces_sha256([bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_readme_of_strategy() {
        let state = ServerState { m: vec![1.0], ..ServerState::default() };
        let hashes = [
            ("`weights_sha256` of 1, −2", weights_sha256(&[1.0, -2.0])),
            ("`server_sha256` of m = 1", server_sha256(&state).unwrap()),
        ];
        for (name, hash) in hashes {
            let row = format!("| {name} | {hash} |");
            assert!(include_str!("../../strategy/README.md").lines().any(|line| line == row), "{row}");
        }
    }

    #[test]
    fn a_state_is_known_by_its_vectors_and_their_names() {
        let state =
            |m: &[f32], v: &[f32], program: &[u8]| ServerState { m: m.into(), v: v.into(), program: program.into() };
        assert_eq!(server_sha256(&state(&[], &[], &[])), None);
        // printf 'm\x04\0\0\0\0\0\0\0\x00\x00\x80\x3f' | sha256sum
        let known = "29691c6eaadea27035f1e0d0ce4a43cf8696f99b4adf136aae845280ee6f2501";
        assert_eq!(server_sha256(&state(&[1.0], &[], &[])).unwrap(), known);
        let others = [state(&[], &[1.0], &[]), state(&[1.0, 0.0], &[], &[]), state(&[], &[], &[0, 0, 128, 63])];
        assert!(others.iter().all(|other| server_sha256(other).unwrap() != known));
    }
}
