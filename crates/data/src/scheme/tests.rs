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

/// Deals labelled rows without a split by hand.
fn partition(
    scheme: &Scheme,
    labels: &[u32],
    classes: u32,
    clients: u32,
    seed: u64,
) -> Result<Vec<Vec<u32>>, DataError> {
    super::partition(scheme, &Labelled::new(labels, classes), clients, seed)
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
    fn every_other_scheme_deals_every_row_once(
        n in 300_u32..500, clients in 5_u32..9, seed: u64, k in 1_u32..5, share in 0.0_f64..1.0,
    ) {
        let texts = [
            format!("labels:{k}"),
            format!("exdir:k={},alpha=10,min-size=1", k.max(2)),
            format!("gamma-similarity:{share}"),
            format!("dirichlet-client:{}", share + 0.01),
            "quantity:alpha=2,min-size=1".to_owned(),
            format!("log-normal:{}", share / 2.0),
            "linear".to_owned(),
            "square".to_owned(),
        ];
        let labels = labels(n, 5);
        for text in texts {
            let parts = partition(&text.parse().unwrap(), &labels, 5, clients, seed).unwrap();
            prop_assert_eq!(parts.len(), clients as usize);
            // The clients are so many that each label has a holder under `labels`.
            assert_every_row_once(&parts, n);
        }
    }

    #[test]
    fn a_client_has_at_most_k_labels(n in 200_u32..400, clients in 2_u32..30, seed: u64, k in 1_u32..5) {
        let labels = labels(n, 5);
        for text in [format!("labels:{k}"), format!("pat:{k}"), format!("pat:k={k},balance=true")] {
            let parts = partition(&text.parse().unwrap(), &labels, 5, clients, seed).unwrap();
            let mut dealt = parts.concat();
            dealt.sort_unstable();
            prop_assert!(dealt.windows(2).all(|pair| pair[0] < pair[1]), "{}: a row is dealt twice", text);
            for part in &parts {
                prop_assert!(part.is_sorted() && !part.is_empty());
                let held = counts(part, &labels, 5).into_iter().filter(|count| *count > 0).count();
                prop_assert!(held <= k as usize, "{}: {} labels", text, held);
            }
        }
    }

    #[test]
    fn the_same_seed_deals_the_same_and_another_does_not(seed: u64) {
        let labels = labels(300, 5);
        let others = ["labels:2", "pat:2", "exdir:k=4,alpha=5", "gamma-similarity:0.5", "dirichlet-client:1",
            "quantity:2", "log-normal:0.5", "linear", "square", "exponential"];
        for scheme in others.map(|text| text.parse().unwrap()).into_iter().chain([iid(), dirichlet(1.0), shards(2)]) {
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
    let untested = ROWS.iter().filter(|row| {
        !["file", "files", "natural", "own"].contains(&row.name) && seen.iter().all(|s| s.name() != row.name)
    });
    assert_eq!(untested.map(|row| row.name).collect::<Vec<_>>(), Vec::<&str>::new(), "no row of the README");
    assert_eq!(seen.len(), 18);
}

/// As Flower's partitioners: each size is rounded down, and the last client has the rest.
#[test]
fn growing_sizes_are_those_of_flower() {
    let sizes_of =
        |text: &str, n, clients| sizes(&partition(&text.parse().unwrap(), &labels(n, 3), 3, clients, 0).unwrap());
    assert_eq!(sizes_of("linear", 100, 4), [10, 20, 30, 40]);
    assert_eq!(sizes_of("square", 100, 4), [3, 13, 30, 54]);
    // e, e², e³, e⁴ over their sum: 0.0321, 0.0871, 0.2369, 0.6439.
    assert_eq!(sizes_of("exponential", 1000, 4), [32, 87, 236, 645]);
}

#[test]
fn labels_splits_each_label_evenly_among_its_holders() {
    let labels = labels(1_000, 10);
    let parts = partition(&"labels:2".parse().unwrap(), &labels, 10, 20, 4).unwrap();
    for (client, part) in parts.iter().enumerate() {
        let counts = counts(part, &labels, 10);
        assert!(counts[client % 10] > 0, "client {client} lacks its own label: {counts:?}");
        assert_eq!(counts.iter().filter(|count| **count > 0).count(), 2);
    }
    for label in 0..10 {
        let held: Vec<usize> = parts.iter().map(|part| counts(part, &labels, 10)[label]).filter(|n| *n > 0).collect();
        assert!(held.iter().max().unwrap() - held.iter().min().unwrap() <= 1, "label {label}: {held:?}");
    }
    // Two clients hold 4 labels at most, and the rows of the others are left out.
    let few = partition(&"labels:2".parse().unwrap(), &labels, 10, 2, 4).unwrap();
    assert!(few.concat().len() <= 400);
}

/// The mean over clients and classes of (share − 1/C)² is that of a Dirichlet distribution: (C − 1) / (C²(Cα + 1)). The
/// few examples of a client add the variance of their draws. The rows are many, so that no class ends early.
#[test]
fn dirichlet_client_shares_have_the_distributions_variance() {
    let (n, classes) = (40_000, 4_u32);
    let labels = labels(n, classes);
    for alpha in [0.3, 1.0, 10.0] {
        let (mut sum, mut count) = (0.0, 0.0);
        for seed in 0..20 {
            let scheme = format!("dirichlet-client:{alpha}").parse().unwrap();
            // The last clients' classes may end early, but the first examples of each client do not.
            let parts = super::partition(&scheme, &Labelled::new(&labels, classes), 400, seed).unwrap();
            for part in &parts {
                for held in counts(part, &labels, classes) {
                    let share = held as f64 / part.len() as f64 - 0.25;
                    sum += share * share;
                    count += 1.0;
                }
            }
        }
        let of_shares = 3.0 / (16.0 * (4.0 * alpha + 1.0));
        // The variance of a share of 100 draws, given the prior.
        let expected = of_shares + (3.0 / 16.0 - of_shares) / 100.0;
        assert!((sum / count / expected - 1.0).abs() < 0.1, "alpha {alpha}: {} and not {expected}", sum / count);
    }
}

#[test]
fn gamma_is_a_dial_from_sorted_to_iid() {
    let labels = labels(1_000, 10);
    let parts =
        |gamma: f64| partition(&format!("gamma-similarity:{gamma}").parse().unwrap(), &labels, 10, 10, 1).unwrap();
    assert_eq!(parts(1.0), partition(&iid(), &labels, 10, 10, 1).unwrap());
    for (client, part) in parts(0.0).iter().enumerate() {
        assert!(part.iter().all(|row| labels[*row as usize] == client as u32), "client {client} has its label alone");
    }
    // Half of the 100 rows of each client are iid.
    for part in parts(0.5) {
        let most = counts(&part, &labels, 10).into_iter().max().unwrap();
        assert!((30..80).contains(&most), "{most}");
    }
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
    let text = |text: &str, clients| refused(&text.parse().unwrap(), clients);
    for scheme in ["labels:4", "pat:4", "exdir:k=4,alpha=1"] {
        assert_says(&text(scheme, 2), &["4 labels of the 3 that have an example", "lower `k`"]);
    }
    assert_says(
        &text("exdir:k=1,alpha=1,min-size=1", 2),
        &["2 clients with 1 label each", "all 3", "at least 3 clients"],
    );
    assert_says(&text("exdir:k=2,alpha=1", 3), &["3 clients", "10 training examples each", "20"]);
    assert_says(&text("quantity:alpha=0.001,min-size=5", 4), &["1000", "alpha 0.001", "raise `alpha`"]);
    assert_says(&text("exponential", 4), &["`exponential` client 0 of 4", "20", "give at most 3 clients"]);
    assert_says(&text("square", 20), &["`square` client 0 of 20", "give at most 3 clients"]);
    assert_says(&text("log-normal:9", 8), &["`log-normal:sigma=9` client", "of 8 would have no example"]);
    assert_says(&text("file:s.csv", 2), &["s.csv was not read"]);
    let error = partition(&iid(), &[0, 3], 3, 1, 0).unwrap_err();
    assert_says(&error, &["row 1", "label 3", "0 to 2"]);
}

/// Deals 6 rows of the classes 0 1 0 1 0 1 by the text of a file.
fn by_hand(text: &str, clients: u32) -> Result<Vec<Vec<u32>>, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("split.csv");
    std::fs::write(&path, text).unwrap();
    let split = SplitTable::read(&path)?;
    let names = ["cat".to_owned(), "dog".to_owned()];
    let labelled = Labelled { class_names: &names, split: Some(&split), ..Labelled::new(&[0, 1, 0, 1, 0, 1], 2) };
    super::partition(&"file:split.csv".parse().unwrap(), &labelled, clients, 1)
}

#[test]
fn a_split_by_hand_is_dealt_as_it_says() {
    assert_eq!(by_hand("row,client\n5,0\n2,1\n0,0\n", 2).unwrap(), [vec![0, 5], vec![2]]);
    let parts = by_hand("class,client,count\ncat,0,1\n0,1,2\ndog,1,1\n", 2).unwrap();
    assert_eq!(parts.iter().map(|part| counts(part, &[0, 1, 0, 1, 0, 1], 2)).collect::<Vec<_>>(), [[1, 0], [2, 1]]);
}

#[test]
fn a_split_by_hand_that_does_not_fit_is_refused_with_its_line() {
    let cases: [(&str, u32, &[&str]); 6] = [
        ("row,client\n0,0\n6,0\n", 1, &["split.csv, line 3: the row is 6, and the training rows are 0 to 5"]),
        ("row,client\n0,0\n1,0\n0,1\n", 2, &["line 4: line 2 has the row 0, too; give each row once"]),
        (
            "class,client,count\ncow,0,1\n",
            1,
            &["line 2: the class is `cow`, and the classes are 0 to 1, or their names"],
        ),
        ("class,client,count\n0,0,2\n0,1,2\n", 2, &["line 3: the count is 2, and 1 of class 0 are left; lower it"]),
        ("class,client,count\n0,0,2\n0,1,0\n", 2, &["client 1 of 2 would have no example"]),
        (
            "row,client\n0,0\n",
            3,
            &["the clients are 3, but", "split.csv has 1; leave out the number of clients, or give 1"],
        ),
    ];
    for (text, clients, words) in cases {
        assert_says(&by_hand(text, clients).unwrap_err(), words);
    }
}

#[test]
fn natural_clients_have_their_rows() {
    let natural = Labelled { natural: Some(&[1, 0, 1, 2]), ..Labelled::new(&[0; 4], 1) };
    let deal = |labelled, clients| super::partition(&"natural".parse().unwrap(), labelled, clients, 0);
    assert_eq!(deal(&natural, 3).unwrap(), [vec![1], vec![0, 2], vec![3]]);
    assert_says(&deal(&natural, 2).unwrap_err(), &["the clients are 2", "the dataset has 3", "leave out"]);
    assert_says(&deal(&Labelled::new(&[0; 4], 1), 3).unwrap_err(), &["no natural clients", "--client-column"]);
}

#[test]
fn real_targets_are_dealt_by_schemes_without_labels_alone() {
    let real = Labelled { examples: 60, ..Labelled::new(&[], 0) };
    let deal = |text: &str| super::partition(&text.parse().unwrap(), &real, 3, 0);
    for text in ["iid", "quantity:2", "log-normal:0.1", "linear", "square", "exponential", "feature-noise:0.1"] {
        assert_every_row_once(&deal(text).unwrap(), 60);
    }
    for text in [
        "dirichlet:1",
        "dirichlet-client:1",
        "shards:2",
        "labels:1",
        "pat:1",
        "exdir:k=1,alpha=1",
        "gamma-similarity:1",
    ] {
        let scheme = text.split(':').next().unwrap();
        assert_says(&deal(text).unwrap_err(), &[&format!("`{scheme}` deals by label"), "real numbers", "iid"]);
    }
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
        ("", &["``", "iid, dirichlet, dirichlet-client, shards"]),
        ("idd", &["idd", "iid, dirichlet, dirichlet-client, shards"]),
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
