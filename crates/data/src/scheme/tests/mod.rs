//! Tests of the partition schemes, with their helpers.

mod properties;
mod refused_schemes;
mod rules;
mod splits_by_hand;
mod texts;

use super::*;
use crate::testing::assert_says;

/// Returns labels with equal numbers of each class, if `classes` divides `n`.
fn labels(n: u32, classes: u32) -> Vec<u32> {
    (0..n).map(|row| (row * 7) % classes).collect()
}

fn sizes(parts: &[Vec<u32>]) -> Vec<usize> {
    parts.iter().map(Vec::len).collect()
}

/// Returns the number of a client's examples of each class.
fn counts(part: &[u32], labels: &[u32], classes: u32) -> Vec<usize> {
    (0..classes).map(|class| part.iter().filter(|row| labels[**row as usize] == class).count()).collect()
}

fn assert_every_row_once(parts: &[Vec<u32>], n: u32) {
    let mut all = parts.concat();
    all.sort_unstable();
    assert_eq!(all, (0..n).collect::<Vec<_>>());
    assert!(parts.iter().all(|part| !part.is_empty() && part.is_sorted()));
}

fn iid() -> Scheme {
    Scheme::default()
}

fn shards(per_client: u32) -> Scheme {
    format!("shards:{per_client}").parse().unwrap()
}

fn dirichlet(alpha: f64) -> Scheme {
    full_dirichlet(alpha, 1, false)
}

fn full_dirichlet(alpha: f64, min_size: u32, balance: bool) -> Scheme {
    format!("dirichlet:alpha={alpha},min-size={min_size},balance={balance}").parse().unwrap()
}

/// Deals labelled rows without a split by hand. The column of `continuous` has the labels.
fn partition(
    scheme: &Scheme,
    labels: &[u32],
    classes: u32,
    clients: u32,
    seed: u64,
) -> Result<Vec<Vec<u32>>, DataError> {
    let column: Vec<f64> = labels.iter().map(|&label| label.into()).collect();
    super::partition(scheme, &Labelled { column: Some(&column), ..Labelled::new(labels, classes) }, clients, seed)
}

/// The table in the README comes from `vectors.py`, which is independent of this crate. A change of the randomness
/// would change every published result, and fails here.
#[test]
fn partitions_are_those_of_the_readme() {
    let labels = [0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 0, 1, 2, 2];
    let rows =
        include_str!("../../../README.md").lines().filter_map(|line| line.strip_prefix("| `")?.split_once("`, seed "));
    let mut seen = Vec::new();
    for (scheme, rest) in rows {
        let (seed, parts) = rest.trim_end_matches(" |").split_once(" | ").unwrap();
        let seed = seed.split(';').next().unwrap().parse().unwrap();
        let scheme: Scheme = scheme.parse().unwrap();
        let dealt = partition(&scheme, &labels, 3, 3, seed).unwrap();
        let dealt = dealt.iter().map(|part| part.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(dealt.collect::<Vec<_>>().join(" · "), parts, "{scheme}, seed {seed}");
        seen.push(scheme);
    }
    let untested = ROWS.iter().filter(|row| {
        !["file", "files", "natural", "grouped-natural", "own"].contains(&row.name)
            && seen.iter().all(|s| s.name() != row.name)
    });
    assert_eq!(untested.map(|row| row.name).collect::<Vec<_>>(), Vec::<&str>::new(), "no row of the README");
    assert_eq!(seen.len(), 20);
}
