//! Splits by hand, and natural clients.

use super::super::split_table::{CountLine, SplitLines};
use super::*;

/// Deals 6 rows of the classes 0 1 0 1 0 1 by the text of a file.
fn by_hand(text: &str, clients: u32) -> Result<Vec<Vec<u32>>, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("split.csv");
    std::fs::write(&path, text).unwrap();
    let split = SplitTable::read(&path)?;
    let names = ["cat".to_owned(), "dog".to_owned()];
    let labelled = Labelled { class_names: &names, split: Some(&split), ..Labelled::new(&[0, 1, 0, 1, 0, 1], 2) };
    super::super::partition(&"file:split.csv".parse().unwrap(), &labelled, clients, 1)
}

#[test]
fn a_split_by_hand_is_dealt_as_it_says() {
    assert_eq!(by_hand("row,client\n5,0\n2,1\n0,0\n", 2).unwrap(), [vec![0, 5], vec![2]]);
    let parts = by_hand("class,client,count\ncat,0,1\n0,1,2\ndog,1,1\n", 2).unwrap();
    assert_eq!(parts.iter().map(|part| counts(part, &[0, 1, 0, 1, 0, 1], 2)).collect::<Vec<_>>(), [[1, 0], [2, 1]]);
}

#[test]
fn a_name_that_is_a_number_is_no_number_of_a_class() {
    let line = |class: &str| CountLine { line: 2, class: class.to_owned(), client: 0, count: 1 };
    let names = ["-1", "0", "1"].map(str::to_owned);
    let deal = |class: &str| {
        let lines = SplitLines::Counts(vec![line(class)]);
        let split = SplitTable { path: "split.csv".into(), sha256: String::new(), clients: 1, lines };
        let labelled = Labelled { class_names: &names, split: Some(&split), ..Labelled::new(&[0, 1, 2], 3) };
        super::super::partition(&"file:split.csv".parse().unwrap(), &labelled, 1, 1)
    };
    assert_eq!(["-1", "0", "1"].map(|class| deal(class).unwrap()), [[vec![0]], [vec![1]], [vec![2]]]);
    assert_says(&deal("2").unwrap_err(), &["line 2: the class is `2`"]);
}

#[test]
fn a_split_by_hand_that_does_not_fit_is_refused_with_its_line() {
    let cases: [(&str, u32, &[&str]); 6] = [
        (
            "row,client\n0,0\n6,0\n",
            1,
            &["split.csv, line 3: the row is 6, and the training rows are 0 to 5; give one of them"],
        ),
        ("row,client\n0,0\n1,0\n0,1\n", 2, &["line 4: line 2 has the row 0, too; give each row once"]),
        (
            "class,client,count\ncow,0,1\n",
            1,
            &["line 2: the class is `cow`, and the classes are 0 to 1, or their names"],
        ),
        ("class,client,count\n0,0,2\n0,1,2\n", 2, &["line 3: the count is 2, and 1 of class 0 are left; lower it"]),
        ("class,client,count\n0,0,2\n0,1,0\n", 2, &["line 3: the counts of client 1 are 0"]),
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
    let deal = |labelled, clients| super::super::partition(&"natural".parse().unwrap(), labelled, clients, 0);
    assert_eq!(deal(&natural, 3).unwrap(), [vec![1], vec![0, 2], vec![3]]);
    assert_says(&deal(&natural, 2).unwrap_err(), &["the clients are 2", "the dataset has 3", "leave out"]);
    assert_says(&deal(&Labelled::new(&[0; 4], 1), 3).unwrap_err(), &["no natural clients", "--client-column"]);
}
