//! ReLU and its gradient.

use crate::isa::Kernel;

/// ReLU: an output is its input if that is positive, otherwise 0. NaN becomes 0, so that only the loss shows it.
///
/// Inputs and outputs are two buffers: LLVM compiles a loop over one buffer to masked stores, which are ten times
/// slower.
pub(crate) struct Relu<'a> {
    pub(crate) inputs: &'a [f32],
    pub(crate) outputs: &'a mut [f32],
}

impl Kernel for Relu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        for (out, &x) in self.outputs.iter_mut().zip(self.inputs) {
            *out = if x > 0.0 { x } else { 0.0 };
        }
    }
}

/// The gradient before a ReLU: the gradient after it where the output of the ReLU is positive, otherwise 0.
pub(crate) struct ReluGradient<'a> {
    pub(crate) outputs: &'a [f32],
    pub(crate) after: &'a [f32],
    pub(crate) before: &'a mut [f32],
}

impl Kernel for ReluGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        for ((before, &after), &output) in self.before.iter_mut().zip(self.after).zip(self.outputs) {
            *before = if output > 0.0 { after } else { 0.0 };
        }
    }
}
