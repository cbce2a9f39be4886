//! The local optimiser of the host's choice, by the optimisers of burn.

use burn::optim::{
    Adam, AdamConfig, AdamW, AdamWConfig, GradientsParams, Optimizer, Sgd, SgdConfig, adaptor::OptimizerAdaptor,
    decay::WeightDecayConfig, momentum::MomentumConfig,
};
use fedpipe_model::{Epoch, Error, Result};
use serde::Deserialize;

use crate::{Differentiated, Plain, perceptron::Perceptron};

type Adapted<O> = OptimizerAdaptor<O, Perceptron<Differentiated>, Differentiated>;

/// An optimiser of burn with its state, for the local epochs of one round.
pub(crate) struct Solver {
    rules: Rules,
    kind: Kind,
    steps: u64,
}

enum Kind {
    Sgd(Adapted<Sgd<Plain>>),
    Adam(Adapted<Adam>),
    AdamW(Adapted<AdamW>),
}

/// The optimiser as the host describes it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
enum Rules {
    Sgd {
        #[serde(default)]
        momentum: f64,
        #[serde(default)]
        nesterov: bool,
        #[serde(default)]
        weight_decay: f32,
    },
    Adam(Moments),
    AdamW(Moments),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moments {
    #[serde(default = "default_beta1")]
    beta1: f32,
    #[serde(default = "default_beta2")]
    beta2: f32,
    #[serde(default = "default_epsilon")]
    epsilon: f32,
    weight_decay: Option<f32>,
}

fn default_beta1() -> f32 {
    0.9
}

fn default_beta2() -> f32 {
    0.999
}

fn default_epsilon() -> f32 {
    1e-8
}

impl Solver {
    /// Returns the optimiser that `json` describes, with a fresh state.
    pub(crate) fn new(json: &str) -> Result<Self> {
        let rules = serde_json::from_str(json).map_err(|why| Error::new(format!("local optimiser {json}: {why}")))?;
        let decay = |penalty: f32| (penalty != 0.0).then(|| WeightDecayConfig::new(penalty));
        let kind = match rules {
            Rules::Sgd { momentum, nesterov, weight_decay } => {
                let momentum = MomentumConfig { momentum, dampening: 0.0, nesterov };
                let momentum = (momentum.momentum != 0.0).then_some(momentum);
                Kind::Sgd(SgdConfig::new().with_momentum(momentum).with_weight_decay(decay(weight_decay)).init())
            }
            Rules::Adam(Moments { beta1, beta2, epsilon, weight_decay }) => {
                let config = AdamConfig::new().with_beta_1(beta1).with_beta_2(beta2).with_epsilon(epsilon);
                Kind::Adam(config.with_weight_decay(decay(weight_decay.unwrap_or(0.0))).init())
            }
            Rules::AdamW(Moments { beta1, beta2, epsilon, weight_decay }) => {
                let config = AdamWConfig::new().with_beta_1(beta1).with_beta_2(beta2).with_epsilon(epsilon);
                Kind::AdamW(config.with_weight_decay(weight_decay.unwrap_or(0.01)).init())
            }
        };
        Ok(Self { rules, kind, steps: 0 })
    }

    /// Returns the network after one step.
    pub(crate) fn step(
        &mut self,
        rate: f64,
        network: Perceptron<Differentiated>,
        gradients: GradientsParams,
    ) -> Perceptron<Differentiated> {
        self.steps += 1;
        match &mut self.kind {
            Kind::Sgd(sgd) => sgd.step(rate, network, gradients),
            Kind::Adam(adam) => adam.step(rate, network, gradients),
            Kind::AdamW(adamw) => adamw.step(rate, network, gradients),
        }
    }

    /// Returns ‖a‖₁ of FedNova: the distance from 0 after the steps of this round, under a constant gradient of 1.
    pub(crate) fn accumulation(&self, epoch: &Epoch<'_>) -> f64 {
        let Rules::Sgd { momentum, nesterov, .. } = self.rules else {
            return f64::NAN;
        };
        let pull = f64::from(epoch.learning_rate) * f64::from(epoch.proximal);
        let (mut sum, mut velocity) = (0.0, 0.0);
        for _ in 0..self.steps {
            let gradient = 1.0 - pull * sum;
            velocity = momentum * velocity + gradient;
            sum += if nesterov { gradient + momentum * velocity } else { velocity };
        }
        sum
    }
}
