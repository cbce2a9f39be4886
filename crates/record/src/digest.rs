//! The SHA-256 of weights, of a server's state and of bytes, in hexadecimal.

use fedpipe_data::pieces_sha256;
use fedpipe_strategy::server::ServerState;

/// SHA-256 of flat weights, in hexadecimal: over little-endian f32 in layout order, without a header.
pub fn weights_sha256(weights: &[f32]) -> String {
    bytes_sha256(bytemuck::cast_slice(weights))
}

/// Returns the SHA-256 of a server's state, in hexadecimal; `None` for an empty one. Each vector that is not empty counts
/// as its name, its length in bytes (u64) and its bytes, little-endian.
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
    fn the_identity_of_weights_is_that_of_their_little_endian_bytes() {
        // printf '\x00\x00\x80\x3f\x00\x00\x00\xc0' | sha256sum
        assert_eq!(weights_sha256(&[1.0, -2.0]), "ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b");
    }
}
