//! The texts of schemes.

use super::*;

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
        ("dirichlet:nan", &["alpha=nan", "above 0"]),
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
