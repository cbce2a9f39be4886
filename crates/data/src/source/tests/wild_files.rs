//! Files as they are in the wild: of spreadsheets, pandas, Hugging Face, notebooks and macOS.

use super::*;

fn split(reading: Reading) -> Reading {
    Reading { test_split: drawn(0.5), ..reading }
}

fn table(text: &str) -> Result<Dataset, DataError> {
    load(&vec![("t.csv", text.into())], "t.csv", &split(by_label("y")))
}

fn parquet(bytes: &[u8], reading: Reading) -> Result<Dataset, DataError> {
    load(&vec![("t.parquet", bytes.to_vec())], "t.parquet", &reading)
}

#[test]
fn a_spreadsheet_is_the_same_table() {
    let plain = table("x,y\n1.5,a\n2,b\n2.5,a\n3,b\n").unwrap();
    for text in [
        "\u{feff}x,y\r\n1.5,a\r\n2,b\r\n2.5,a\r\n3,b",
        "\"x\",\"y\"\n\"1.5\",\"a\"\n\"2\",\"b\"\n\n2.5, a \n3,b\n\n",
        "x;y\n1.5;a\n2;b\n2.5;a\n3;b\n",
        "\u{feff}\"x\";  y   \r\n1.5;a\r\n2;b\r\n2.5;a\r\n3;b\r\n",
        "x\ty\n1.5\ta\n2\tb\n2.5\ta\n3\tb\n",
        "x,y\r1.5,a\r2,b\r2.5,a\r3,b\r",
    ] {
        assert_eq!(table(text).unwrap().info.sha256, plain.info.sha256, "{text:?}");
    }
}

#[test]
fn labels_of_other_programs_are_classes() {
    let labels = |text: &str| {
        let dataset = table(text).unwrap();
        let mut labels = [dataset.train.labels(), dataset.test.labels()].concat();
        labels.sort_unstable();
        (labels, dataset.info.target)
    };
    let named = |names: [&str; 2]| {
        let class_names = names.map(str::to_owned).to_vec();
        DatasetTarget::Classes { classes: 2, class_names }
    };
    let numbered = vec![0, 0, 1, 1];
    assert_eq!(labels("x,y\n1,0.0\n2,1.0\n3,0\n4,1\n"), (numbered.clone(), DatasetTarget::classes(2)));
    assert_eq!(labels("x,y\n1,-1\n2,1.0\n3,-1.0\n4,+1\n"), (numbered.clone(), named(["-1", "1"])));
    assert_eq!(labels("x,y\n1,\"a, b\"\n2,c\n3,c\n4,\"a, b\"\n"), (numbered, named(["a, b", "c"])));
    let mut files = arrays();
    files[1].1 = npy("<i8", "(4,)", &[-1_i64, 1, 1, -1].map(i64::to_le_bytes).concat());
    files[3].1 = npy("<f4", "(2, 1)", &floats(&[1.0, -1.0]));
    let dataset = load(&files, "", &Reading::default()).unwrap();
    assert_eq!(dataset.info.target, named(["-1", "1"]));
    assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[0, 1, 1, 0][..], &[1, 0][..]));
}

#[test]
fn a_table_that_is_no_plain_one_is_refused() {
    let cases: [(&str, &[&str]); 10] = [
        (",x,y\n0,1,a\n1,2,b\n", &["no name for column 0", "index=False"]),
        ("5.1,0.2,y\n4.9,0.3,b\n", &["begins with the values 5.1, 0.2, y", "first line"]),
        ("", &["has no rows"]),
        ("x,y\n1,\"a\n2,b\n3,c\n", &["a line break in row 1 below the names, column y", "close the quote"]),
        ("PK\u{3}\u{4}x,y", &["is a zip file", "export it as CSV"]),
        ("x,y\r\n1,a\r\n2\r\n", &["row 2 below the names has 1 cell"]),
        ("x,y\n1,a\n2,<NA>\n", &["no value (\"<NA>\") in row 2 below the names, column y"]),
        ("x,y\n?,a\n2,b\n", &["no value (\"?\") in row 1 below the names, column x"]),
        ("x,y\n1;5,a\n2,b\n", &["\"1;5\" in row 1 below the names, column x"]),
        ("x,y\n1,0\n2,-1.5\n", &["the label -1.5 at row 2 below the names"]),
    ];
    for (text, words) in cases {
        assert_says(&table(text).unwrap_err(), words);
    }
    let latin = b"x,y\n1,caf\xe9\n".to_vec();
    assert_says(
        &load(&vec![("t.csv", latin)], "t.csv", &split(by_label("y"))).unwrap_err(),
        &["row 1 below the names", "as UTF-8"],
    );
    let cut = gzip(b"x,y\n1,0\n2,1\n")[..20].to_vec();
    let reading = split(by_label("y"));
    assert_says(
        &load(&vec![("t.csv.gz", cut)], "t.csv.gz", &reading).unwrap_err(),
        &["as a table", "correct the file"],
    );
    let twice = vec![("train.csv", b"x,y\n1,0\n".to_vec()), ("train.csv.gz", gzip(b"x,y\n1,0\n"))];
    assert_says(&load(&twice, "", &split(by_label("y"))).unwrap_err(), &["several datasets", "train.csv.gz"]);
    let whole = vec![("train.csv", b"x,y\n1,0\n".to_vec()), ("test.csv", b"x,y\n1,0\n".to_vec())];
    let second = Reading { test_data: Some("test.csv".into()), ..by_label("y") };
    assert_says(&load(&whole, "", &second).unwrap_err(), &["is a directory", "leave out --test-data"]);
    let beside = vec![("a.csv", b"x,y\n1,0\n2,1\n".to_vec()), ("b.csv", b"x,y\n3,cow\n".to_vec())];
    let reading = Reading { test_data: Some("b.csv".into()), ..by_label("y") };
    assert_says(
        &load(&beside, "a.csv", &reading).unwrap_err(),
        &["b.csv has the class \"cow\" at row 1 below the names"],
    );
}

#[test]
fn suspicious_contents_are_said() {
    let rows: String = (0..24).map(|row| format!("{row},{},0\n", row % 2)).collect();
    let warnings = table(&format!("id,x,y\n{rows}")).unwrap().info.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("may be the number of the row") && warnings[0].ends_with(": id"), "{warnings:?}");
    assert!(warnings[1].contains("one class alone, 0"), "{warnings:?}");
}

/// The files were written by pyarrow; `testdata/make.py` makes them.
#[test]
fn parquet_has_the_names_of_labels_and_all_digits_of_clients() {
    let named = include_bytes!("../testdata/named.parquet");
    let dataset = parquet(named, split(who("label"))).unwrap();
    let class_names = ["dog", "cat", "emu"].map(str::to_owned).to_vec();
    assert_eq!(dataset.info.target, DatasetTarget::Classes { classes: 3, class_names });
    let plain = parquet(named, Reading { test_split: drawn(0.01), ..who("label") }).unwrap_err();
    assert_says(&plain, &["leaves 3 training examples and 0 test examples"]);
    let files = vec![("train.parquet", named.to_vec()), ("test.parquet", named.to_vec())];
    let whole = load(&files, "", &who("label")).unwrap();
    assert_eq!((values(&whole.train), whole.train.labels()), (&[1.5, 2.5, 3.5][..], &[1, 0, 1][..]));
    let clients = whole.train.clients.unwrap();
    assert_eq!(clients.names, ["9007199254740992", "9007199254740993"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    fs::write(&path, named).unwrap();
    let found = FoundSource::find(&Source::Path(path), &who("label"), Portion::Test).map(|found| {
        found.load(&Cache::at(folder.path().join("cache")), &mut |_| ()).unwrap().info.target.class_count()
    });
    assert_eq!(found.unwrap(), Some(3), "labels that are numbers keep their names under own");
}

#[test]
fn parquet_columns_that_are_no_values_are_refused_with_row_and_column() {
    let odd = include_bytes!("../testdata/odd.parquet");
    assert_says(
        &parquet(odd, split(by_label("x"))).unwrap_err(),
        &["[0.5, 0.5", "… in row 1 below the names, column list", "cast"],
    );
    let bytes = include_bytes!("../testdata/bytes.parquet");
    assert_says(&parquet(bytes, split(by_label("raw"))).unwrap_err(), &["bytes in row 1 below the names, column raw"]);
    assert_says(
        &parquet(bytes, split(by_label("x"))).unwrap_err(),
        &["\"red\" in row 1 below the names, column colour", "encode"],
    );
    let gap = include_bytes!("../testdata/gap.parquet");
    assert_says(
        &parquet(gap, split(by_label("colour"))).unwrap_err(),
        &["no value in row 2 below the names, column gap"],
    );
}

#[test]
fn hidden_files_are_no_data_and_a_class_without_an_image_is_refused() {
    let image = || png(&grey(9));
    let mut files: Files = vec![
        ("cat/1.png", image()),
        ("cat/2.png", image()),
        ("cat/._1.png", b"macOS".to_vec()),
        ("cat/.DS_Store", vec![]),
        ("dog/1.png", image()),
        ("dog/2.png", image()),
        (".ipynb_checkpoints/1.png", image()),
        ("__notes.txt", vec![]),
    ];
    let dataset = load(&files, "", &split(Reading::default())).unwrap();
    assert_eq!(dataset.info.target.class_count(), Some(2));
    assert_eq!((dataset.info.train_examples, dataset.info.test_examples), (2, 2));
    files.push(("emu/notes.txt", vec![]));
    assert_says(&load(&files, "", &split(Reading::default())).unwrap_err(), &["emu has no png or jpeg", "remove"]);
    files.pop();
    files.push(("dog/3.gif", b"GIF89a".to_vec()));
    assert_says(&load(&files, "", &split(Reading::default())).unwrap_err(), &["dog/3.gif cannot be decoded", "png"]);
    let hidden = vec![
        ("0.safetensors", ready(&[1.0], &[1])),
        ("test.safetensors", ready(&[4.0], &[0])),
        ("._0.safetensors", b"macOS".to_vec()),
    ];
    assert_eq!(load(&hidden, "", &Reading::default()).unwrap().info.natural_clients, Some(1));
}

#[test]
fn an_array_that_would_lose_something_is_refused() {
    let refused = |at: usize, bytes: Vec<u8>| {
        let mut files = arrays();
        files[at].1 = bytes;
        load(&files, "", &Reading::default()).unwrap_err()
    };
    let texts = |texts: &[u8; 4]| npy("|S1", "(4,)", texts);
    assert_says(&refused(1, texts(b"ab?a")), &["no value (\"?\") in row 2, column labels"]);
    assert_says(&refused(1, [arrays()[1].1.clone(), arrays()[1].1.clone()].concat()), &["one array a file"]);
    let mut files = arrays();
    let large = [1, (1 << 53) + 1, 2, 3_i64].map(i64::to_le_bytes).concat();
    files.push(("clients_train.npy", npy("<i8", "(4,)", &large)));
    let error = load(&files, "", &Reading::default()).unwrap_err();
    assert_says(&error, &["clients_train.npy", "9007199254740992 at row 1", "as texts"]);
    let partitions = |labels: u32, feature: f32| {
        let files = vec![("0.safetensors", ready(&[feature], &[labels])), ("test.safetensors", ready(&[4.0], &[0]))];
        load(&files, "", &Reading::default()).unwrap_err()
    };
    assert_says(&partitions(u32::MAX, 1.0), &["0.safetensors has the label 4294967295 at row 0"]);
    assert_says(&partitions(0, f32::NAN), &["0.safetensors has the value NaN in row 0, feature 0"]);
}
