//! The tables of the things that an experiment can name, as catalogues.

use fedpipe_data::Partitioner;
use fedpipe_spec::table::{Entry, Tabled, entries};
use fedpipe_strategy::{
    aggregator::Aggregator, attack::Attack, clock::Clock, local_optimiser::OptimiserRule, lr_schedule::LrSchedule,
    pre_aggregator::PreAggregator, preset::Composition, sampler::Sampler, schedule::Schedule, server::ServerOptimiser,
    term::ClientTerm, transform::Transform, uneven_work::UnevenWork, weighting::Weighting,
};

/// A table.
#[derive(Debug)]
pub struct Catalogue {
    /// The name of the list, such as "strategies".
    pub name: &'static str,
    /// The kind of thing, such as "strategy".
    pub what: &'static str,
    /// The flag that names a row.
    pub flag: &'static str,
    /// Returns the rows.
    pub rows: fn() -> Vec<Entry>,
}

/// Every table, in the order of the help.
pub static CATALOGUES: [Catalogue; 15] = [
    catalogue::<Composition>("--strategy"),
    catalogue::<dyn Sampler>("--sample"),
    catalogue::<dyn ClientTerm>("--term"),
    catalogue::<Transform>("--transform"),
    catalogue::<dyn Attack>("--attack"),
    catalogue::<dyn Weighting>("--weighting"),
    catalogue::<dyn PreAggregator>("--aggregate"),
    catalogue::<dyn Aggregator>("--aggregate"),
    catalogue::<dyn ServerOptimiser>("--server"),
    catalogue::<dyn Schedule>("--schedule"),
    catalogue::<dyn Clock>("--clock"),
    catalogue::<UnevenWork>("--uneven"),
    catalogue::<OptimiserRule>("--optimiser"),
    catalogue::<LrSchedule>("--lr-schedule"),
    catalogue::<dyn Partitioner>("--partition"),
];

const fn catalogue<T: Tabled + ?Sized>(flag: &'static str) -> Catalogue {
    Catalogue { name: T::LIST, what: T::WHAT, flag, rows: entries::<T> }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{experiment::Experiment, experiment_key::ExperimentKey};

    #[test]
    fn each_flag_names_the_rows_and_the_command_that_lists_them() {
        let keys = Experiment::keys();
        // `fedpipe models` and `fedpipe data list` list files, not rows.
        let lists_files = |key: &ExperimentKey| ["model", "source"].contains(&key.name.as_str());
        let listing = |key: &&ExperimentKey| key.help.contains("(see `fedpipe ") && !lists_files(key);
        let flags: BTreeSet<&str> = CATALOGUES.iter().map(|catalogue| catalogue.flag).collect();
        assert_eq!(keys.iter().filter(listing).count(), flags.len());
        for Catalogue { name, what, flag, rows } in &CATALOGUES {
            let key = keys.iter().find(|key| key.long() == flag.strip_prefix("--")).unwrap();
            let names: Vec<&str> = rows().iter().map(|row| row.name).collect();
            let listed = format!("{} (see `fedpipe {name}`)", names.join(", "));
            assert!(key.help.contains(&listed) && key.help.ends_with(')'), "{what}: {}", key.help);
        }
    }
}
