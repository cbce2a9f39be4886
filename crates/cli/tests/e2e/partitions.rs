//! Splits that one can see: `fedpipe data show`, the picture, a split by hand, natural clients, and feature noise.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Place, Run, stderr, stdout};

const SPLIT: &str = "class,client,count\n0,0,100\n1,0,50\n2,1,200\n3,2,7\n";

fn dealt(run: &Run) -> Value {
    run.ledger("dealt").remove(0)
}

#[test]
fn data_show_prints_the_table_of_a_run_and_draws_it() {
    let place = Place::new();
    let shown = place.fedpipe("data show --data sample --partition labels:2 --clients 5").output().unwrap();
    let text = stdout(&shown);
    let mut lines: Vec<&str> = text.lines().collect();
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert_eq!(lines.remove(0), "sample: 2000 training and 500 test examples; 5 clients with 200 to 300 each");
    assert!(lines[0].starts_with("client") && lines[0].ends_with("class-9  total"), "{text}");
    assert!(lines[6].starts_with("   all") && lines[7].starts_with("sizes: "), "{text}");
    assert!(lines[8].starts_with("labels: distance to the iid deal") && lines[8].contains("Zhao 2018"), "{text}");
    assert_eq!(lines[9], "the picture is in partition.png");
    assert!(fs::read(place.path("partition.png")).unwrap().starts_with(b"\x89PNG"));

    fs::remove_file(place.path("partition.png")).unwrap();
    let commas = place.fedpipe("data show --data sample --partition labels:2 --clients 5 --csv").output().unwrap();
    let run = place.run("logreg --partition labels:2 --clients 5 --rounds 1");
    let counts: Vec<Vec<u64>> = serde_json::from_value(dealt(&run)["label_counts"].clone()).unwrap();
    let row = |(client, counts): (usize, &Vec<u64>)| {
        let counts: Vec<String> = counts.iter().chain([&counts.iter().sum()]).map(u64::to_string).collect();
        format!("{client},{}\n", counts.join(","))
    };
    let header = "cid,class-0,class-1,class-2,class-3,class-4,class-5,class-6,class-7,class-8,class-9,TotalAmount\n";
    assert_eq!(stdout(&commas), header.to_owned() + &counts.iter().enumerate().map(row).collect::<String>());
    assert!(!place.path("partition.png").exists(), "--csv draws nothing unless it is asked to");
    assert!(run.read("partition.png").starts_with(b"\x89PNG"));
}

#[test]
fn a_run_keeps_its_split_by_hand_and_needs_no_other_file() {
    let place = Place::new();
    fs::write(place.path("split.csv"), SPLIT).unwrap();
    let (output, run) = place.try_run("logreg --partition file:split.csv --rounds 2");
    assert!(output.status.success(), "{}", stderr(&output));
    let left_out = "leaves out 1643 of 2000 training examples; no client has an example of 6 classes";
    assert!(stderr(&output).contains(left_out), "{}", stderr(&output));
    let mut counts = vec![vec![0; 10]; 3];
    (counts[0][0], counts[0][1], counts[1][2], counts[2][3]) = (100, 50, 200, 7);
    assert_eq!((&dealt(&run)["sizes"], &dealt(&run)["label_counts"]), (&json!([150, 200, 7]), &json!(counts)));

    fs::remove_file(place.path("split.csv")).unwrap();
    let verified = place.fedpipe("verify out").output().unwrap();
    assert!(verified.status.success(), "{}", stderr(&verified));
    let resumed = place.fedpipe("run --resume out --rounds 3").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(run.summary()["rounds"], 3);

    let copies = fs::read_dir(&run.0).unwrap().map(|entry| entry.unwrap().path());
    let copy = copies.into_iter().find(|path| path.extension().is_some_and(|end| end == "csv")).unwrap();
    fs::write(copy, SPLIT.replace("3,2,7", "3,2,8")).unwrap();
    let altered = place.fedpipe("run --resume out --rounds 4").output().unwrap();
    assert_eq!(altered.status.code(), Some(4));
    assert!(stderr(&altered).contains("but the experiment was given"), "{}", stderr(&altered));
}

#[test]
fn a_split_by_hand_with_a_fault_is_refused_before_the_run_is_there() {
    let place = Place::new();
    for (text, arguments, words) in [
        ("row,client\n0,0\n0,1\n", "", "split.csv, line 3: line 2 has the row 0, too; give each row once"),
        ("row,client\n0,0\n2000,1\n", "", "split.csv, line 3: the row is 2000, and the training rows are 0 to 1999"),
        (SPLIT, "--clients 4", "the clients are 4, but"),
    ] {
        fs::write(place.path("split.csv"), text).unwrap();
        let (output, run) = place.try_run(&format!("logreg --partition file:split.csv {arguments}"));
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(stderr(&output).contains(words) && !run.0.exists(), "{}", stderr(&output));
    }
}

#[test]
fn natural_clients_decide_their_number() {
    let place = Place::new();
    let run = place.run("logreg --data fcube --partition natural --rounds 1");
    assert_eq!(dealt(&run)["sizes"], json!([1000, 1000, 1000, 1000]));
    let (refused, _) = place.try_run("logreg --data fcube --partition natural --clients 3 --out three");
    assert_eq!(refused.status.code(), Some(4));
    let words = "the clients are 3, but the dataset has 4; leave out the number of clients, or give 4";
    assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    let synthetic =
        place.run("logreg --data synthetic:alpha=0,beta=0,clients=7 --partition natural --rounds 1 --out s");
    assert_eq!(synthetic.summary()["clients"], 7);
}

#[test]
fn natural_clients_keep_their_names() {
    let place = Place::new();
    let rows = ["1,a,north", "2,b,south", "3,a,south", "4,b,north", "5,a,west"].map(|row| format!("{row}\n"));
    fs::write(place.path("shops.csv"), format!("x,label,shop\n{}{}", rows.concat(), rows.concat())).unwrap();
    let data = "--data shops.csv --label label --client-column shop --test-split 0.2";
    let run = place.run(&format!("logreg {data} --partition natural --rounds 1 --batch-size 1"));
    assert_eq!(dealt(&run)["dataset"]["client_names"], json!(["north", "south", "west"]));
    let shown = place.fedpipe(&format!("data show {data} --partition natural")).output().unwrap();
    let names: Vec<String> =
        stdout(&shown).lines().filter_map(|line| Some(line.split_whitespace().next()?.into())).collect();
    assert!(names.join(" ").contains("client north south west all"), "{}", stdout(&shown));
    assert!(String::from_utf8(run.read("report.html")).unwrap().contains(r#""columns":["north","south","west"]"#));
    let others = place.run(&format!("logreg {data} --partition iid --clients 3 --rounds 1 --batch-size 1 --out iid"));
    assert_eq!(dealt(&others)["dataset"]["client_names"], json!(null));
}

/// The partitions hold numbers, and the test set has bytes.
#[test]
fn features_with_noise_are_trained_on() {
    let place = Place::new();
    let run = |partition: &str| {
        place.run(&format!("logreg --clients 2 --rounds 1 --partition {partition} --out {partition}"))
    };
    let (plain, none, noisy) = (run("iid"), run("feature-noise:0"), run("feature-noise:0.5"));
    assert_eq!(plain.weights_sha256(), none.weights_sha256());
    assert_ne!(plain.weights_sha256(), noisy.weights_sha256());
    assert_eq!(dealt(&plain)["label_counts"], dealt(&noisy)["label_counts"]);
    assert!(noisy.summary()["accuracy"].as_f64().unwrap() > 0.3);
}

#[test]
fn noise_has_the_same_bits_under_any_processes_across_a_resume_and_when_verified() {
    let place = Place::new();
    let run = |rounds: u32, more: &str| {
        place.run(&format!("logreg --clients 3 --partition feature-noise:sigma=0.5,as=paper --rounds {rounds} {more}"))
    };
    let one = run(3, "--processes 1 --out one");
    let three = run(3, "--processes 3 --out three");
    let parts = run(1, "--processes 2 --out parts");
    let resumed = place.fedpipe("run --resume parts --rounds 3 --processes 3").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(one.weights_sha256(), three.weights_sha256());
    assert_eq!(one.weights_sha256(), parts.weights_sha256());
    let verified = place.fedpipe("verify three").output().unwrap();
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn clients_are_groups_of_natural_ones_or_parts_of_a_sorted_column() {
    let place = Place::new();
    let run = place.run("logreg --data fcube --partition grouped-natural:3 --rounds 1");
    assert_eq!(dealt(&run)["sizes"], json!([3000, 1000]));
    let table: String = (0..40).map(|row| format!("{},{},{}\n", row * 7 % 40, row % 3, row % 2)).collect();
    fs::write(place.path("t.csv"), format!("age,size,y\n{table}")).unwrap();
    let show = |by: &str| {
        let flags = "--data t.csv --label y --test-split 0.2 --clients 4 --csv";
        place.fedpipe(&format!("data show {flags} --partition continuous:strictness=1,by={by}")).output().unwrap()
    };
    let by_target = stdout(&show("target"));
    assert_eq!(by_target.lines().skip(1).collect::<Vec<_>>(), ["0,8,0,8", "1,8,0,8", "2,0,8,8", "3,0,8,8"]);
    assert!(show("age").status.success() && show("0").status.success());
    let refused = show("colour");
    assert_eq!(refused.status.code(), Some(4));
    let words = "has the column `colour`, which is none; give `by=target`, a feature from 0 to 1, or one of age, size";
    assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
}
