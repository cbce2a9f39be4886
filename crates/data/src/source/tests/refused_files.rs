//! The table of refused files, each with words of its message.

use super::*;

/// A refused dataset: its files, the path and the reading, and words of the message.
type Refused = (Files, &'static str, Reading, &'static [&'static str]);

fn refused_tables() -> Vec<Refused> {
    let table = |text: &str, label: &str, words: &'static [&'static str]| -> Refused {
        (vec![("t.csv", text.into())], "t.csv", Reading { test_split: drawn(0.5), ..by_label(label) }, words)
    };
    let beside = |text: &str, words: &'static [&'static str]| -> Refused {
        let files = vec![("t.csv", b"x,y\n1,a\n2,b\n".to_vec()), ("u.csv", text.into())];
        (files, "t.csv", Reading { test_data: Some("u.csv".into()), ..by_label("y") }, words)
    };
    vec![
        table("a,b\n1,0\n,1\n", "b", &["t.csv has no value in row 2 below the names, column a"]),
        table("a,b\n1,0\n2,NaN\n", "b", &["no value (\"NaN\") in row 2 below the names, column b"]),
        table("a,b\n1,0\nred,1\n", "b", &["\"red\" in row 2 below the names, column a", "encode the column"]),
        table(
            "a;b\n1;0\n0,84;1\n",
            "b",
            &["\"0,84\" in row 2 below the names, column a", "write a decimal point: 0.84"],
        ),
        table("a,b\n1,0\n1e39,1\n", "b", &["\"1e39\" in row 2 below the names, column a"]),
        table("a,b\n1,0\n2\n", "b", &["row 2 below the names has 1 cell, and the first line 2"]),
        table("a,b\n1,0.5\n2,1\n", "b", &["the label 0.5 at row 1 below the names", "--target real"]),
        table("a,b\n1,0\n2,1\n", "c", &["no column c", "--label and one of a, b"]),
        table("a,a,b\n1,0,1\n", "b", &["two columns a"]),
        table("b\n1\n", "b", &["no column left for the features"]),
        table("1,2\n3,4\n", "b", &["begins with the values 1, 2", "first line"]),
        table("a,b\n", "b", &["has no rows"]),
        table("a,b\n1,0\n", "b", &["leaves 0 training examples and 1 test example"]),
        (
            vec![("t.csv", TABLE.into())],
            "t.csv",
            Reading::default(),
            &["--label is missing", "give --label and one of age, sex, size, who"],
        ),
        (vec![("t.csv", TABLE.into())], "t.csv", who("sex"), &["has no test set", "--test-split 0.2"]),
        (
            vec![("t.csv", TABLE.into())],
            "t.csv",
            Reading { test_data: Some("t.csv".into()), test_split: drawn(0.2), ..who("sex") },
            &["t.csv is the same file as --data; give another file", "--test-split 0.2"],
        ),
        beside("x,y\n1,a\n2,b\n", &["u.csv has the same content as --data; give another file"]),
        (vec![("t.csv.gz", b"<html>".to_vec())], "t.csv.gz", by_label("y"), &["is no gzip file"]),
        beside("z,y\n1,a\n", &["u.csv has the columns z, y", "training set has x, y"]),
        beside("x,y\n1,c\n", &["u.csv has the class \"c\" at row 1 below the names", "no training example"]),
        (vec![("t.parquet", b"PAR1".to_vec())], "t.parquet", by_label("y"), &["cannot be read as a Parquet file"]),
    ]
}

fn refused_arrays() -> Vec<Refused> {
    let changed = |name: &'static str, bytes: Vec<u8>, words: &'static [&'static str]| -> Refused {
        let mut files = arrays();
        files.retain(|(known, _)| *known != name);
        files.push((name, bytes));
        (files, "", Reading::default(), words)
    };
    let without = |name: &str, words: &'static [&'static str]| -> Refused {
        (arrays().into_iter().filter(|(known, _)| *known != name).collect(), "", Reading::default(), words)
    };
    vec![
        changed("y_train.npy", npy("|u1", "(3,)", &[0; 3]), &["x_train.npy holds 4 examples", "3 labels"]),
        changed("y_train.npy", npy("|u1", "(4, 2)", &[0; 8]), &["[4, 2]", "one label an example"]),
        changed(
            "x_train.npy",
            npy("<f4", "(4, 1)", &floats(&[0.0, f32::NAN, 0.0, 0.0])),
            &["value NaN in row 1, feature 0"],
        ),
        changed("x_train.npy", npy("|O", "(4, 2)", &[0; 64]), &["x_train.npy", "Python objects"]),
        changed("x_test.npy", npy("<f4", "(2, 3)", &[0; 24]), &["the shape [3]", "have [2]"]),
        changed("x_test.npy", npy("|u1", "(2, 2)", &[0; 4]), &["test examples", "are U8", "are F32"]),
        changed("X_train.npy", npy("|u1", "(4, 2)", &[0; 8]), &["several datasets", "X_train.npy, x_train.npy"]),
        without("y_test.npy", &["lacks labels"]),
        without("x_train.npy", &["lacks examples"]),
        (vec![("x.npz", b"no zip".to_vec())], "x.npz", Reading::default(), &["x.npz", "archive cannot be read"]),
        (vec![("x.npz", npz(&[("a.npy", vec![])]))], "x.npz", Reading::default(), &["it has a.npy", "x_train"]),
        (arrays(), "", Reading { test_split: drawn(0.5), ..Reading::default() }, &["has a test set", "--test-split"]),
    ]
}

fn refused_images() -> Vec<Refused> {
    let split = || Reading { test_split: drawn(0.5), ..Reading::default() };
    let large = DynamicImage::ImageLuma8(GrayImage::new(5, 5));
    let real = Reading { target: TargetKind::Real, ..split() };
    vec![
        (vec![("a/1.png", b"no image".to_vec())], "", split(), &["a/1.png cannot be decoded", "png or jpeg"]),
        (
            vec![("a/1.png", png(&grey(1))), ("a/2.png", png(&large))],
            "",
            split(),
            &["[2, 3, 1]", "[5, 5, 1]", "--image-size"],
        ),
        (vec![("a/1.png", png(&grey(1))), ("b/2.png", png(&colour(1)))], "", split(), &["grey", "colour", "x3"]),
        (vec![("a/1.png", png(&grey(1)))], "", Reading::default(), &["has no test set"]),
        (vec![("a/1.png", png(&grey(1)))], "", real, &["images by class", "--target real"]),
        (vec![("readme.txt", vec![])], "", Reading::default(), &["no dataset that a reader recognises", "data list"]),
        (vec![("readme.txt", vec![])], "readme.txt", Reading::default(), &["readme.txt is no dataset"]),
    ]
}

#[test]
fn each_refused_file_has_its_message() {
    for (files, path, reading, words) in [refused_tables(), refused_arrays(), refused_images()].into_iter().flatten() {
        match load(&files, path, &reading) {
            Ok(dataset) => panic!("{words:?} was not refused: {:?}", dataset.info),
            Err(error) => assert_says(&error, words),
        }
    }
}
