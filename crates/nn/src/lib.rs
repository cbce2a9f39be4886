//! The numerics that fedpipe's models share. No I/O, no threads, no global state but the choice of instruction set.
//!
//! The promise: **the same bits on every 64-bit CPU with FMA.** Every output element of a matrix product accumulates
//! over its inner index in order, by fused multiply-add, from 0 or its bias, and where it pays skips the zeros of its left
//! operand; the other sums run in a fixed number of virtual lanes, or in order. `exp`, `ln` and the normal quantile are pure Rust.
//! So neither the instruction set ([`Isa`]) nor the tile of a kernel is in a result, and a test compares them all.
//!
//! A model needs three types: [`Network`], the layers with all their scratch memory; [`Optimiser`], the local solver;
//! and [`Buffer`], its weights. All weights are one flat slice, `dense1.weight` (inputs, outputs) row-major, then
//! `dense1.bias` (outputs), then `dense2.weight`, and so on.

mod buffer;
mod error;
pub mod init;
mod isa;
mod kernel;
mod layer;
mod loss;
pub mod math;
#[cfg(test)]
mod naive;
mod network;
mod optimiser;
mod rule;

pub use buffer::{Buffer, zeros};
pub use error::{Error, Result};
pub use isa::Isa;
pub use loss::Score;
pub use network::Network;
pub use optimiser::Optimiser;
