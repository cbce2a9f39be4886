use crate::isa::Kernel;

/// `outputs = inputs` where they are positive, else 0. NaN becomes 0, so whoever trains checks the loss.
///
/// From one buffer to another: of a loop over one LLVM makes masked stores, which take ten times as long, and where a tile
/// of sums is finished it takes the registers apart.
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

/// The gradient before a ReLU from the one after: 0 unless the ReLU's output in its place is positive.
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
