//! The rule of each scheme: its sizes, labels and distributions.

use super::*;

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
            let parts = super::super::partition(&scheme, &Labelled::new(&labels, classes), 400, seed).unwrap();
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
