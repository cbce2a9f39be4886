//! The baselines of an experiment: what a federation is compared with, at the same budget.
//!
//! `local` leaves everything as it is but the strategy: each client does the local steps of the federated run, on the
//! same rows in the same order. `centralised` has one client with all rows, which trains in each round on as many
//! examples as the sampled clients of the federated run together.

use fedpipe_strategy::{local_work::LocalWork, strategy::StrategyRows};
use strum::VariantArray;

use super::{ClientsSection, Experiment, StrategySection};
use crate::{
    epochs::Epochs,
    error::{Error, Result},
    evaluated_clients::EvaluatedClients,
};

/// An experiment as it is, or a baseline in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Baseline {
    /// The experiment itself.
    Federated,
    /// Each client trains alone.
    Local,
    /// One client has all rows.
    Centralised,
}

impl Baseline {
    /// All of them, in the order of a table.
    pub const ALL: &'static [Self] = Self::VARIANTS;
}

impl Experiment {
    /// Returns the experiment of a baseline of this one.
    ///
    /// # Errors
    /// [`Error::Experiment`] for an experiment that is a baseline itself, and those of [`Experiment::centralised`].
    pub fn baseline(&self, baseline: Baseline) -> Result<Self> {
        let rules = &self.strategy.rules;
        if rules.term.trains_alone() || rules.is_centralised() {
            return Err(Error::Experiment(format!(
                "the strategy {rules} is a baseline itself; give an experiment with the strategy of a federation"
            )));
        }
        self.check_comparable()?;
        match baseline {
            Baseline::Federated => Ok(self.clone()),
            Baseline::Local => self.local(),
            Baseline::Centralised => {
                let named = Self { strategy: preset("centralised")?, ..self.clone() };
                named.with_budget_of(self)
            }
        }
    }

    /// Refuses an experiment of which no baseline has the budget, or the score.
    fn check_comparable(&self) -> Result<()> {
        let (rules, fine_tuning) = (&self.strategy.rules, self.fine_tuning_epochs());
        let refuse = |why: String| Err(Error::Experiment(why));
        if !rules.is_synchronous() || rules.schedule.over_commitment() > 1.0 {
            return refuse(format!(
                "the schedule {} has no fixed number of clients a round, which baselines could train, too; give the schedule \
                 synchronous without over-commitment",
                rules.schedule
            ));
        }
        if rules.sampler.asks_losses() {
            return refuse(format!(
                "the sampler {} chooses by the losses of weights that a baseline does not have; give another sampler",
                rules.sampler
            ));
        }
        if let Some(deadline) = self.time.deadline {
            return refuse(format!(
                "--deadline {deadline} leaves out clients that a baseline would train; leave it out"
            ));
        }
        if (rules.term.is_personal() || fine_tuning > 0) && self.data.holdout == 0.0 && self.has_test_set() {
            return refuse(format!(
                "the clients have models of their own under the strategy {rules}, and without --holdout they are not scored; \
                 give --holdout"
            ));
        }
        Ok(())
    }

    /// Returns this experiment with clients that train alone, and without the scores that they cannot have. The same
    /// clients are sampled in each round.
    fn local(&self) -> Result<Self> {
        let sampler = self.strategy.rules.sampler.clone();
        let rules: StrategyRows = preset("local")?.rules.into();
        let strategy = StrategySection { rules: StrategyRows { sample: Some(sampler), ..rules }.into(), program: None };
        let mut experiment = Self { strategy, ..self.clone() };
        experiment.evaluation.by_class = false;
        experiment.evaluation.fine_tune = None;
        Ok(experiment)
    }

    /// Returns this experiment with one client that has all rows, if its strategy says so, and this experiment
    /// otherwise. The number of clients, their part in a round and their partition tell the budget alone.
    ///
    /// # Errors
    /// [`Error::Experiment`] where the rows are not this host's to give.
    pub fn centralised(self) -> Result<Self> {
        let rules = &self.strategy.rules;
        match () {
            () if !rules.is_centralised() => Ok(self),
            () if rules.attack.fraction() > 0.0 => Err(Error::Experiment(format!(
                "the attack {} needs clients beside the attacked ones, and the strategy centralised has one; leave it out",
                rules.attack
            ))),
            () => self.with_budget_of(&self),
        }
    }

    /// Returns this experiment with one client that trains on as many examples as a round of `federated`.
    fn with_budget_of(&self, federated: &Self) -> Result<Self> {
        let partition = &self.data.partition;
        if partition.is_own() || partition.directory().is_some() {
            return Err(Error::Experiment(format!(
                "the strategy centralised gives all rows to one client, and --partition {partition} has them apart; give \
                 --data with another partition"
            )));
        }
        let mut experiment = self.clone();
        let sampled = federated.expected_clients();
        match federated.local.work() {
            LocalWork::Epochs(epochs) => {
                experiment.local.epochs = Epochs(epochs * sampled / f64::from(federated.clients.count));
            }
            LocalWork::Steps(steps) => {
                experiment.local.local_steps = Some(((steps as f64 * sampled).round() as u64).max(1));
            }
        }
        experiment.clients =
            ClientsSection { count: 1, fraction: 1.0, min_clients: None, availability: None, ..experiment.clients };
        let rules: StrategyRows = experiment.strategy.rules.clone().into();
        experiment.strategy.rules = StrategyRows { sample: Some(Default::default()), ..rules }.into();
        experiment.data.partition = Default::default();
        experiment.data.holdout_clients = 0.0;
        experiment.local.uneven = Default::default();
        experiment.evaluation.clients = EvaluatedClients::All;
        experiment.evaluation.fine_tune = None;
        experiment.time = Default::default();
        experiment.execution.processes = None;
        Ok(experiment)
    }

    /// Returns the mean number of clients that are drawn for a round.
    fn expected_clients(&self) -> f64 {
        let (count, sampler) = (self.sampled_clients(), &self.strategy.sampler);
        let stretches = self.available_counts();
        if stretches.is_empty() {
            return sampler.expected(count, self.training_clients());
        }
        let rounds: f64 = stretches.iter().map(|(rounds, _)| *rounds as f64).sum();
        let clients = stretches
            .iter()
            .map(|&(rounds, available)| rounds as f64 * sampler.expected(count.min(available), available));
        clients.sum::<f64>() / rounds
    }
}

fn preset(name: &str) -> Result<StrategySection> {
    name.parse().map_err(|error| Error::Experiment(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(change: impl FnOnce(&mut Experiment)) -> Experiment {
        let mut experiment = Experiment { model: "mlp".into(), ..Experiment::default() };
        experiment.clients.count = 20;
        change(&mut experiment);
        experiment
    }

    fn of(experiment: &Experiment, baseline: Baseline) -> Experiment {
        let of = experiment.baseline(baseline).unwrap();
        of.check().unwrap();
        of
    }

    #[test]
    fn local_changes_the_strategy_alone_and_keeps_its_sampler() {
        let federated = experiment(|of| {
            of.strategy = "fedadam".parse().unwrap();
            of.strategy.rules =
                StrategyRows { sample: Some("cyclic".parse().unwrap()), ..of.strategy.rules.clone().into() }.into();
            of.clients.fraction = 0.5;
        });
        let local = of(&federated, Baseline::Local);
        assert_eq!(local.strategy.to_string(), "local with the sampler cyclic");
        assert_eq!(Experiment { strategy: federated.strategy.clone(), ..local.clone() }, federated);
        assert_eq!(local.sample(3, &[1; 20]), federated.sample(3, &[1; 20]));
        assert_eq!(of(&federated, Baseline::Federated), federated);
    }

    /// Half of 20 clients do two epochs, which is one epoch over all rows. Ten clients with 7 mini-batches do 70.
    #[test]
    fn centralised_trains_on_as_many_examples_as_the_sampled_clients() {
        let work = |change: fn(&mut Experiment)| {
            let federated = experiment(|of| {
                of.clients.fraction = 0.5;
                change(of);
            });
            let centralised = of(&federated, Baseline::Centralised);
            let ClientsSection { count, fraction, .. } = centralised.clients;
            assert_eq!((count, fraction, centralised.data.partition.to_string()), (1, 1.0, "iid".to_owned()));
            assert_eq!(centralised.clone().centralised().unwrap(), centralised, "once more it is the same");
            centralised.local.work()
        };
        assert_eq!(work(|of| of.local.epochs = Epochs(2.0)), LocalWork::Epochs(1.0));
        assert_eq!(work(|of| of.local.local_steps = Some(7)), LocalWork::Steps(70));
        let poisson = |of: &mut Experiment| {
            let rows = StrategyRows { sample: Some("poisson:0.25".parse().unwrap()), ..StrategyRows::default() };
            of.strategy.rules = rows.into();
        };
        assert_eq!(work(poisson), LocalWork::Epochs(0.25));
        assert_eq!(work(|of| of.data.holdout_clients = 0.5), LocalWork::Epochs(0.25));
    }

    #[test]
    fn a_baseline_lacks_the_scores_and_the_times_that_it_cannot_have() {
        let federated = experiment(|of| {
            of.evaluation.by_class = true;
            of.evaluation.fine_tune = Some(2);
            of.time.clock = Some("constant".parse().unwrap());
            of.data.holdout = 0.2;
        });
        let [local, centralised] = [Baseline::Local, Baseline::Centralised].map(|baseline| of(&federated, baseline));
        assert_eq!(
            (local.evaluation.by_class, local.evaluation.fine_tune, &local.time),
            (false, None, &federated.time)
        );
        assert!(
            centralised.evaluation.by_class && centralised.time.clock.is_none() && centralised.time.deadline.is_none()
        );
    }

    #[test]
    fn an_experiment_without_a_fixed_budget_or_a_common_score_is_refused() {
        let why = |change: &dyn Fn(&mut Experiment)| {
            let other = experiment(|of| change(of));
            let refused = Baseline::ALL.iter().map(|baseline| other.baseline(*baseline).unwrap_err().to_string());
            refused.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("|")
        };
        let with = |rows: StrategyRows| move |of: &mut Experiment| of.strategy.rules = rows.clone().into();
        let rows = StrategyRows::default;
        let schedule = |text: &str| with(StrategyRows { schedule: Some(text.parse().unwrap()), ..rows() });
        assert!(why(&schedule("asynchronous")).starts_with("the schedule asynchronous"));
        assert!(why(&schedule("synchronous:2")).starts_with("the schedule synchronous:over-commit=2 has no fixed"));
        let choice = with(StrategyRows { sample: Some("power-of-choice:9".parse().unwrap()), ..rows() });
        assert!(why(&choice).starts_with("the sampler power-of-choice:candidates=9 chooses"));
        assert!(why(&|of| of.time.deadline = Some(2.0)).starts_with("--deadline 2 leaves out clients"));
        assert!(why(&|of| of.strategy = "ditto:1".parse().unwrap()).ends_with("they are not scored; give --holdout"));
        let centralised = experiment(|of| {
            of.strategy = "centralised".parse().unwrap();
            let preset: StrategyRows = of.strategy.rules.clone().into();
            of.strategy.rules = StrategyRows { attack: Some("zero:0.3".parse().unwrap()), ..preset }.into();
        });
        assert!(centralised.centralised().unwrap_err().to_string().starts_with("the attack zero:fraction=0.3 needs"));
    }

    #[test]
    fn a_baseline_and_data_that_lie_apart_are_refused() {
        let why =
            |change: fn(&mut Experiment)| experiment(change).baseline(Baseline::Centralised).unwrap_err().to_string();
        assert!(why(|of| of.strategy = "local".parse().unwrap()).contains("the strategy local is a baseline itself"));
        let own = why(|of| of.data.partition = "own".parse().unwrap());
        assert!(own.contains("--partition own has them apart; give --data"), "{own}");
    }
}
