//! `[strategy]`: the rules of a round. A file has keys, of which the rules are made.

use std::{ops::Deref, str::FromStr};

use fedpipe_spec::table::Named;
use fedpipe_strategy::{
    aggregator::mixed_chain::Aggregation,
    attack::Attack,
    preset::Composition,
    sampler::Sampler,
    schedule::Schedule,
    server::ServerOptimiser,
    strategy::{Strategy, StrategyRows},
    term::ClientTerm,
    transform::chain::Transforms,
    weighting::Weighting,
};
use serde::{Deserialize, Serialize};

use crate::experiment_key::section;

section! {
    /// The keys of `[strategy]`: a preset, and the rows in the place of the preset's.
    pub struct StrategyKeys in "strategy" {
        /// The rules of a round by name
        name: Named<Composition> = Default::default() => "--strategy STRATEGY".instead_of_section();
        /// A strategy of your own instead, such as "python3 strategy.py"; it receives the updates of each round
        program: Option<String> = None => "--strategy-program COMMAND".not_with("strategy").instead_of_section();
        /// The clients of a round, in the place of the strategy's
        sample: Option<Named<dyn Sampler>> = None => "--sample SAMPLER";
        /// The term that a client adds to its loss, in the place of the strategy's
        term: Option<Named<dyn ClientTerm>> = None => "--term TERM";
        /// The transforms of an update in the place of the strategy's, none or a chain such as clip:1+int8
        transform: Option<Transforms> = None => "--transform TRANSFORM";
        /// The attack of dishonest clients, which the host plays
        attack: Option<Named<dyn Attack>> = None => "--attack ATTACK";
        /// The weight of an update, in the place of the strategy's
        weighting: Option<Named<dyn Weighting>> = None => "--weighting WEIGHTING";
        /// The aggregate of the updates, in the place of the strategy's, or a chain such as nnm+krum:2
        aggregate: Option<Aggregation> = None => "--aggregate AGGREGATOR";
        /// The step of the global weights, in the place of the strategy's
        server: Option<Named<dyn ServerOptimiser>> = None => "--server SERVER";
        /// The updates that make new global weights, in the place of the strategy's
        schedule: Option<Named<dyn Schedule>> = None => "--schedule SCHEDULE";
    }
}

/// `[strategy]`: the rules of a round, resolved, or a program in their place. It dereferences to the rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StrategyKeys", into = "StrategyKeys")]
pub struct StrategySection {
    /// The rules.
    pub rules: Strategy,
    /// The command of a strategy that is a program of the user's.
    pub program: Option<String>,
}

impl Deref for StrategySection {
    type Target = Strategy;

    fn deref(&self) -> &Strategy {
        &self.rules
    }
}

impl FromStr for StrategySection {
    type Err = fedpipe_spec::error::Error;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self { rules: text.parse()?, program: None })
    }
}

impl From<StrategyKeys> for StrategySection {
    fn from(keys: StrategyKeys) -> Self {
        let StrategyKeys {
            name,
            program,
            sample,
            term,
            transform: transforms,
            attack,
            weighting,
            aggregate,
            server,
            schedule,
        } = keys;
        let rules = StrategyRows { name, sample, term, transforms, attack, weighting, aggregate, server, schedule };
        Self { rules: rules.into(), program }
    }
}

impl From<StrategySection> for StrategyKeys {
    fn from(section: StrategySection) -> Self {
        let StrategyRows { name, sample, term, transforms, attack, weighting, aggregate, server, schedule } =
            section.rules.into();
        let (program, transform) = (section.program, transforms);
        Self { name, program, sample, term, transform, attack, weighting, aggregate, server, schedule }
    }
}
