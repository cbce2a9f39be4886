//! Keyed random streams and samplers, with the same bits on every machine. No I/O, no global state.
//!
//! - [`key`]: a [`Key`](key::Key) names one ChaCha8 stream by seed, use, client, round and epoch;
//! - [`order`]: whole numbers below a bound, Fisher–Yates orders, and orders by weight;
//! - [`normal`]: the standard normal distribution by inversion;
//! - [`gamma`]: gamma samples, and the shares of a Dirichlet distribution.
//!
//! Logarithms and exponentials come from the `libm` crate, which is pure Rust: the system's libm has other bits
//! elsewhere.

pub mod gamma;
pub mod key;
pub mod normal;
pub mod order;

pub use rand_chacha::ChaCha8Rng;

#[cfg(test)]
mod vectors;
