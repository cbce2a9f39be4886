//! Tests of the partition schemes: properties, known rows, and texts.

use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn iid_deals_every_row_once_in_sizes_that_differ_by_one(n in 1_u32..400, clients in 1_u32..40, seed: u64) {
        prop_assume!(clients <= n);
        let parts = partition(&iid(), &labels(n, 3), 3, clients, seed).unwrap();
        assert_every_row_once(&parts, n);
        let sizes = sizes(&parts);
        prop_assert_eq!(sizes.len(), clients as usize);
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
    }

    #[test]
    fn dirichlet_deals_every_row_once_and_the_least_size_to_all(
        n in 100_u32..400, clients in 1_u32..8, seed: u64, alpha in 0.2_f64..20.0, balance: bool, min_size in 1_u32..5,
    ) {
        let scheme = full_dirichlet(alpha, min_size, balance);
        let parts = partition(&scheme, &labels(n, 5), 5, clients, seed).unwrap();
        assert_every_row_once(&parts, n);
        prop_assert_eq!(parts.len(), clients as usize);
        prop_assert!(sizes(&parts).iter().all(|size| *size >= min_size as usize));
    }

    #[test]
    fn shards_deal_every_row_once_and_few_classes(n in 60_u32..400, clients in 1_u32..12, per_client in 1_u32..5, seed: u64) {
        let labels = labels(n, 4);
        let parts = partition(&shards(per_client), &labels, 4, clients, seed).unwrap();
        assert_every_row_once(&parts, n);
        prop_assert_eq!(parts.len(), clients as usize);
        let sizes = sizes(&parts);
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= per_client as usize);
    }

    #[test]
    fn the_same_seed_deals_the_same_and_another_does_not(seed: u64) {
        let labels = labels(300, 5);
        for scheme in [iid(), dirichlet(1.0), shards(2)] {
            let deal = |seed| partition(&scheme, &labels, 5, 6, seed).unwrap();
            prop_assert_eq!(deal(seed), deal(seed));
            prop_assert_ne!(deal(seed), deal(seed.wrapping_add(1)), "{}", scheme);
        }
    }

    #[test]
    fn a_scheme_is_read_as_it_is_written(alpha in 1e-9_f64..1e9, min_size in 1_u32.., balance: bool, per_client in 1_u32..) {
        for scheme in [iid(), full_dirichlet(alpha, min_size, balance), shards(per_client)] {
            prop_assert_eq!(scheme.to_string().parse::<Scheme>().unwrap(), scheme);
        }
    }
}

#[test]
fn iid_of_60000_among_7() {
    let parts = partition(&iid(), &labels(60_000, 10), 10, 7, 0).unwrap();
    assert_eq!(sizes(&parts), [8572, 8572, 8572, 8571, 8571, 8571, 8571]);
    assert_every_row_once(&parts, 60_000);
}

#[test]
fn one_client_holds_everything_in_order() {
    let labels = labels(50, 3);
    for scheme in [iid(), dirichlet(0.3), shards(3)] {
        assert_eq!(partition(&scheme, &labels, 3, 1, 9).unwrap(), [(0..50).collect::<Vec<u32>>()]);
    }
}

#[test]
fn two_shards_of_a_size_that_fits_the_classes_hold_at_most_two_classes() {
    let labels = labels(600, 10);
    for part in partition(&shards(2), &labels, 10, 10, 3).unwrap() {
        let held = counts(&part, &labels, 10).into_iter().filter(|count| *count > 0).count();
        assert!(held <= 2, "two shards within a class each, but {held} classes");
    }
}

/// The mean over clients and classes of (share − 1/N)² is that of a Dirichlet distribution: (N − 1) / (N²(Nα + 1)).
#[test]
fn dirichlet_shares_have_the_distributions_variance() {
    let (n, clients, classes) = (20_000, 5_u32, 4);
    let labels = labels(n, classes);
    for alpha in [0.3, 1.0, 10.0] {
        let (mut sum, mut count) = (0.0, 0.0);
        for seed in 0..100 {
            for part in partition(&dirichlet(alpha), &labels, classes, clients, seed).unwrap() {
                for held in counts(&part, &labels, classes) {
                    let share = held as f64 * f64::from(classes) / f64::from(n);
                    sum += (share - 0.2) * (share - 0.2);
                    count += 1.0;
                }
            }
        }
        let expected = 4.0 / (25.0 * (5.0 * alpha + 1.0));
        assert!((sum / count / expected - 1.0).abs() < 0.1, "alpha {alpha}: {} and not {expected}", sum / count);
    }
}

#[test]
fn balance_keeps_a_client_from_getting_more_once_it_has_its_share() {
    let labels = labels(2_000, 10);
    for seed in 0..20 {
        let scheme = full_dirichlet(0.1, 1, true);
        let parts = partition(&scheme, &labels, 10, 4, seed).unwrap();
        // A client has fewer than 500 examples before its last class, which has 200.
        assert!(sizes(&parts).iter().all(|size| *size < 700), "{:?}", sizes(&parts));
    }
}

/// The table in the README comes from `vectors.py`, which is independent of this crate. A change of the randomness
/// would change every published result, and fails here.
#[test]
fn partitions_are_those_of_the_readme() {
    let labels = [0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 0, 1, 2, 2];
    let rows =
        include_str!("../../README.md").lines().filter_map(|line| line.strip_prefix("| `")?.split_once("`, seed "));
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
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn an_impossible_partition_is_refused() {
    let labels = labels(20, 3);
    let refused = |scheme: &Scheme, clients| partition(scheme, &labels, 3, clients, 0).unwrap_err();
    assert_says(&refused(&iid(), 0), &["0 clients", "at least 1"]);
    assert_says(&refused(&iid(), 21), &["21 clients", "20 training examples"]);
    let min_size = |min_size| full_dirichlet(1e-3, min_size, false);
    assert_says(&refused(&min_size(11), 2), &["11", "20", "min-size"]);
    // Each of 3 classes goes almost completely to one client, so one of 4 clients gets nothing.
    assert_says(&refused(&min_size(5), 4), &["1000", "0.001", "raise `alpha`"]);
    assert_says(&refused(&shards(11), 2), &["11", "20"]);
    assert_says(&refused(&shards(u32::MAX), 2), &["4294967295"]);
    let error = partition(&iid(), &[0, 3], 3, 1, 0).unwrap_err();
    assert_says(&error, &["row 1", "label 3", "0 to 2"]);
}

#[test]
fn schemes_are_read() {
    let read = |text: &str| text.parse::<Scheme>().unwrap();
    assert_eq!(read("iid"), iid());
    assert_eq!(read("dirichlet:0.3"), full_dirichlet(0.3, 10, false));
    assert_eq!(read("dirichlet:alpha=0.3"), read("dirichlet:0.3"));
    let all = full_dirichlet(2.0, 3, true);
    assert_eq!(read("dirichlet:balance=true,alpha=2,min-size=3"), all);
    assert_eq!(read("shards:2"), shards(2));
    assert_eq!(read("shards:per-client=2").to_string(), "shards:per-client=2");
    assert_eq!(read("dirichlet:0.3").to_string(), "dirichlet:alpha=0.3");
}

#[test]
fn a_text_that_is_no_scheme_is_refused_with_the_known_ones() {
    let refused: &[(&str, &[&str])] = &[
        ("", &["``", "iid, dirichlet, shards"]),
        ("idd", &["idd", "iid, dirichlet, shards"]),
        ("iid:alpha=1", &["alpha", "it takes none"]),
        ("iid:1", &["iid:1", "key=value"]),
        ("dirichlet", &["dirichlet:alpha=…"]),
        ("dirichlet:beta=1", &["beta", "known are alpha, min-size, balance"]),
        ("dirichlet:alpha=x", &["alpha=x", "a number above 0"]),
        ("dirichlet:alpha=1,alpha=2", &["alpha", "twice"]),
        ("dirichlet:0.3,min-size=1", &["0.3", "key=value"]),
        ("dirichlet:-1", &["-1", "above 0"]),
        ("dirichlet:0", &["alpha=0", "above 0"]),
        ("dirichlet:nan", &["alpha=NaN", "above 0"]),
        ("dirichlet:inf", &["alpha=inf", "above 0"]),
        ("dirichlet:alpha=1,balance=yes", &["balance=yes", "true or false"]),
        ("dirichlet:alpha=1,min-size=0", &["min-size"]),
        ("shards", &["shards:per-client=…"]),
        ("shards:0", &["per-client"]),
        ("shards:-2", &["per-client=-2", "whole number"]),
        ("shards:1.5", &["per-client=1.5", "whole number"]),
    ];
    for (text, words) in refused {
        assert_says(&text.parse::<Scheme>().map_err(DataError::Scheme).unwrap_err(), words);
    }
}

#[test]
fn a_scheme_is_a_string_in_json() {
    let json = serde_json::to_string(&shards(2)).unwrap();
    assert_eq!(json, r#""shards:per-client=2""#);
    assert_eq!(serde_json::from_str::<Scheme>(&json).unwrap(), shards(2));
}
