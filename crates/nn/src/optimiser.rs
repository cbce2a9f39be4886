//! The local optimiser: SGD with momentum and weight decay, Adam and AdamW.

use std::{iter, ops::Range};

use serde::Deserialize;

use crate::{
    buffer::{Buffer, zeros},
    error::{Error, Result},
    isa::Isa,
    rule::{Adam, Momentum, Sgd, Step, StepRule},
};

/// The local optimiser of a client, which turns gradients into steps.
///
/// JSON such as `{"name":"sgd","momentum":0.9}` describes it:
///
/// | name | keys (defaults) |
/// |---|---|
/// | `sgd` | `momentum` (0), `nesterov` (false), `weight_decay` (0), `keep` (false) |
/// | `adam` | `beta1` (0.9), `beta2` (0.999), `epsilon` (1e-8), `weight_decay` (0) |
/// | `adamw` | `beta1` (0.9), `beta2` (0.999), `epsilon` (1e-8), `weight_decay` (0.01) |
///
/// Weight decay λw is added to the gradient. `adamw` multiplies w by 1 − ηλ instead. Momentum is v ← ρv + g; w ← w −
/// ηv, or w ← w − η(g + ρv) with `nesterov`, as in PyTorch.
///
/// ```
/// let mut optimiser = fedpipe_nn::Optimiser::new()?;
/// let mut weights = [1.0];
/// optimiser.begin(r#"{"name":"sgd","momentum":0.5}"#, weights.len(), 0)?;
/// optimiser.step(&mut weights, &[1.0], 0.25, &[]); // v = 1
/// optimiser.step(&mut weights, &[1.0], 0.25, &[]); // v = 1.5
/// assert_eq!(weights, [0.375]);
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Optimiser {
    isa: Isa,
    json: String,
    kind: OptimiserKind,
    /// The number of steps in this round.
    steps: u64,
    /// β₁ᵗ and β₂ᵗ by repeated multiplication, since `powi` differs between platforms.
    powers: [f64; 2],
    /// The velocity or the first moment, one value for each weight; empty for plain SGD.
    first: Buffer,
    /// The second moment, one value for each weight; empty for SGD.
    second: Buffer,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
enum OptimiserKind {
    Sgd {
        #[serde(default)]
        momentum: f32,
        #[serde(default)]
        nesterov: bool,
        #[serde(default)]
        weight_decay: f32,
        #[serde(default)]
        keep: bool,
    },
    Adam(Moments),
    AdamW(Moments),
}

/// The parameters of Adam and AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moments {
    #[serde(default = "default_beta1")]
    beta1: f64,
    #[serde(default = "default_beta2")]
    beta2: f64,
    #[serde(default = "default_epsilon")]
    epsilon: f32,
    weight_decay: Option<f32>,
}

/// The weight decay of AdamW, as in PyTorch.
const DECOUPLED_DECAY: f32 = 0.01;

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

fn default_epsilon() -> f32 {
    1e-8
}

impl Optimiser {
    /// Returns plain SGD, which [`Optimiser::begin`] replaces.
    ///
    /// # Errors
    /// Returns the errors of [`Isa::current`].
    pub fn new() -> Result<Self> {
        Ok(Self::on(Isa::current()?))
    }

    pub(crate) fn on(isa: Isa) -> Self {
        let json = r#"{"name":"sgd"}"#.into();
        let kind = OptimiserKind::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0, keep: false };
        let (first, second) = (zeros(0), zeros(0));
        Self { isa, json, kind, steps: 0, powers: [1.0; 2], first, second }
    }

    /// Returns the momentum v, one value for each weight; empty for an optimiser without one.
    pub fn momentum(&self) -> &[f32] {
        &self.first
    }

    /// Replaces the momentum v. An optimiser with `"keep":true` begins the next local epoch 0 with it.
    pub fn set_momentum(&mut self, momentum: &[f32]) {
        self.first.resize(momentum.len(), 0.0);
        self.first.copy_from_slice(momentum);
    }

    /// Begins local epoch `epoch`, counted from 0, over `weight_count` weights. Epoch 0 resets the state, except a
    /// momentum that is kept.
    ///
    /// # Errors
    /// JSON that describes no known optimiser; the error names the keys that are known. An optimiser or a number of
    /// weights that changes within a round.
    pub fn begin(&mut self, json: &str, weight_count: usize, epoch: u64) -> Result<()> {
        let kind = if json == self.json { self.kind } else { parse(json)? };
        if epoch == 0 || self.steps == 0 {
            json.clone_into(&mut self.json);
            self.kind = kind;
            self.reset(weight_count);
        }
        if kind != self.kind || self.first.len() != kind.kept(weight_count).0 {
            let ours = &self.json;
            let len = self.first.len();
            return Err(Error::new(format!(
                "the local optimiser is {json}, but the round began with {ours} ({len} values); begin at epoch 0"
            )));
        }
        Ok(())
    }

    fn reset(&mut self, weight_count: usize) {
        (self.steps, self.powers) = (0, [1.0; 2]);
        let (first, second) = self.kind.kept(weight_count);
        if self.kind.keeps_momentum() && self.first.len() == first {
            return;
        }
        for (buffer, len) in [(&mut self.first, first), (&mut self.second, second)] {
            buffer.clear();
            buffer.resize(len, 0.0);
        }
    }

    /// Changes `weights`, the whole flat buffer, by one step along `gradient` at the learning rate `rate`.
    ///
    /// The step touches neither the weights nor the state in the ranges `frozen`, which ascend and do not overlap. A
    /// gradient of 0 would not keep their bits, since momentum and weight decay move a weight without a gradient.
    ///
    /// # Panics
    /// Panics if the lengths of `weights` and `gradient` differ, or a range is beyond them.
    pub fn step(&mut self, weights: &mut [f32], gradient: &[f32], rate: f32, frozen: &[Range<usize>]) {
        assert_eq!(weights.len(), gradient.len(), "weights and gradient of a step");
        let isa = self.isa;
        let end = weights.len();
        let mut rule = self.next_rule(rate);
        let mut at = 0;
        for stop in frozen.iter().cloned().chain(iter::once(end..end)) {
            if at < stop.start {
                let trained = at..stop.start;
                rule.run(isa, Step { at, target: &mut weights[trained.clone()], gradient: &gradient[trained] });
            }
            at = stop.end;
        }
    }

    /// Counts a step and returns its rule.
    pub(crate) fn next_rule(&mut self, rate: f32) -> StepRule<'_> {
        self.steps += 1;
        match self.kind {
            OptimiserKind::Sgd { momentum: 0.0, weight_decay: 0.0, .. } => StepRule::Sgd(Sgd { rate }),
            OptimiserKind::Sgd { momentum, nesterov, weight_decay: decay, .. } => {
                let step = Momentum { rate, momentum, decay, velocity: &mut self.first };
                if nesterov { StepRule::Nesterov(step) } else { StepRule::Momentum(step) }
            }
            OptimiserKind::Adam(moments) => {
                let decay = moments.weight_decay.unwrap_or_default();
                StepRule::Adam(Adam { decay, ..self.next_adam(rate, moments) })
            }
            OptimiserKind::AdamW(moments) => {
                let decay = f64::from(moments.weight_decay.unwrap_or(DECOUPLED_DECAY));
                let shrink = (1.0 - f64::from(rate) * decay) as f32;
                StepRule::Adam(Adam { shrink, ..self.next_adam(rate, moments) })
            }
        }
    }

    /// Returns the next step of Adam without weight decay.
    fn next_adam(&mut self, rate: f32, moments: Moments) -> Adam<'_> {
        let Moments { beta1, beta2, epsilon, .. } = moments;
        self.powers[0] *= beta1;
        self.powers[1] *= beta2;
        let factors = |beta: f64| (beta as f32, (1.0 - beta) as f32);
        Adam {
            rate: (f64::from(rate) / (1.0 - self.powers[0])) as f32,
            scale: (1.0 / (1.0 - self.powers[1]).sqrt()) as f32,
            beta1: factors(beta1),
            beta2: factors(beta2),
            epsilon,
            decay: 0.0,
            shrink: 1.0,
            first: &mut self.first,
            second: &mut self.second,
        }
    }

    /// Returns the accumulation ‖a‖₁ of this round so far (FedNova, Wang 2020, §3).
    ///
    /// ‖a‖₁ is the sum of the factors by which the gradients of this round have changed the weights, in units of the
    /// learning rate `rate`. `proximal` is the coefficient μ of the proximal term, 0 for none. For plain SGD ‖a‖₁ is
    /// the number of steps. For Adam, and for a momentum that has gradients of earlier rounds, it is not defined, and
    /// NaN is returned.
    ///
    /// The recurrence is that of the optimiser on a constant gradient 1. It agrees with the closed forms of the paper.
    pub fn accumulation(&self, rate: f32, proximal: f32) -> f64 {
        let OptimiserKind::Sgd { momentum, nesterov, .. } = self.kind else { return f64::NAN };
        if self.kind.keeps_momentum() {
            return f64::NAN;
        }
        let momentum = f64::from(momentum);
        let pull = f64::from(rate) * f64::from(proximal);
        let (mut sum, mut velocity) = (0.0, 0.0);
        for _ in 0..self.steps {
            let gradient = 1.0 - pull * sum;
            velocity = momentum * velocity + gradient;
            sum += if nesterov { gradient + momentum * velocity } else { velocity };
        }
        sum
    }
}

fn parse(json: &str) -> Result<OptimiserKind> {
    let kind = serde_json::from_str(json).map_err(|why| Error::new(format!("local optimiser {json}: {why}")))?;
    match kind {
        OptimiserKind::Sgd { momentum, weight_decay, .. } => {
            within(json, "momentum", f64::from(momentum), (0.0..1.0).contains(&momentum))?;
            within(json, "weight_decay", f64::from(weight_decay), weight_decay >= 0.0)?;
        }
        OptimiserKind::Adam(moments) | OptimiserKind::AdamW(moments) => {
            let Moments { beta1, beta2, epsilon, weight_decay } = moments;
            let weight_decay = weight_decay.unwrap_or_default();
            within(json, "beta1", beta1, (0.0..1.0).contains(&beta1))?;
            within(json, "beta2", beta2, (0.0..1.0).contains(&beta2))?;
            within(json, "epsilon", f64::from(epsilon), epsilon > 0.0)?;
            within(json, "weight_decay", f64::from(weight_decay), weight_decay >= 0.0)?;
        }
    }
    Ok(kind)
}

fn within(json: &str, key: &str, value: f64, fits: bool) -> Result<()> {
    if fits && value.is_finite() {
        Ok(())
    } else {
        Err(Error::new(format!("local optimiser {json}: {key} {value} is out of range")))
    }
}

impl OptimiserKind {
    /// Returns `true` if a round begins with the momentum of an earlier one. A momentum of 0 keeps nothing.
    fn keeps_momentum(self) -> bool {
        matches!(self, OptimiserKind::Sgd { keep: true, momentum, .. } if momentum > 0.0)
    }

    /// Returns the lengths of the first and the second buffer for `weight_count` weights.
    fn kept(self, weight_count: usize) -> (usize, usize) {
        match self {
            OptimiserKind::Sgd { momentum: 0.0, weight_decay: 0.0, .. } => (0, 0),
            OptimiserKind::Sgd { .. } => (weight_count, 0),
            OptimiserKind::Adam(_) | OptimiserKind::AdamW(_) => (weight_count, weight_count),
        }
    }
}

#[cfg(test)]
mod tests;
