//! Groups of runs: those that differ in their seeds alone are one group, which has a mean and a deviation.

use std::collections::BTreeMap;

use fedpipe_record::{
    configuration::{Configuration, differing},
    key_names::key_at,
    measure::{CurveAxis, Measure},
    run_overview::RunOverview,
};

use crate::{
    page_data::thinned,
    statistics::{Paired, Spread, paired, spread},
};

/// Runs of one configuration.
#[derive(Debug, Clone)]
pub struct Group {
    /// The values of the keys in which the groups differ, in the order of [`Comparison::keys`].
    pub values: Vec<Option<String>>,
    /// The runs, one for each combination of seeds.
    pub runs: Vec<RunOverview>,
}

/// Groups of runs, and the keys in which they differ.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The paths of the keys in which the groups differ; code and data that differ have their names.
    pub keys: Vec<String>,
    /// The groups, in the order of their first runs.
    pub groups: Vec<Group>,
    /// The runs that repeat another run with its seeds, and are left out.
    pub repeated: usize,
}

/// The mean of a measure over the runs of a group, and the deviation.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanCurve {
    /// The place on the axis, and the spread over the runs.
    pub points: Vec<(f64, Spread)>,
}

impl Comparison {
    /// Groups runs. Runs with the same configuration, code and dataset are one group.
    pub fn of(runs: Vec<RunOverview>) -> Self {
        let mut kinds: Vec<Configuration> = Vec::new();
        let mut groups: Vec<Vec<RunOverview>> = Vec::new();
        let mut repeated = 0;
        for run in runs {
            let kind = kind_of(&run);
            match kinds.iter().position(|other| *other == kind) {
                None => {
                    kinds.push(kind);
                    groups.push(vec![run]);
                }
                Some(place) if groups[place].iter().any(|other| other.seeds == run.seeds) => repeated += 1,
                Some(place) => groups[place].push(run),
            }
        }
        let keys = differing(&kinds);
        let values = |kind: &Configuration| keys.iter().map(|key| kind.get(key).map(str::to_owned)).collect();
        let groups = kinds.iter().zip(groups).map(|(kind, runs)| Group { values: values(kind), runs }).collect();
        Self { keys, groups, repeated }
    }

    /// Returns the main measure of all runs.
    pub fn main_measure(&self) -> Measure {
        main_measure(self.runs())
    }

    /// Returns the axis over which all runs are comparable: virtual seconds if each has a clock, else rounds.
    pub fn main_axis(&self) -> CurveAxis {
        let has_clock = |run: &RunOverview| run.last(Measure::VirtualSeconds).is_some();
        if self.runs().all(has_clock) { CurveAxis::VirtualSeconds } else { CurveAxis::Round }
    }

    /// Returns all runs.
    pub fn runs(&self) -> impl Iterator<Item = &RunOverview> + Clone {
        self.groups.iter().flat_map(|group| &group.runs)
    }

    /// Returns `true` if all runs have the same dataset and target. Otherwise their results have no order.
    pub fn has_one_task(&self) -> bool {
        let mut tasks = self.runs().map(RunOverview::task);
        tasks.next().is_none_or(|first| tasks.all(|task| task == first))
    }
}

/// Returns the first of the measures that every run has: accuracy, RMSE, those of the models that clients use, loss.
pub fn main_measure<'r>(runs: impl Iterator<Item = &'r RunOverview> + Clone) -> Measure {
    let has = |measure: &Measure| runs.clone().all(|run| run.last(*measure).is_some());
    let measures = [Measure::Accuracy, Measure::Rmse, Measure::Personal, Measure::PersonalRmse];
    measures.into_iter().find(has).unwrap_or(Measure::Loss)
}

/// Returns the place of the best value of a measure. Of equal values it is the first.
pub fn best(measure: Measure, values: impl Iterator<Item = Option<f64>>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (place, value) in values.enumerate() {
        let Some(value) = value else { continue };
        let is_better = best.is_none_or(|(_, best)| if measure.is_gain() { value > best } else { value < best });
        if is_better {
            best = Some((place, value));
        }
    }
    best.map(|(place, _)| place)
}

impl Group {
    /// Returns the name of the group: the keys in which the groups differ, with their values.
    pub fn label(&self, keys: &[String]) -> String {
        let pair = |(key, value): (&String, &Option<String>)| {
            let value = value.as_deref().unwrap_or("none");
            let is_hash = value.len() == 64 && value.chars().all(|c| c.is_ascii_hexdigit());
            format!("{}={}", short(key), if is_hash { &value[..8] } else { value })
        };
        let pairs: Vec<String> = keys.iter().zip(&self.values).map(pair).collect();
        match (pairs.is_empty(), self.runs.first()) {
            (true, Some(run)) => run.model.clone(),
            _ => pairs.join(" "),
        }
    }

    /// Returns the spread of a measure over the runs of the group.
    pub fn spread(&self, measure: Measure) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter_map(|run| run.last(measure)).collect();
        spread(&values)
    }

    /// Compares the runs of this group with those of `base` that have the same seeds.
    pub fn compared_with(&self, base: &Group, measure: Measure) -> Option<Paired> {
        let value = |run: &RunOverview| Some((run.seeds, run.last(measure)?));
        let of_base: BTreeMap<[u64; 4], f64> = base.runs.iter().filter_map(value).collect();
        let pairs = self.runs.iter().filter_map(value);
        let pairs: Vec<(f64, f64)> = pairs.filter_map(|(seeds, own)| Some((*of_base.get(&seeds)?, own))).collect();
        paired(&pairs)
    }

    /// Returns the curve of a measure. It ends with the shortest run, since a mean over fewer runs is another one.
    /// A value that a run lacks is on the line between its neighbours.
    pub fn curve(&self, measure: Measure, axis: CurveAxis) -> MeanCurve {
        let curves: Vec<Vec<(f64, f64)>> = self.runs.iter().map(|run| run.curve(measure, axis)).collect();
        let mut places: Vec<f64> = curves.iter().flatten().map(|point| point.0).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let spread_at = |place: f64| {
            let values: Option<Vec<f64>> = curves.iter().map(|curve| value_at(curve, place)).collect();
            Some((place, spread(&values?)?))
        };
        MeanCurve { points: thinned(places.into_iter().filter_map(spread_at).collect()) }
    }
}

/// Returns the value of a curve at a place; `None` outside of the curve. Of several values there, it is the last one.
fn value_at(curve: &[(f64, f64)], place: f64) -> Option<f64> {
    let after = curve.partition_point(|point| point.0 <= place);
    let (x, y) = *curve.get(after.checked_sub(1)?)?;
    if x == place {
        return Some(y);
    }
    let (next_x, next_y) = *curve.get(after)?;
    Some(y + (next_y - y) * (place - x) / (next_x - x))
}

/// Returns the values that make two runs repetitions of one another but for their seeds.
fn kind_of(run: &RunOverview) -> Configuration {
    let mut kind = run.configuration.without_seeds();
    run.identity.iter().for_each(|(name, value)| kind.insert(name, value.to_owned()));
    kind
}

/// Returns the short name of a path: the flag of its key, or the name of an entry. Another name stays as it is.
pub fn short(path: &str) -> String {
    match key_at(path) {
        Some(key) if key.path() == path => key.id().to_owned(),
        Some(key) => path.strip_prefix(&key.path()).unwrap_or(path).trim_start_matches('.').to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use fedpipe_record::{
        client_scores::{ClientScore, ClientScores},
        finite::Finite,
        round_line::Round,
    };

    use super::*;

    /// Returns a run with a value of `local.lr`, a seed, and the accuracies of its rounds in percent.
    pub(crate) fn run(lr: &str, seed: u64, accuracies: &[f64]) -> RunOverview {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let mut configuration = Configuration::default();
        configuration.insert("local.lr", lr.to_owned());
        configuration.insert("seed", seed.to_string());
        let round = |(number, accuracy): (u64, &f64)| Round {
            accuracy: Some(finite(accuracy / 100.0)),
            loss: Some(finite(1.0 - accuracy / 100.0)),
            ..Round::blank(number)
        };
        let rounds = (1..).zip(accuracies).map(round).collect();
        RunOverview { configuration, seeds: [seed; 4], ..RunOverview::blank(rounds) }
    }

    #[test]
    fn runs_that_differ_in_their_seeds_alone_are_one_group() {
        let runs = vec![run("0.1", 0, &[50.0]), run("0.5", 0, &[60.0]), run("0.1", 1, &[70.0]), run("0.1", 1, &[70.0])];
        let comparison = Comparison::of(runs);
        assert_eq!((comparison.keys.join(" "), comparison.repeated), ("local.lr".to_owned(), 1));
        let labels: Vec<String> = comparison.groups.iter().map(|group| group.label(&comparison.keys)).collect();
        assert_eq!(labels, ["lr=0.1", "lr=0.5"]);
        let spread = comparison.groups[0].spread(Measure::Accuracy).unwrap();
        assert_eq!((spread.count, spread.mean), (2, 60.0));
        assert_eq!(comparison.main_measure(), Measure::Accuracy);
        // Of equal means the first group is the best.
        let means =
            |measure| comparison.groups.iter().map(move |group| group.spread(measure).map(|spread| spread.mean));
        let of = |measure| best(measure, means(measure));
        assert_eq!((of(Measure::Accuracy), of(Measure::Rmse)), (Some(0), None));
    }

    #[test]
    fn another_dylib_makes_another_group() {
        let mut other = run("0.1", 0, &[50.0]);
        other.identity.insert("model.so", "0123456789abcdef".repeat(4));
        let comparison = Comparison::of(vec![run("0.1", 0, &[50.0]), other]);
        assert_eq!(comparison.keys, ["model.so"]);
        assert_eq!(comparison.groups[1].label(&comparison.keys), "model.so=01234567");
    }

    #[test]
    fn pairs_have_the_same_seeds() {
        let of = |lr, values: [(u64, f64); 3]| values.map(|(seed, accuracy)| run(lr, seed, &[accuracy]));
        let base = of("0.1", [(0, 50.0), (1, 60.0), (2, 70.0)]);
        let other = of("0.5", [(2, 71.0), (0, 52.0), (9, 0.0)]);
        let comparison = Comparison::of([base, other].concat());
        let paired = comparison.groups[1].compared_with(&comparison.groups[0], Measure::Accuracy).unwrap();
        assert_eq!(paired.pairs, 2);
        assert!((paired.mean - 1.5).abs() < 1e-9, "{paired:?}");
        let none = Comparison::of(vec![run("0.1", 0, &[50.0]), run("0.5", 1, &[50.0])]);
        assert_eq!(none.groups[1].compared_with(&none.groups[0], Measure::Accuracy), None);
    }

    #[test]
    fn a_curve_ends_with_the_shortest_run() {
        let comparison = Comparison::of(vec![run("0.1", 0, &[50.0, 60.0, 70.0]), run("0.1", 1, &[60.0, 60.0])]);
        let curve = comparison.groups[0].curve(Measure::Accuracy, CurveAxis::Round);
        let means: Vec<(f64, f64)> = curve.points.iter().map(|(round, spread)| (*round, spread.mean)).collect();
        assert_eq!(means, [(1.0, 55.0), (2.0, 60.0)]);
    }

    /// The rounds of one run end at 10 and 20 virtual seconds, those of the other at 5, 15 and 25.
    #[test]
    fn a_mean_over_virtual_time_is_that_of_the_lines_of_the_runs() {
        let timed = |seed, points: &[(f64, f64)]| {
            let mut run = run("0.1", seed, &points.iter().map(|point| point.1).collect::<Vec<_>>());
            for (round, (end, _)) in run.rounds.iter_mut().zip(points) {
                round.virtual_seconds = Some(Finite::try_from(*end).unwrap());
            }
            run
        };
        let runs = vec![timed(0, &[(10.0, 40.0), (20.0, 60.0)]), timed(1, &[(5.0, 20.0), (15.0, 40.0), (25.0, 80.0)])];
        let comparison = Comparison::of(runs);
        assert_eq!(comparison.main_axis(), CurveAxis::VirtualSeconds);
        let curve = comparison.groups[0].curve(Measure::Accuracy, CurveAxis::VirtualSeconds);
        let means: Vec<(f64, f64)> = curve.points.iter().map(|(end, spread)| (*end, spread.mean.round())).collect();
        assert_eq!(means, [(10.0, 35.0), (15.0, 45.0), (20.0, 60.0)]);
        let without = Comparison::of(vec![run("0.1", 0, &[50.0]), timed(1, &[(5.0, 20.0)])]);
        assert_eq!(without.main_axis(), CurveAxis::Round);
        assert!(without.groups[0].curve(Measure::Accuracy, CurveAxis::VirtualSeconds).points.is_empty());
    }

    #[test]
    fn runs_without_global_scores_are_compared_by_those_of_the_clients() {
        let score = ClientScore { client: 0, examples: 4, correct: Some(3), errors: None, loss_sum: 1.0 };
        let mut personal = run("0.1", 0, &[50.0]);
        personal.rounds[0].personal = ClientScores::new(&[score]).unwrap();
        (personal.rounds[0].accuracy, personal.rounds[0].loss) = (None, None);
        let mut global = run("0.5", 0, &[50.0]);
        global.rounds[0].held_out = personal.rounds[0].personal.clone();
        let comparison = Comparison::of(vec![personal.clone(), global]);
        assert_eq!(comparison.main_measure(), Measure::Personal);
        assert_eq!(Comparison::of(vec![personal, run("0.5", 0, &[50.0])]).main_measure(), Measure::Loss);
    }

    #[test]
    fn short_names_are_those_of_flags() {
        let names =
            ["local.lr", "clients.count", "seed", "strategy.name", "strategy", "model-options.hidden", "model.so"];
        assert_eq!(names.map(short), ["lr", "clients", "seed", "strategy", "strategy", "hidden", "model.so"]);
    }
}
