//! The refusal matrix: each pair of rows of all tables is refused or combines, as the lists of this file say.

use std::collections::BTreeSet;

use fedpipe_spec::table::{Entry, Tabled, entries};
use fedpipe_strategy::{
    aggregator::Aggregator, attack::Attack, clock::Clock, local_optimiser::OptimiserRule,
    pre_aggregator::PreAggregator, sampler::Sampler, schedule::Schedule, server::ServerOptimiser, term::ClientTerm,
    transform::Transform, weighting::Weighting,
};

use crate::experiment::Experiment;

/// Every row by the key that names it. A new row fails the test until it stands here; whether it is refused beside
/// another row is then a decision, for [`REFUSED`].
const ROWS: [(&str, &[&str]); 12] = [
    ("sample", &["uniform", "by-size", "poisson", "cyclic", "power-of-choice"]),
    (
        "term",
        &[
            "none",
            "proximal",
            "control-variate",
            "dynamic",
            "alone",
            "personal-model",
            "local-head",
            "head-first",
            "local-norm",
            "local-body",
            "frozen-head",
        ],
    ),
    ("transform", &["clip", "int8", "topk"]),
    ("attack", &["none", "label-flip", "sign-flip", "gaussian", "alie", "ipm", "mimic", "zero", "nan"]),
    ("weighting", &["examples", "steps", "equal"]),
    ("pre-aggregator", &["nnm", "bucketing", "arc"]),
    (
        "aggregate",
        &[
            "mean",
            "normalised",
            "q-fair",
            "median",
            "trimmed-mean",
            "krum",
            "multi-krum",
            "bulyan",
            "geometric-median",
            "norm-bounding",
            "centred-clipping",
        ],
    ),
    ("server", &["sgd", "momentum", "adagrad", "adam", "yogi", "extrapolation"]),
    ("optimiser", &["sgd", "adam", "adamw", "own"]),
    ("program", &["true"]),
    ("schedule", &["synchronous", "buffered", "asynchronous"]),
    ("clock", &["constant", "lognormal", "file"]),
];

/// Rows that no rule of [`REFUSED`] tells apart, in the place of a name in braces.
const GROUPS: [(&str, &[&str]); 9] = [
    (
        "unweighted",
        &["q-fair", "median", "trimmed-mean", "krum", "multi-krum", "bulyan", "norm-bounding", "centred-clipping"],
    ),
    (
        "robust",
        &[
            "median",
            "trimmed-mean",
            "krum",
            "multi-krum",
            "bulyan",
            "geometric-median",
            "norm-bounding",
            "centred-clipping",
        ],
    ),
    // The rules whose parameters need more updates than the one that a round may have.
    ("many", &["trimmed-mean", "krum", "multi-krum", "bulyan"]),
    ("virtual", &["buffered", "asynchronous"]),
    ("mixing", &["nnm", "bucketing", "arc"]),
    ("altering", &["sign-flip", "gaussian", "alie", "ipm", "mimic", "zero", "nan"]),
    ("localising", &["local-head", "head-first", "local-norm", "local-body"]),
    ("personal", &["personal-model", "local-head", "head-first", "local-norm", "local-body", "frozen-head"]),
    ("moving", &["momentum", "adagrad", "adam", "yogi", "extrapolation"]),
];

/// The rows that a row does not combine with. `own` beside local tensors of a model is known once a client is ready.
const REFUSED: [(&str, &[&str]); 33] = [
    ("aggregate {robust}", &["term control-variate", "term dynamic", "server extrapolation", "program true"]),
    ("aggregate {unweighted}", &["weighting examples", "weighting steps"]),
    ("aggregate {many}", &["sample poisson"]),
    ("aggregate normalised", &["term control-variate", "term dynamic", "server extrapolation", "program true"]),
    ("aggregate q-fair", &["term control-variate", "term dynamic", "server extrapolation", "program true"]),
    ("pre-aggregator {mixing}", &["aggregate normalised", "aggregate q-fair", "weighting examples", "weighting steps"]),
    ("pre-aggregator {mixing}", &["term control-variate", "term dynamic", "server extrapolation", "program true"]),
    ("pre-aggregator nnm", &["sample poisson"]),
    ("pre-aggregator arc", &["sample poisson"]),
    ("attack {altering}", &["term control-variate", "term dynamic", "term alone", "program true"]),
    ("attack label-flip", &["program true"]),
    ("server {moving}", &["term dynamic", "term alone", "program true"]),
    ("server extrapolation", &["weighting examples", "weighting steps"]),
    ("term control-variate", &["weighting examples", "weighting steps"]),
    ("term dynamic", &["weighting examples", "weighting steps"]),
    ("term {localising}", &["transform clip", "transform int8", "transform topk"]),
    ("term {personal}", &["program true"]),
    ("transform topk", &["term control-variate", "term dynamic"]),
    ("optimiser adam", &["term control-variate", "aggregate normalised"]),
    ("optimiser adamw", &["term control-variate", "aggregate normalised"]),
    ("optimiser own", &["term control-variate", "aggregate normalised"]),
    ("term alone", &["transform clip", "transform int8", "transform topk", "weighting examples", "weighting steps"]),
    ("term alone", &["aggregate {robust}", "aggregate normalised", "aggregate q-fair", "pre-aggregator {mixing}"]),
    ("program true", &["sample by-size", "sample poisson", "sample cyclic", "sample power-of-choice"]),
    ("program true", &["term proximal", "term control-variate", "term dynamic", "term alone", "weighting steps"]),
    ("program true", &["weighting equal"]),
    ("program true", &["transform clip", "transform int8", "transform topk"]),
    ("program true", &["clock constant", "clock lognormal", "clock file"]),
    ("schedule {virtual}", &["term control-variate", "term dynamic", "term alone", "aggregate q-fair", "program true"]),
    ("schedule {virtual}", &["sample poisson", "sample cyclic", "sample power-of-choice"]),
    ("sample power-of-choice", &["clock constant", "clock lognormal", "clock file"]),
    ("schedule asynchronous", &["attack alie", "attack ipm", "attack mimic", "server extrapolation"]),
    (
        "schedule asynchronous",
        &[
            "aggregate normalised",
            "aggregate median",
            "aggregate {many}",
            "aggregate geometric-median",
            "pre-aggregator {mixing}",
            "weighting examples",
            "weighting steps",
        ],
    ),
];

/// Returns the forms of a table's rows; a value that must be given is 0.5, or 1 if it must be whole.
fn forms<T: Tabled + ?Sized>() -> Vec<(&'static str, String)> {
    let form = |row: Entry| {
        let needed = row.parameters.iter().filter(|parameter| parameter.default.is_none());
        let value = |range: &str| if range.starts_with("a whole number") { "1" } else { "0.5" };
        let given = needed.map(|of| (format!("{}=…", of.key), format!("{}={}", of.key, value(of.range))));
        (row.name, given.fold(row.example.clone(), |form, (blank, filled)| form.replace(&blank, &filled)))
    };
    entries::<T>().into_iter().map(form).collect()
}

/// Returns the refusal of an experiment with two rows. The weighting is one that suits all rows, unless it is one of
/// the two.
fn refusal_of(pair: [(&str, &str); 2]) -> Option<String> {
    // As many candidates as clients of a round.
    let form = |form: &str| form.replace("candidates=1", "candidates=20");
    let mut strategy = toml::Table::from_iter(pair.map(|(key, of)| (key.to_owned(), form(of).into())));
    if !strategy.contains_key("program") {
        strategy.entry("weighting").or_insert_with(|| "equal".into());
    }
    let mut text = |key: &str| strategy.remove(key).and_then(|form| form.as_str().map(str::to_owned));
    let optimiser = text("optimiser");
    let (clock, schedule) = (text("clock"), text("schedule"));
    let needs_clock = schedule.as_ref().is_some_and(|form| !form.starts_with("synchronous"));
    let clock = clock.or_else(|| needs_clock.then(|| "constant".into()));
    // As many updates as a round of the other rows has.
    schedule
        .into_iter()
        .for_each(|form| drop(strategy.insert("schedule".into(), form.replace("size=10", "size=20").into())));
    let mut text = |key: &str| strategy.remove(key).and_then(|form| form.as_str().map(str::to_owned));
    if let Some(before) = text("pre-aggregator") {
        // The number of faulty updates is given here: not every rule has one.
        let before = before.replace("f=rule", "f=1");
        let rule = text("aggregate").unwrap_or_else(|| "mean".into());
        strategy.insert("aggregate".into(), format!("{before}+{rule}").into());
    }
    let local = optimiser.map(|optimiser| toml::Table::from_iter([("optimiser".to_owned(), optimiser.into())]));
    let mut table = toml::Table::from_iter([("format".to_owned(), 2.into()), ("strategy".into(), strategy.into())]);
    // Enough clients that half of them are a quorum for each aggregator.
    table.insert("clients".into(), toml::Table::from_iter([("count".into(), 20.into())]).into());
    let time = clock.map(|clock| toml::Table::from_iter([("clock".to_owned(), clock.into())]));
    time.into_iter().for_each(|time| drop(table.insert("time".into(), time.into())));
    local.into_iter().for_each(|local| drop(table.insert("local".into(), local.into())));
    Experiment::deserialize_from(table).unwrap().check().err().map(|error| error.to_string())
}

/// Returns the rows that a row of [`REFUSED`] names.
fn named(row: &str) -> Vec<String> {
    let group = GROUPS.iter().find(|(name, _)| row.ends_with(&format!("{{{name}}}")));
    let Some((name, members)) = group else { return vec![row.to_owned()] };
    members.iter().map(|member| row.replace(&format!("{{{name}}}"), member)).collect()
}

#[test]
fn each_pair_of_rows_is_refused_or_combines_as_it_was_decided() {
    let tables: [Vec<(&str, String)>; 12] = [
        forms::<dyn Sampler>(),
        forms::<dyn ClientTerm>(),
        forms::<Transform>(),
        forms::<dyn Attack>(),
        forms::<dyn Weighting>(),
        forms::<dyn PreAggregator>(),
        forms::<dyn Aggregator>(),
        forms::<dyn ServerOptimiser>(),
        forms::<OptimiserRule>(),
        vec![("true", "true".into())],
        forms::<dyn Schedule>(),
        forms::<dyn Clock>(),
    ];
    for ((key, expected), rows) in ROWS.iter().zip(&tables) {
        assert_eq!(rows.iter().map(|(name, _)| *name).collect::<Vec<_>>(), *expected, "{key}");
    }
    let mut decided: BTreeSet<[String; 2]> = BTreeSet::new();
    for (row, others) in REFUSED {
        let others: Vec<String> = others.iter().flat_map(|other| named(other)).collect();
        let pairs = named(row)
            .into_iter()
            .flat_map(|row| others.iter().map(move |other| sorted([&row, other])).collect::<Vec<_>>());
        decided.extend(pairs);
    }
    let all: Vec<(&str, &(&str, String))> =
        ROWS.iter().zip(&tables).flat_map(|((key, _), rows)| rows.iter().map(move |row| (*key, row))).collect();
    let mut wrong = Vec::new();
    for (index, (key, (name, form))) in all.iter().enumerate() {
        for (other_key, (other, other_form)) in all[index..].iter().filter(|(other, _)| other != key) {
            let why = refusal_of([(key, form), (other_key, other_form)]);
            let pair = sorted([&format!("{key} {name}"), &format!("{other_key} {other}")]);
            let was_decided = decided.remove(&pair);
            let says = |why: &String| {
                why.contains(" do not combine: ")
                    || why.contains(" and a program for it")
                    || why.contains("but a round of 1 client may succeed")
            };
            if why.is_some() != was_decided || !why.iter().all(says) {
                wrong.push(format!("{pair:?}: {why:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(decided.is_empty(), "{decided:?}");
}

fn sorted(mut pair: [&str; 2]) -> [String; 2] {
    pair.sort_unstable();
    pair.map(str::to_owned)
}
