//! Partitions that cannot be.

use super::*;

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

#[test]
fn real_targets_are_dealt_by_schemes_without_labels_alone() {
    let real = Labelled { examples: 60, ..Labelled::new(&[], 0) };
    let column: Vec<f64> = (0..60).map(f64::from).collect();
    let real = Labelled { column: Some(&column), ..real };
    let deal = |text: &str| super::super::partition(&text.parse().unwrap(), &real, 3, 0);
    for text in [
        "iid",
        "quantity:2",
        "log-normal:0.1",
        "linear",
        "square",
        "exponential",
        "feature-noise:0.1",
        "continuous:0.5",
    ] {
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
