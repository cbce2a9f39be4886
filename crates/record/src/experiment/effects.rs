//! The keys that have no effect beside other keys of an experiment, and what a user may not expect of it.

use fedpipe_data::counted;

use super::Experiment;

impl Experiment {
    /// Returns the keys that have no effect in this experiment, by their flags, each with the kind of run that leaves
    /// the key without one. A key that a user gave is refused by this list, whatever gave it.
    pub fn idle_keys(&self) -> Vec<(&'static str, String)> {
        let (ends, has_clock) = (self.is_open_ended(), self.time.clock.is_some());
        let holds_rows = self.deal().holdout.rows > 0.0;
        let sampler = &self.strategy.sampler;
        let until = "a run with --until-converged or --until";
        let number = "a run of a number of --rounds";
        let scored = "a run without --holdout or --holdout-clients";
        let one = "a run with --strategy centralised, which has one client and no clock";
        let of_one = ["min-clients", "uneven", "evaluate-clients", "fine-tune", "clock", "step-time", "deadline"];
        let by_chance = format!("a run with --sample {sampler}, which draws each client by its own chance");
        let all = [
            ("rounds", ends, until),
            ("max-rounds", !ends, number),
            ("tolerance", !self.until_converged, number),
            ("evaluate-clients", !holds_rows, "a run without --holdout"),
            ("fine-tune", !holds_rows, "a run without --holdout"),
            ("evaluate-every", self.deal().holdout.is_none(), scored),
            ("init-seed", self.init_from.is_some(), "a run with --init-from"),
            ("step-time", !has_clock, "a run without --clock"),
            ("data", self.data.partition.directory().is_some(), "ready partitions (files)"),
            ("fraction", !sampler.takes_count(), by_chance.as_str()),
        ];
        let of_one = of_one.into_iter().filter(|_| self.strategy.is_centralised()).map(|key| (key, true, one));
        let idle = all.into_iter().chain(of_one).filter(|(_, is_idle, _)| *is_idle);
        idle.map(|(key, _, run)| (key, run.to_owned())).collect()
    }

    /// Returns a sentence for each choice whose consequence a user may not expect.
    pub fn hints(&self) -> Vec<String> {
        let partition = &self.data.partition;
        let is_dealt = !partition.is_natural() && !partition.is_own();
        let other_clients = self.data.client_column.as_ref().filter(|_| is_dealt).map(|column| {
            format!(
                "the clients are not those of --client-column {column}, since --partition {partition} deals the rows; \
                 --partition natural keeps them"
            )
        });
        let (schedule, at_work) = (&self.strategy.schedule, counted(self.sampled_clients(), "client"));
        let trainings = schedule.buffer_size().filter(|size| *size > 1).map(|size| {
            format!("a round takes {}, the size of the buffer, by {at_work} at a time", counted(size, "training"))
        });
        other_clients.into_iter().chain(trainings).collect()
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_strategy::strategy::StrategyRows;

    use super::*;

    fn experiment(change: impl FnOnce(&mut Experiment)) -> Experiment {
        let mut experiment = Experiment { model: "mlp".into(), ..Experiment::default() };
        change(&mut experiment);
        experiment
    }

    fn sampled_by(sampler: &str) -> Experiment {
        let rows = StrategyRows { sample: Some(sampler.parse().unwrap()), ..StrategyRows::default() };
        experiment(|of| of.strategy.rules = rows.into())
    }

    #[test]
    fn a_key_without_effect_is_known_by_its_flag() {
        let idle = |of: &Experiment| of.idle_keys().into_iter().map(|(key, _)| key).collect::<Vec<_>>().join(" ");
        let plain = "max-rounds tolerance evaluate-clients fine-tune evaluate-every step-time";
        assert_eq!(idle(&Experiment::default()), plain);
        assert_eq!(idle(&sampled_by("poisson:0.1")), format!("{plain} fraction"));
        assert_eq!(idle(&sampled_by("by-size")), plain);
        let central = experiment(|of| of.strategy = "centralised".parse().unwrap());
        assert!(
            idle(&central)
                .ends_with("step-time min-clients uneven evaluate-clients fine-tune clock step-time deadline")
        );
        let whole = experiment(|of| {
            (of.until_converged, of.data.holdout) = (true, 0.2);
            of.time.clock = Some("constant".parse().unwrap());
        });
        assert_eq!(idle(&whole), "rounds");
        let keys = Experiment::keys();
        let central = central.idle_keys();
        assert!(central.iter().all(|(flag, _)| keys.iter().any(|key| key.id() == *flag)), "{central:?}");
    }

    #[test]
    fn a_hint_is_given_where_a_choice_has_another_consequence() {
        let column = |partition: &str| {
            experiment(|of| {
                of.data.client_column = Some("who".into());
                of.data.partition = partition.parse().unwrap();
            })
        };
        let hints = column("iid").hints();
        assert!(hints[0].contains("--client-column who, since --partition iid deals") && hints.len() == 1, "{hints:?}");
        assert_eq!(column("natural").hints(), [""; 0]);
        let buffered = experiment(|of| of.strategy = "fedbuff:size=1000".parse().unwrap());
        assert_eq!(buffered.hints(), ["a round takes 1000 trainings, the size of the buffer, by 4 clients at a time"]);
        assert_eq!(experiment(|of| of.strategy = "fedasync".parse().unwrap()).hints(), [""; 0]);
    }
}
