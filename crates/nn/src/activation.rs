use crate::isa::Kernel;

/// `values = values > 0 ? values : 0`. NaN becomes 0, so whoever trains checks the loss.
pub(crate) struct Relu<'a> {
    pub(crate) values: &'a mut [f32],
}

impl Kernel for Relu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const ROWS: usize, const COLS: usize, const PANEL: usize>(self) {
        for x in self.values {
            *x = if *x > 0.0 { *x } else { 0.0 };
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
    fn run<const ROWS: usize, const COLS: usize, const PANEL: usize>(self) {
        for (g, y) in self.gradient.iter_mut().zip(self.outputs) {
            *g = if *y > 0.0 { *g } else { 0.0 };
        }
    }
}
