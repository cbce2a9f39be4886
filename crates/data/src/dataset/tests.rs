//! Tests of a dataset's description and identity.

use super::*;
use crate::split::{NaturalClients, SplitFeatures};

#[test]
fn the_widest_gap_is_that_below_a_label_far_above_the_others() {
    let gap = |from, label, row, classes| Some(Gap { from, label, row, classes });
    let cases: [(&[u32], Option<Gap>); 6] = [
        (&[], None),
        (&[2, 0, 1, 1], None),
        (&[0, 1, 255, 2, 255], gap(3, 255, 2, 252)),
        (&[1, 2], gap(0, 1, 0, 1)),
        (&[0, 7], gap(1, 7, 1, 6)),
        (&[9, 0, 2], gap(3, 9, 0, 7)),
    ];
    for (labels, expected) in cases {
        assert_eq!(Gap::widest(labels), expected, "{labels:?}");
    }
}

fn info(target: DatasetTarget) -> DatasetInfo {
    let split = || Split {
        shape: vec![1],
        features: SplitFeatures::F32(vec![0.5, -1.25]),
        targets: SplitTargets::Classes(vec![0, 1]),
        clients: None,
    };
    let splits = ReadSplits {
        train: split(),
        test: split(),
        class_names: Vec::new(),
        feature_names: Vec::new(),
        sha256: None,
        drawn_from: None,
        test_files: Default::default(),
    };
    DatasetInfo { target, ..Dataset::new("x", splits, Portion::Whole).unwrap().info }
}

/// Readers of a ledger find the number of classes beside the shape.
#[test]
fn a_description_is_read_as_it_is_written() {
    let named = DatasetTarget::Classes { classes: 2, class_names: vec!["cat".into(), "dog".into()] };
    let cases = [
        (DatasetTarget::classes(2), serde_json::json!({ "classes": 2 })),
        (named, serde_json::json!({ "classes": 2, "class_names": ["cat", "dog"] })),
        (DatasetTarget::REAL, serde_json::json!({ "target": "real" })),
    ];
    for (target, expected) in cases {
        let info = info(target);
        let json = serde_json::to_value(&info).unwrap();
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(json[key], *value, "{json}");
        }
        assert_eq!(json["range"], serde_json::json!([-1.25, 0.5]));
        assert_eq!(serde_json::from_value::<DatasetInfo>(json).unwrap(), info);
    }
}

#[test]
fn each_part_of_a_dataset_changes_its_identity() {
    let split = |features: SplitFeatures, targets, clients| Split { shape: vec![1], features, targets, clients };
    let plain = || split(SplitFeatures::F32(vec![1.0, 2.0]), SplitTargets::Classes(vec![0, 1]), None);
    let of = |train: Split, names: &[&str]| {
        let class_names = names.iter().map(|name| (*name).to_owned()).collect();
        let test = plain();
        let (feature_names, test_files) = Default::default();
        ReadSplits { train, test, class_names, feature_names, sha256: None, drawn_from: None, test_files }.identity()
    };
    let clients = Some(NaturalClients { names: vec!["a".into()], of_row: vec![0, 0] });
    let identities = BTreeSet::from([
        of(plain(), &[]),
        of(plain(), &["x", "y"]),
        of(Split { features: SplitFeatures::F32(vec![1.0, 2.5]), ..plain() }, &[]),
        of(Split { features: SplitFeatures::U8(vec![1, 2]), ..plain() }, &[]),
        of(Split { targets: SplitTargets::Classes(vec![1, 1]), ..plain() }, &[]),
        of(Split { targets: SplitTargets::Real(vec![0.0, 1.0]), ..plain() }, &[]),
        of(Split { shape: vec![1, 1], ..plain() }, &[]),
        of(Split { clients, ..plain() }, &[]),
    ]);
    assert_eq!(identities.len(), 8);
    assert_eq!(of(plain(), &[]), of(plain(), &[]));
}
