//! The numerics that the models of fedpipe share. The crate has no I/O, no threads, and no global state except the
//! chosen instruction set.
//!
//! The crate promises **the same bits on every 64-bit CPU with FMA**. Each output element of a matrix product starts at
//! 0 or at its bias. It accumulates over the inner index in order, by fused multiply-add. Zeros of the left operand may
//! be skipped. All other sums run in order or in a fixed number of virtual lanes. `exp`, `ln` and the normal quantile
//! are pure Rust. No result depends on the instruction set ([`Isa`]) or on the tile of a kernel; tests compare all of
//! them.
//!
//! A model needs three types: [`Network`] (the layers with their scratch memory), [`Optimiser`] (the local optimiser)
//! and [`Buffer`] (the weights). All weights are one flat slice: `dense1.weight` with shape (inputs, outputs),
//! row-major, then `dense1.bias` with shape (outputs), then `dense2.weight`, and so on. [`Network::new`] makes a
//! perceptron; [`Network::stack`] takes any layers ([`LayerSpec`]).
//!
//! [`NetworkModel`] is the model of one network: its author writes an [`Architecture`], the options and the layers.

mod architecture;
mod buffer;
mod error;
mod hidden_options;
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

pub use architecture::{Architecture, NetworkModel};
pub use buffer::{Buffer, zeros};
pub use error::{Error, Result};
pub use hidden_options::HiddenOptions;
pub use isa::Isa;
pub use layer::{LayerSpec, Norm, Shape, TensorRole, TrainKey};
pub use loss::{ExampleTarget, Score};
pub use network::{NamedTensor, Network};
pub use optimiser::Optimiser;
