//! The update rules of the optimisers, as the innermost part of a kernel.

use std::array;

use crate::{
    buffer::LANES,
    isa::{Isa, Kernel},
    kernel::part_mut,
};

/// The rule that changes a stretch of weights by its finished gradient: the innermost part of every optimiser.
///
/// A fused step applies it panel by panel, [`Optimiser::step`](crate::optimiser::Optimiser::step) to each stretch that
/// is trained. Elements do not depend on each other, so that both have the same bits.
#[derive(Debug)]
pub(crate) enum StepRule<'a> {
    Store(Store),
    Sgd(Sgd),
    Momentum(Momentum<'a>),
    Nesterov(Momentum<'a>),
    Adam(Adam<'a>),
}

/// Stores the gradient in the target.
#[derive(Debug)]
pub(crate) struct Store;

/// w ← w − ηg.
#[derive(Debug)]
pub(crate) struct Sgd {
    pub(crate) rate: f32,
}

/// v ← ρv + g + λw; w ← w − ηv.
#[derive(Debug)]
pub(crate) struct Momentum<'a> {
    pub(crate) rate: f32,
    pub(crate) momentum: f32,
    pub(crate) decay: f32,
    pub(crate) velocity: &'a mut [f32],
}

/// v ← ρv + g + λw; w ← w − η(g + λw + ρv).
#[derive(Debug)]
struct Nesterov<'m, 'a>(&'m mut Momentum<'a>);

/// Adam (Kingma and Ba 2015, Alg. 1) with the gradient g + λw, or AdamW (Loshchilov and Hutter 2019, Alg. 2), which
/// shrinks w before the step.
///
/// A first moment below the smallest normal number becomes 0. With any usual ε it changes no weight, but the CPU
/// divides subnormal numbers three times more slowly. Weights behind a pixel that is seldom set have many such moments.
#[derive(Debug)]
pub(crate) struct Adam<'a> {
    /// η / (1 − β₁ᵗ).
    pub(crate) rate: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub(crate) scale: f32,
    /// β₁ and 1 − β₁, each rounded once.
    pub(crate) beta1: (f32, f32),
    /// β₂ and 1 − β₂, each rounded once.
    pub(crate) beta2: (f32, f32),
    pub(crate) epsilon: f32,
    pub(crate) decay: f32,
    /// 1 − ηλ of AdamW, rounded once; 1 for Adam.
    pub(crate) shrink: f32,
    pub(crate) first: &'a mut [f32],
    pub(crate) second: &'a mut [f32],
}

/// One rule, compiled into the loops of a kernel.
pub(crate) trait StepUpdate {
    /// `true` if the operands of the rule fit into the registers beside a tile of sums. A panel is then changed at
    /// once.
    const IN_REGISTERS: bool;

    /// Changes `target`, which starts at `at` in the flat buffer. The arguments are arrays, so that the gradient can
    /// stay in registers.
    fn panel<const N: usize>(&mut self, at: usize, target: &mut [f32; N], gradient: &[f32; N]);

    /// Changes `target` as [`StepUpdate::panel`] does, for any length.
    #[inline(always)]
    fn slice(&mut self, at: usize, target: &mut [f32], gradient: &[f32]) {
        let (whole, rest) = target.as_chunks_mut::<LANES>();
        let (whole_gradient, rest_gradient) = gradient.as_chunks();
        let rest_at = at + whole.len() * LANES;
        for ((target, gradient), i) in whole.iter_mut().zip(whole_gradient).zip(0..) {
            self.panel(at + i * LANES, target, gradient);
        }
        for ((target, gradient), i) in rest.iter_mut().zip(rest_gradient).zip(0..) {
            self.panel(rest_at + i, array::from_mut(target), array::from_ref(gradient));
        }
    }
}

impl StepUpdate for Store {
    const IN_REGISTERS: bool = true;

    #[inline(always)]
    fn panel<const N: usize>(&mut self, _: usize, target: &mut [f32; N], gradient: &[f32; N]) {
        *target = *gradient;
    }

    #[inline(always)]
    fn slice(&mut self, _: usize, target: &mut [f32], gradient: &[f32]) {
        target.copy_from_slice(gradient);
    }
}

impl StepUpdate for Sgd {
    const IN_REGISTERS: bool = true;

    #[inline(always)]
    fn panel<const N: usize>(&mut self, _: usize, target: &mut [f32; N], gradient: &[f32; N]) {
        for i in 0..N {
            target[i] = (-self.rate).mul_add(gradient[i], target[i]);
        }
    }

    /// Changes `target` value by value. With AVX-512, LLVM compiles a loop over panels to gathers and scatters.
    #[inline(always)]
    fn slice(&mut self, _: usize, target: &mut [f32], gradient: &[f32]) {
        for (target, gradient) in target.iter_mut().zip(gradient) {
            *target = (-self.rate).mul_add(*gradient, *target);
        }
    }
}

impl StepUpdate for Momentum<'_> {
    const IN_REGISTERS: bool = false;

    #[inline(always)]
    fn panel<const N: usize>(&mut self, at: usize, target: &mut [f32; N], gradient: &[f32; N]) {
        let velocity: &mut [f32; N] = part_mut(self.velocity, at);
        for i in 0..N {
            velocity[i] = self.momentum.mul_add(velocity[i], self.decay.mul_add(target[i], gradient[i]));
            target[i] = (-self.rate).mul_add(velocity[i], target[i]);
        }
    }
}

impl StepUpdate for Nesterov<'_, '_> {
    const IN_REGISTERS: bool = false;

    #[inline(always)]
    fn panel<const N: usize>(&mut self, at: usize, target: &mut [f32; N], gradient: &[f32; N]) {
        let Momentum { rate, momentum, decay, .. } = *self.0;
        let velocity: &mut [f32; N] = part_mut(self.0.velocity, at);
        for i in 0..N {
            let g = decay.mul_add(target[i], gradient[i]);
            velocity[i] = momentum.mul_add(velocity[i], g);
            target[i] = (-rate).mul_add(momentum.mul_add(velocity[i], g), target[i]);
        }
    }
}

impl StepUpdate for Adam<'_> {
    const IN_REGISTERS: bool = false;

    #[inline(always)]
    fn panel<const N: usize>(&mut self, at: usize, target: &mut [f32; N], gradient: &[f32; N]) {
        let (first, second): (&mut [f32; N], &mut [f32; N]) = (part_mut(self.first, at), part_mut(self.second, at));
        let Self { rate, scale, beta1, beta2, epsilon, decay, shrink, .. } = *self;
        for i in 0..N {
            let g = decay.mul_add(target[i], gradient[i]);
            let m = beta1.0.mul_add(first[i], beta1.1 * g);
            let v = beta2.0.mul_add(second[i], beta2.1 * (g * g));
            let m = if m.abs() < f32::MIN_POSITIVE { 0.0 } else { m };
            (first[i], second[i]) = (m, v);
            let step = m / v.sqrt().mul_add(scale, epsilon);
            target[i] = (-rate).mul_add(step, shrink * target[i]);
        }
    }
}

/// A loop that is compiled once for each [`StepUpdate`].
pub(crate) trait Apply {
    fn apply<const W: usize, U: StepUpdate>(self, update: &mut U);
}

impl StepRule<'_> {
    /// Runs `kernel` with this rule. Each rule is compiled to a function of its own, since LLVM keeps no sums in
    /// registers in a function for all of them.
    pub(crate) fn run(&mut self, isa: Isa, kernel: impl Apply) {
        match self {
            StepRule::Store(update) => isa.run(With(kernel, update)),
            StepRule::Sgd(update) => isa.run(With(kernel, update)),
            StepRule::Momentum(update) => isa.run(With(kernel, update)),
            StepRule::Nesterov(update) => isa.run(With(kernel, &mut Nesterov(update))),
            StepRule::Adam(update) => isa.run(With(kernel, update)),
        }
    }
}

struct With<'a, A, U>(A, &'a mut U);

impl<A: Apply, U: StepUpdate> Kernel for With<'_, A, U> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        self.0.apply::<W, U>(self.1);
    }
}

/// The loop of one rule over a stretch of the buffer.
pub(crate) struct Step<'a> {
    /// The place of the stretch in the flat buffer.
    pub(crate) at: usize,
    pub(crate) target: &'a mut [f32],
    pub(crate) gradient: &'a [f32],
}

impl Apply for Step<'_> {
    #[inline(always)]
    fn apply<const W: usize, U: StepUpdate>(self, update: &mut U) {
        update.slice(self.at, self.target, self.gradient);
    }
}
