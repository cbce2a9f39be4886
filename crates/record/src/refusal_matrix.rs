//! The refusal matrix: each pair of rows of all tables is refused or combines, as the lists of this file say.

use std::collections::BTreeSet;

use fedpipe_spec::table::{Tabled, entries};
use fedpipe_strategy::{
    aggregator::Aggregator, local_optimiser::OptimiserRule, sampler::Sampler, server::ServerOptimiser,
    term::ClientTerm, transform::Transform, weighting::Weighting,
};

use crate::experiment::Experiment;

/// Every row by the key that names it. A new row fails the test until it stands here; whether it is refused beside
/// another row is then a decision, for [`REFUSED`].
const ROWS: [(&str, &[&str]); 8] = [
    ("sample", &["uniform", "by-size"]),
    ("term", &["none", "proximal", "control-variate", "dynamic"]),
    ("transform", &["clip", "int8", "topk"]),
    ("weighting", &["examples", "steps", "equal"]),
    ("aggregate", &["mean", "normalised", "q-fair", "median", "trimmed-mean"]),
    ("server", &["sgd", "momentum", "adam"]),
    ("optimiser", &["sgd", "adam", "adamw", "own"]),
    ("program", &["true"]),
];

/// The rows that a row does not combine with. `own` beside local tensors is known once a client is ready.
const REFUSED: [(&str, &[&str]); 16] = [
    ("term control-variate", &["aggregate normalised", "aggregate median", "weighting examples", "weighting steps"]),
    ("term dynamic", &["aggregate normalised", "aggregate median", "weighting examples", "weighting steps"]),
    ("term dynamic", &["server momentum", "server adam"]),
    ("aggregate median", &["weighting examples", "weighting steps"]),
    ("aggregate q-fair", &["term control-variate", "term dynamic", "program true"]),
    ("aggregate q-fair", &["weighting examples", "weighting steps"]),
    ("aggregate trimmed-mean", &["term control-variate", "term dynamic", "program true"]),
    ("aggregate trimmed-mean", &["weighting examples", "weighting steps"]),
    ("transform topk", &["term control-variate", "term dynamic"]),
    ("optimiser adam", &["term control-variate", "aggregate normalised"]),
    ("optimiser adamw", &["term control-variate", "aggregate normalised"]),
    ("optimiser own", &["term control-variate", "aggregate normalised"]),
    ("program true", &["sample by-size", "term proximal", "term control-variate", "term dynamic"]),
    ("program true", &["transform clip", "transform int8", "transform topk"]),
    ("program true", &["weighting steps", "weighting equal", "aggregate normalised", "aggregate median"]),
    ("program true", &["server momentum", "server adam"]),
];

/// Returns the forms of a table's rows; a value that must be given is 0.5.
fn forms<T: Tabled + ?Sized>() -> Vec<(&'static str, String)> {
    entries::<T>().into_iter().map(|row| (row.name, row.example.replace('…', "0.5"))).collect()
}

/// Returns the refusal of an experiment with two rows. The weighting is one that suits all rows, unless it is one of
/// the two.
fn refusal_of(pair: [(&str, &str); 2]) -> Option<String> {
    let mut strategy = toml::Table::from_iter(pair.map(|(key, form)| (key.to_owned(), form.into())));
    if !strategy.contains_key("program") {
        strategy.entry("weighting").or_insert_with(|| "equal".into());
    }
    let local = strategy.remove("optimiser").map(|optimiser| toml::Table::from_iter([("optimiser".into(), optimiser)]));
    let mut table = toml::Table::from_iter([("format".to_owned(), 2.into()), ("strategy".into(), strategy.into())]);
    // Enough clients that half of them are a quorum for each aggregator.
    table.insert("clients".into(), toml::Table::from_iter([("count".into(), 20.into())]).into());
    local.into_iter().for_each(|local| drop(table.insert("local".into(), local.into())));
    Experiment::deserialize_from(table).unwrap().check().err().map(|error| error.to_string())
}

#[test]
fn each_pair_of_rows_is_refused_or_combines_as_it_was_decided() {
    let tables: [Vec<(&str, String)>; 8] = [
        forms::<dyn Sampler>(),
        forms::<dyn ClientTerm>(),
        forms::<Transform>(),
        forms::<dyn Weighting>(),
        forms::<dyn Aggregator>(),
        forms::<dyn ServerOptimiser>(),
        forms::<OptimiserRule>(),
        vec![("true", "true".into())],
    ];
    for ((key, expected), rows) in ROWS.iter().zip(&tables) {
        assert_eq!(rows.iter().map(|(name, _)| *name).collect::<Vec<_>>(), *expected, "{key}");
    }
    let mut decided: BTreeSet<[String; 2]> = BTreeSet::new();
    for (row, others) in REFUSED {
        decided.extend(others.iter().map(|other| sorted([row, other])));
    }
    let all: Vec<(&str, &(&str, String))> =
        ROWS.iter().zip(&tables).flat_map(|((key, _), rows)| rows.iter().map(move |row| (*key, row))).collect();
    for (index, (key, (name, form))) in all.iter().enumerate() {
        for (other_key, (other, other_form)) in all[index..].iter().filter(|(other, _)| other != key) {
            let why = refusal_of([(key, form), (other_key, other_form)]);
            let pair = sorted([&format!("{key} {name}"), &format!("{other_key} {other}")]);
            assert_eq!(why.is_some(), decided.remove(&pair), "{pair:?}: {why:?}");
            let says = |why: String| why.contains(" do not combine: ") || why.contains(" and a program for it");
            assert!(why.is_none_or(says), "{pair:?}");
        }
    }
    assert!(decided.is_empty(), "{decided:?}");
}

fn sorted(mut pair: [&str; 2]) -> [String; 2] {
    pair.sort_unstable();
    pair.map(str::to_owned)
}
