use crate::isa::Kernel;

/// `values = values > 0 ? values : 0`. NaN becomes 0, so whoever trains checks the loss.
pub(crate) struct Relu<'a> {
    pub(crate) values: &'a mut [f32],
}

impl Kernel for Relu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const PANEL: usize>(self) {
        for x in self.values {
            *x = where_positive(*x, *x);
        }
    }
}

/// The gradient before a ReLU from the one after it: 0 where the ReLU's `outputs` are.
pub(crate) struct ReluGradient<'a> {
    pub(crate) outputs: &'a [f32],
    pub(crate) gradient: &'a mut [f32],
}

impl Kernel for ReluGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const PANEL: usize>(self) {
        for (g, y) in self.gradient.iter_mut().zip(self.outputs) {
            *g = where_positive(*y, *g);
        }
    }
}

/// `value` where `x` > 0, else 0. As bits, because a branch whose one side changes nothing is compiled to masked stores,
/// which cost a tenth of an epoch.
#[inline(always)]
fn where_positive(x: f32, value: f32) -> f32 {
    f32::from_bits(value.to_bits() & u32::from(x > 0.0).wrapping_neg())
}
