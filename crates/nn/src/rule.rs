use std::array;

use crate::{buffer::LANES, isa::Kernel, kernel::part_mut};

/// What happens to a stretch of weights whose gradient is finished: the innermost part of every optimiser, used alike
/// by fused steps (a panel at a time) and by [`Optimiser::step`](crate::Optimiser::step) (all at once). Each element
/// is computed by itself, so that the bits do not depend on which of the two it was.
#[derive(Debug)]
pub(crate) enum Rule<'a> {
    /// The target is the gradient itself.
    Store,
    /// w ← w − ηg.
    Sgd { rate: f32 },
    /// v ← ρv + g + λw; w ← w − ηv.
    Momentum { rate: f32, momentum: f32, decay: f32, velocity: &'a mut [f32] },
    /// Adam (Kingma and Ba 2015, Alg. 1) with g + λw for the gradient; `rate` and `scale` hold the bias corrections.
    Adam { adam: Adam, first: &'a mut [f32], second: &'a mut [f32] },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Adam {
    /// η / (1 − β₁ᵗ).
    pub(crate) rate: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub(crate) scale: f32,
    /// β₁ and 1 − β₁, each rounded by itself.
    pub(crate) first: (f32, f32),
    /// β₂ and 1 − β₂.
    pub(crate) second: (f32, f32),
    pub(crate) epsilon: f32,
    pub(crate) decay: f32,
}

impl Rule<'_> {
    /// Applies the rule to `target`, which starts at `at` in the flat buffer.
    #[inline(always)]
    pub(crate) fn apply(&mut self, at: usize, target: &mut [f32], gradient: &[f32]) {
        let (whole, rest) = target.as_chunks_mut::<LANES>();
        let (whole_gradient, rest_gradient) = gradient.as_chunks();
        let rest_at = at + whole.len() * LANES;
        for ((target, gradient), i) in whole.iter_mut().zip(whole_gradient).zip(0..) {
            self.apply_panel(at + i * LANES, target, gradient);
        }
        for ((target, gradient), i) in rest.iter_mut().zip(rest_gradient).zip(0..) {
            self.apply_panel(rest_at + i, array::from_mut(target), array::from_ref(gradient));
        }
    }

    /// As [`Rule::apply`]. Arrays and indices, so that the gradient can stay in registers.
    #[inline(always)]
    pub(crate) fn apply_panel<const N: usize>(&mut self, at: usize, target: &mut [f32; N], gradient: &[f32; N]) {
        match self {
            Rule::Store => *target = *gradient,
            Rule::Sgd { rate } => {
                for i in 0..N {
                    target[i] = (-*rate).mul_add(gradient[i], target[i]);
                }
            }
            Rule::Momentum { rate, momentum, decay, velocity } => {
                let velocity: &mut [f32; N] = part_mut(velocity, at);
                for i in 0..N {
                    velocity[i] = momentum.mul_add(velocity[i], decay.mul_add(target[i], gradient[i]));
                    target[i] = (-*rate).mul_add(velocity[i], target[i]);
                }
            }
            Rule::Adam { adam, first, second } => {
                let (first, second): (&mut [f32; N], &mut [f32; N]) = (part_mut(first, at), part_mut(second, at));
                for i in 0..N {
                    adam.update(&mut target[i], gradient[i], &mut first[i], &mut second[i]);
                }
            }
        }
    }
}

impl Adam {
    #[inline(always)]
    fn update(&self, w: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
        let g = self.decay.mul_add(*w, g);
        *m = self.first.0.mul_add(*m, self.first.1 * g);
        *v = self.second.0.mul_add(*v, self.second.1 * (g * g));
        *w = (-self.rate).mul_add(*m / v.sqrt().mul_add(self.scale, self.epsilon), *w);
    }
}

/// One rule over a whole buffer.
pub(crate) struct Apply<'a> {
    pub(crate) rule: Rule<'a>,
    pub(crate) target: &'a mut [f32],
    pub(crate) gradient: &'a [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const ROWS: usize, const COLS: usize, const PANEL: usize>(mut self) {
        self.rule.apply(0, self.target, self.gradient);
    }
}
