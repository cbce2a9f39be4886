//! Refuses an experiment that cannot be run, whatever the data.

use fedpipe_data::{Holdout, TargetKind, counted};
use fedpipe_strategy::{
    refusals::{pull_refusal, refusal},
    strategy::Strategy,
};

use super::{EvaluationSection, Experiment, LocalSection, TimeSection};
use crate::{
    error::{Error, Result},
    evaluated_clients::EvaluatedClients,
};

impl Experiment {
    /// Refuses what cannot be run, whatever the data.
    ///
    /// # Errors
    /// [`Error::Experiment`] with the value, the reason and the remedy.
    pub fn check(&self) -> Result<()> {
        self.check_names()?;
        self.check_ranges()?;
        self.check_test_split()?;
        self.check_holdout()?;
        self.check_evaluation()?;
        self.check_personal()?;
        let LocalSection { optimiser, lr, .. } = &self.local;
        if let Some(why) = refusal(&self.strategy, optimiser).or_else(|| pull_refusal(&self.strategy, *lr)) {
            return refuse(why);
        }
        self.check_schedule()?;
        self.check_attack()?;
        self.check_uneven_work()?;
        self.check_time()?;
        self.check_sampling()?;
        self.check_alone()?;
        self.check_quorum()
    }

    /// Refuses a schedule that needs the last round, where the run decides it.
    fn check_schedule(&self) -> Result<()> {
        let schedule = &self.local.lr_schedule;
        if self.is_open_ended() && schedule.needs_last_round() {
            return refuse(format!(
                "the learning rate schedule {schedule} needs the last round, which --until-converged and --until do not know; give \
                 --rounds, or another schedule"
            ));
        }
        Ok(())
    }

    /// Refuses rules that need virtual time without a clock, and rules that need rounds where there are none.
    fn check_time(&self) -> Result<()> {
        let TimeSection { clock, deadline, .. } = &self.time;
        let (schedule, uneven) = (&self.strategy.schedule, &self.local.uneven);
        let is_synchronous = self.strategy.is_synchronous();
        let needs_clock = !is_synchronous || schedule.over_commitment() > 1.0;
        match (clock, deadline) {
            (None, _) if needs_clock => refuse(format!(
                "the schedule {schedule} orders its clients by virtual time; give --clock, such as constant or lognormal"
            )),
            (None, Some(deadline)) => refuse(format!(
                "--deadline {deadline} is in virtual seconds, which need --clock; give one, or --client-timeout for real \
                 seconds"
            )),
            (Some(clock), _) if self.strategy.program.is_some() => refuse(format!(
                "the clock {clock} and a strategy that is a program do not combine: the program may ask a client for other \
                 work, whose time is not known before; leave one out"
            )),
            (Some(clock), _) if self.strategy.sampler.asks_losses() => refuse(format!(
                "the clock {clock} and the sampler {} do not combine: the candidates would score the weights in no time; take \
                 another sampler",
                self.strategy.sampler
            )),
            _ if !is_synchronous && self.clients.availability.is_some() => refuse(format!(
                "--availability bounds the clients of a round, and the schedule {schedule} has no rounds of clients; leave it \
                 out"
            )),
            (_, Some(deadline)) if !is_synchronous => refuse(format!(
                "--deadline {deadline} ends a synchronous round, and the schedule {schedule} waits for none; leave it out"
            )),
            _ if !is_synchronous && self.clients.min_clients.is_some() => refuse(format!(
                "--min-clients bounds a synchronous round, and the schedule {schedule} waits for its buffer; leave it out"
            )),
            _ if !is_synchronous && uneven.has_stragglers() => refuse(format!(
                "the uneven work {uneven} draws among the clients of a round, and the schedule {schedule} has no rounds of \
                 clients; take uniform"
            )),
            (Some(clock), _) if clock.trace_file().is_none() => {
                let clients = clock.clients(self.sample_seed(), self.clients.count, "");
                clients.map(drop).or_else(|why| refuse(format!("--clock {clock}: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses local work that cannot be drawn.
    fn check_uneven_work(&self) -> Result<()> {
        let uneven = &self.local.uneven;
        match uneven.refusal(self.local.work()) {
            Some(why) => refuse(format!("the uneven work {uneven} does not suit the local work: {why}")),
            None => Ok(()),
        }
    }

    /// Refuses a sampler that cannot draw the clients of a round, and clients that are available in no round.
    fn check_sampling(&self) -> Result<()> {
        let (sampler, uneven) = (&self.strategy.sampler, &self.local.uneven);
        if let Some(why) = sampler.refusal(self.sampled_clients(), self.training_clients()) {
            return refuse(format!("the sampler {sampler} does not suit the clients: {why}"));
        }
        if sampler.asks_losses() && uneven.has_stragglers() {
            return refuse(format!(
                "the sampler {sampler} and the uneven work {uneven} do not combine: the stragglers are a part of the \
                 sampled clients, which the losses decide; take the uneven work uniform, or another sampler"
            ));
        }
        let Some(availability) = &self.clients.availability else { return Ok(()) };
        if self.strategy.program.is_some() {
            return refuse(
                "a --strategy-program may sample any client, also one without --availability; leave one out".into(),
            );
        }
        availability.check(self.clients.count).or_else(refuse)
    }

    /// Refuses what clients that train alone cannot have.
    fn check_alone(&self) -> Result<()> {
        let term = &self.strategy.term;
        match () {
            () if !term.trains_alone() => Ok(()),
            () if self.fine_tuning_epochs() > 0 => refuse(
                "--fine-tune trains a client before its personal score, and under --strategy local the held-out scores are \
                 those of its own weights; leave it out".into(),
            ),
            () if self.evaluation.by_class => refuse(
                "--by-class scores the global weights, and under --strategy local each client has its own; leave it out".into(),
            ),
            () if self.data.partition.is_own() => refuse(format!(
                "the client term {term} has this host keep the weights of each client, which --partition own excludes; take \
                 another strategy"
            )),
            () => Ok(()),
        }
    }

    /// Refuses an attack that makes no sense with the clients and targets of the run.
    fn check_attack(&self) -> Result<()> {
        let attack = &self.strategy.attack;
        if attack.flips_labels() && self.data.target == TargetKind::Real {
            return refuse(format!(
                "the attack {attack} needs classes, and --target real has none; take another attack"
            ));
        }
        match attack.refusal(self.training_clients(), &self.attackers()) {
            Some(why) => refuse(why),
            None => Ok(()),
        }
    }

    /// Refuses what needs a test set where each client has its own, and a second part that is held out.
    fn check_test_split(&self) -> Result<()> {
        let Some(rule) = self.data.test_split.filter(|_| !self.has_test_set()) else { return Ok(()) };
        let (why, remedy) = match () {
            () if self.data.holdout > 0.0 => ("--holdout would hold out a second part", "leave --holdout out"),
            () if self.data.partition.is_own() => {
                ("under --partition own this host deals no examples", "give --holdout")
            }
            () if self.evaluation.by_class => ("--by-class scores a test set", "leave --by-class out"),
            () => return Ok(()),
        };
        refuse(format!("--test-split {rule} leaves each client its own test examples, and {why}; {remedy}"))
    }

    /// Refuses a share of the clients that holds out none, and rules that may train on a held-out client.
    fn check_holdout(&self) -> Result<()> {
        let (share, count) = (self.data.holdout_clients, self.clients.count);
        let excluded = match () {
            () if share == 0.0 => return Ok(()),
            () if self.new_clients().is_empty() => {
                let clients = counted(count, "client");
                let least = Holdout::least_share(u64::from(count));
                return refuse(format!("--holdout-clients {share} holds out none of {clients}; give at least {least}"));
            }
            () if self.strategy.program.is_some() => "a --strategy-program may sample any client",
            () if self.data.partition.is_own() => "under --partition own this host deals none",
            () => return Ok(()),
        };
        refuse(format!("--holdout-clients keeps clients from being sampled, and {excluded}; leave one out"))
    }

    /// Refuses an evaluation that no round has, and one of classes where there are none.
    fn check_evaluation(&self) -> Result<()> {
        let EvaluationSection { every, clients, by_class, .. } = self.evaluation;
        let (last, training) = (self.last_round(), self.training_clients());
        let is_real = self.data.target == TargetKind::Real;
        match clients {
            EvaluatedClients::Count(asked) if asked == 0 || asked > training => {
                refuse(format!("--evaluate-clients is {asked}; give 1 to {training}, the clients that train"))
            }
            _ if every > last && !self.deal().holdout.is_none() => refuse(format!(
                "--evaluate-every {every} scores the clients after none of {}; give a smaller one",
                counted(last, "round")
            )),
            _ if is_real && by_class => {
                refuse("--by-class needs classes, and --target real has none; leave it out".into())
            }
            _ => self.until.and_then(|target| target.refusal(self.data.target)).map_or(Ok(()), refuse),
        }
    }

    /// Refuses what this host would store of clients with data of their own.
    fn check_personal(&self) -> Result<()> {
        let term = &self.strategy.rules.term;
        let kept = match () {
            () if !self.data.partition.is_own() => return Ok(()),
            () if term.is_personal() => format!("the client term {term} has this host store"),
            () if self.fine_tuning_epochs() > 0 => "--fine-tune has this host receive".to_owned(),
            () => return Ok(()),
        };
        refuse(format!(
            "{kept} the own model of each client, which --partition own excludes; leave it out, or take another --partition"
        ))
    }

    /// Refuses a quorum that no round can reach, and one with which the aggregator has no effect of its own.
    fn check_quorum(&self) -> Result<()> {
        // A round without a client asks nobody and cannot fail.
        let sampled = self.strategy.schedule.buffer_size().unwrap_or_else(|| self.fewest_sampled().max(1));
        let (quorum, aggregator) = (self.quorum(sampled), &self.strategy.aggregator);
        let needed = aggregator.least_updates();
        if quorum > sampled {
            return refuse(format!(
                "--min-clients {quorum} {} be reached, since a round {} {sampled} of {}",
                if sampled < self.sampled_clients() { "may not" } else { "can never" },
                if sampled < self.sampled_clients() { "may have" } else { "samples" },
                counted(self.training_clients(), "client")
            ));
        }
        if quorum < needed {
            return refuse(format!(
                "the aggregator {aggregator} needs {} ({}), but a round of {} may succeed with {quorum}; give other \
                 parameters, or --min-clients {needed} with at least as many clients a round",
                counted(needed, "update"),
                aggregator.bound(),
                counted(sampled, "client")
            ));
        }
        Ok(())
    }

    /// Refuses two names for one thing.
    fn check_names(&self) -> Result<()> {
        if self.strategy.program.is_some() && self.strategy.rules != Strategy::default() {
            let rules = &self.strategy.rules;
            return refuse(format!("both the strategy {rules} and a program for it are named; leave one out"));
        }
        match &self.client {
            Some(client) if !self.model.is_empty() => {
                refuse(format!("both the model {} and the client {client:?} are named; leave one out", self.model))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a number outside its range.
    fn check_ranges(&self) -> Result<()> {
        let table = toml::Table::try_from(self).map_err(|error| Error::Experiment(error.to_string()))?;
        match Self::keys().iter().find_map(|key| key.refusal(&table)) {
            Some(why) => refuse(why),
            None => Ok(()),
        }
    }
}

fn refuse<T>(why: String) -> Result<T> {
    Err(Error::Experiment(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        epochs::Epochs,
        experiment::{ClientsSection, StrategyKeys},
    };

    #[test]
    fn what_cannot_run_is_refused_by_name() {
        let changed = |change: fn(&mut Experiment)| {
            let mut experiment = Experiment::default();
            change(&mut experiment);
            experiment
        };
        let both = Experiment { model: "mlp".into(), client: Some("true".into()), ..Experiment::default() };
        let cases: [(&str, Experiment); 11] = [
            ("both the model mlp and the client \"true\"", both),
            ("--clients is 0; give at least 1", changed(|of| of.clients.count = 0)),
            ("--lr is -1", changed(|of| of.local.lr = -1.0)),
            ("--fraction is 1.5; give above 0 and at most 1", changed(|of| of.clients.fraction = 1.5)),
            ("--lr is NaN", changed(|of| of.local.lr = f32::NAN)),
            ("--epochs is 0; give above 0 and at most 1e15", changed(|of| of.local.epochs = Epochs(0.0))),
            ("--local-steps is 0", changed(|of| of.local.local_steps = Some(0))),
            (
                "the learning rate schedule cosine:to=0,warmup=0 needs the last round, which --until-converged",
                changed(|of| (of.until_converged, of.local.lr_schedule) = (true, "cosine".parse().unwrap())),
            ),
            ("--min-clients is 0", changed(|of| of.clients.min_clients = Some(0))),
            ("--min-clients 5", changed(|of| of.clients.min_clients = Some(5))),
            ("--jobs is 0", changed(|of| of.execution.jobs = Some(0))),
        ];
        for (expected, experiment) in cases {
            let error = experiment.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_test_split_per_client_is_refused_beside_what_needs_a_test_set_or_holds_out_too() {
        let check = |change: fn(&mut Experiment)| {
            let mut experiment = Experiment::default();
            experiment.data.test_split = Some("per-client:0.25,merge".parse().unwrap());
            change(&mut experiment);
            experiment.check().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(check(|_| ()), "");
        assert!(check(|of| of.data.holdout = 0.1).ends_with("leave --holdout out"));
        assert!(check(|of| of.data.partition = "own".parse().unwrap()).ends_with("give --holdout"));
        assert!(check(|of| of.evaluation.by_class = true).ends_with("leave --by-class out"));
    }

    #[test]
    fn what_stays_with_a_client_is_refused_where_the_client_has_its_own_data() {
        let check = |strategy: &str, fine_tune, partition: &str| {
            let mut experiment = Experiment { strategy: strategy.parse().unwrap(), ..Experiment::default() };
            (experiment.evaluation.fine_tune, experiment.data.partition) = (fine_tune, partition.parse().unwrap());
            experiment.check().err().map(|error| error.to_string())
        };
        for strategy in ["ditto:0.1", "fedper", "fedrep", "fedbn", "lg-fedavg", "fedbabu"] {
            let why = check(strategy, None, "own").unwrap();
            assert!(why.contains("the client term ") && why.contains("which --partition own excludes"), "{why}");
            assert_eq!(check(strategy, Some(2), "iid"), None);
        }
        assert!(check("fedavg", Some(1), "own").unwrap().starts_with("--fine-tune has this host receive"));
        assert_eq!([check("fedavg", Some(0), "own"), check("fedavg", None, "own")], [None, None]);
    }

    /// Without the refusal the rule is the mean, which one dishonest client decides.
    #[test]
    fn a_trimmed_mean_is_refused_where_a_round_may_trim_nothing() {
        let check = |aggregator: &str, (count, fraction): (u32, f64), min_clients| {
            let strategy = StrategyKeys { aggregate: Some(aggregator.parse().unwrap()), ..StrategyKeys::default() };
            let clients = ClientsSection { count, fraction, min_clients, ..ClientsSection::default() };
            Experiment { strategy: strategy.into(), clients, ..Experiment::default() }.check()
        };
        let why = check("trimmed-mean", (8, 0.5), None).unwrap_err().to_string();
        assert!(
            why.ends_with(
                "the aggregator trimmed-mean:beta=0.1,f=beta needs 10 updates (n ≥ 1/β; of fewer it leaves out none), but \
                 a round of 4 clients may succeed with 2; give other parameters, or --min-clients 10 with at least as many \
                 clients a round"
            ),
            "{why}"
        );
        let cases = [
            ("trimmed-mean", 10, None, false),
            ("trimmed-mean", 10, Some(9), false),
            ("trimmed-mean", 10, Some(10), true),
            ("trimmed-mean", 20, None, true),
            ("trimmed-mean:beta=0.25", 4, None, false),
            ("trimmed-mean:beta=0.25", 4, Some(4), true),
            ("trimmed-mean:beta=0", 1, None, true),
            ("krum:2", 10, None, false),
            ("krum:2", 10, Some(7), true),
            ("krum:2", 13, None, true),
            ("bulyan:1", 10, Some(6), false),
            ("bulyan:1", 10, Some(7), true),
            ("nnm+trimmed-mean:f=2", 10, None, true),
            ("bucketing:2+krum:1", 10, Some(8), false),
            ("bucketing:2+krum:1", 10, Some(9), true),
            ("median", 1, None, true),
            ("mean", 1, None, true),
        ];
        for (aggregator, count, least, is_taken) in cases {
            assert_eq!(check(aggregator, (count, 1.0), least).is_ok(), is_taken, "{aggregator} {count} {least:?}");
        }
    }

    #[test]
    fn an_attack_that_makes_no_sense_is_refused() {
        let check = |attack: &str, count, target| {
            let strategy = StrategyKeys { attack: Some(attack.parse().unwrap()), ..StrategyKeys::default() };
            let mut experiment = Experiment { strategy: strategy.into(), ..Experiment::default() };
            (experiment.clients.count, experiment.data.target) = (count, target);
            (experiment.check().err().map(|error| error.to_string()), experiment.attackers().len())
        };
        let (classes, real) = (TargetKind::Classes, TargetKind::Real);
        let (why, attackers) = check("alie:fraction=0.2", 10, classes);
        assert_eq!(attackers, 2);
        assert!(why.unwrap().contains(
            "alie has z = 0.00 where the attackers are 2 and the clients 10, so that they need no supporters"
        ));
        assert_eq!(check("alie:fraction=0.3", 10, classes), (None, 3));
        assert_eq!(check("alie:fraction=0.2,z=1.5", 10, classes), (None, 2));
        assert_eq!(check("alie:fraction=0", 10, classes), (None, 0));
        assert_eq!(check("label-flip:0.2", 10, classes), (None, 2));
        assert!(check("label-flip:0.2", 10, real).0.unwrap().contains("needs classes, and --target real has none"));
        assert!(check("mimic:fraction=0.2,client=10", 10, classes).0.unwrap().contains("the number of clients is 10"));
    }
}
