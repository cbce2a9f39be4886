//! Files of the user's: the words of a run about them, its record, and ready partitions.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Place, stderr, stdout};

/// Returns a table of three features, of which one is constant, and two classes by name.
fn table() -> String {
    let row = |n: u32| format!("{},{},7,{}\n", n % 5, n % 3, ["no", "yes"][n as usize % 2]);
    "a,b,c,answer\n".to_owned() + &(0..40).map(row).collect::<String>()
}

#[test]
fn a_run_says_how_it_understood_a_table_and_keeps_the_statistics() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    fs::write(place.path("data/t.csv"), table()).unwrap();
    let (output, run) =
        place.try_run("logreg --data data/t.csv --label answer --test-split 0.25 --standardise --clients 2 --rounds 2");
    assert!(output.status.success(), "{}", stderr(&output));
    let expected = "t.csv: 30 training and 10 test examples; 2 clients with 15 each\n\
                    examples of the shape 3: features from 0 to 7, standardised by the training examples\n\
                    classes: 2, the labels 0 to 1 for no, yes\n";
    assert!(stdout(&output).contains(expected), "{}", stdout(&output));
    let warning = "warning: t.csv has 1 column of the training set with one value: c\n";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    let dataset = &run.ledger("dealt")[0]["dataset"];
    assert_eq!((&dataset["classes"], &dataset["class_names"]), (&json!(2), &json!(["no", "yes"])));
    let by = &dataset["standardisation"];
    assert_eq!((&by["mean"][2], &by["sd"][2], by["mean"].as_array().unwrap().len()), (&json!(7.0), &json!(1.0), 3));
    let verified = place.fedpipe("verify out").output().unwrap();
    assert!(verified.status.success(), "{}", stderr(&verified));
}

/// The partitions of a deal, as files that nobody dealt, give the bits of the deal.
#[test]
fn ready_partitions_give_the_bits_of_the_deal_that_made_them() {
    let place = Place::new();
    let dealt = place.run("logreg --data sample --clients 3 --rounds 2 --out dealt");
    let files = place.dealt_before(3, 0);
    fs::create_dir(place.path("ready")).unwrap();
    for file in files.partitions.iter().chain([&files.test]) {
        fs::copy(&file.path, place.path("ready").join(file.path.file_name().unwrap())).unwrap();
    }
    let ready = place.fedpipe("run logreg --partition files:ready --rounds 2 --out ready-run").output().unwrap();
    assert!(ready.status.success(), "{}", stderr(&ready));
    let summary: Value = serde_json::from_slice(&fs::read(place.path("ready-run/summary.json")).unwrap()).unwrap();
    assert_eq!((&summary["weights_sha256"], &summary["clients"]), (&json!(dealt.weights_sha256()), &json!(3)));
    let both = place.fedpipe("run logreg --partition files:ready --data sample").output().unwrap();
    assert_eq!(both.status.code(), Some(2));
    assert!(stderr(&both).contains("--data has no effect on ready partitions (files)"), "{}", stderr(&both));
}

#[test]
fn the_list_of_datasets_has_a_line_for_each_reader() {
    let listed = stdout(&Place::new().fedpipe("data list").output().unwrap());
    for reader in fedpipe_data::readers() {
        assert!(listed.contains(&format!("PATH ({})\n  {}\n", reader.name, reader.files)), "{listed}");
    }
    assert!(listed.contains("synthetic:alpha=1,beta=1,clients=30\n") && listed.contains("\nfcube\n"), "{listed}");
    assert!(listed.contains("--target --standardise --label --client-column --test-data --test-split\n"), "{listed}");
}
