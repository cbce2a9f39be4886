//! Tests of the content of ledgers that the tests write.

use std::{borrow::Cow, fs};

use fedpipe_data::{DatasetInfo, DatasetTarget, FeatureType};
use fedpipe_protocol::FailureKind;

use super::*;
use crate::{
    build::Build,
    cause::Cause,
    crash::{ClientCrash, Consequence, Crash},
    epochs::Epochs,
    experiment::LocalSection,
    finite::Finite,
    line::{Cpu, DataIdentity},
};

fn round(number: u64, participants: &[u32]) -> Line<'static> {
    let weights_sha256 = weights_sha256(&[number as f32]);
    let participants = participants.into();
    Line::Round(Cow::Owned(Round { clients: 4, participants, weights_sha256, ..Round::blank(number) }))
}

fn resumed(round: u64, experiment: Option<Experiment>, dylib: Option<&str>) -> Line<'static> {
    let program = dylib.map(program);
    let data = DataIdentity { dataset_sha256: "d2".into(), partitions_sha256: "p2".into() };
    Line::Resumed {
        round,
        cut_lines: 0,
        build: Some(build("2")),
        cpu: Cpu::of_this_machine(),
        forced: Cow::Borrowed(&[]),
        data: experiment.as_ref().map(|_| Cow::Owned(data)),
        experiment: experiment.map(Cow::Owned),
        program: program.map(Cow::Owned),
    }
}

fn build(version: &str) -> Build {
    Build { fedpipe: version.into(), build: None }
}

fn program(dylib: &str) -> CodeIdentity {
    CodeIdentity { dylib_sha256: Some(dylib.into()), ..CodeIdentity::default() }
}

fn started() -> [Line<'static>; 3] {
    let dataset = DatasetInfo {
        name: "sample".into(),
        sha256: "d1".into(),
        drawn_from: None,
        shape: vec![2],
        features: FeatureType::U8,
        target: DatasetTarget::classes(2),
        range: None,
        standardisation: None,
        remarks: Vec::new(),
        gap: None,
        natural_clients: None,
        client_names: Vec::new(),
        train_examples: 4,
        test_examples: 2,
        sample: false,
    };
    [
        Line::Started { build: build("1"), cpu: Cpu::of_this_machine(), experiment: Cow::Owned(Experiment::default()) },
        Line::Dealt {
            dataset: Cow::Owned(dataset),
            sizes: vec![1; 4].into(),
            held_out: Cow::default(),
            label_counts: vec![vec![0, 1]; 4].into(),
            partitions_sha256: "p1".into(),
        },
        Line::Ready {
            model: "m".into(),
            version: "1".into(),
            instruction_set: "avx2".into(),
            program: Cow::Owned(program("s1")),
            weights_sha256: "w".into(),
        },
    ]
}

/// Returns the text of a ledger with these lines after the first three.
fn ledger(lines: impl IntoIterator<Item = Line<'static>>) -> Vec<u8> {
    let mut position = Position::default();
    let mut bytes = Vec::new();
    for line in started().into_iter().chain(lines) {
        let (text, after) = position.chained(line).unwrap();
        bytes.extend(text);
        position = after;
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<History> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(LEDGER), bytes).unwrap();
    History::read(folder.path())
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn an_edited_line_is_found_by_the_next_and_a_torn_one_is_left_out() {
    let whole = ledger([round(1, &[]), round(2, &[])]);
    let text = String::from_utf8(whole.clone()).unwrap();
    let edited = text.replacen("\"model\":\"m\"", "\"model\":\"n\"", 1);
    assert!(refusal(edited.as_bytes()).ends_with("was edited: line 4 does not follow line 3 as it is now"));
    let torn = read(&whole[..whole.len() - 1]).unwrap();
    assert_eq!((torn.rounds.len(), torn.is_plain), (1, true));
    let without_start: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
    assert!(refusal(without_start.as_bytes()).contains("line 1 does not follow line 0"));
    assert!(refusal(b"").contains("does not begin with an experiment"));
    assert!(refusal(b"{}\n").contains("has a line 1 that is none of a ledger"));
    // The last line has none after it: an addition there is found by its text alone.
    let added = text.trim_end().strip_suffix('}').unwrap().to_owned() + ",\"more\":1}\n";
    assert!(!read(added.as_bytes()).unwrap().is_plain);
}

#[test]
fn lines_that_cannot_follow_are_refused_by_their_number() {
    let reloaded = |round| Line::Reloaded { round, dylib_sha256: "s2".into() };
    let refused = |round| Line::ReloadRefused { round, reason: "r".into() };
    for line in [round(1, &[]), round(3, &[]), reloaded(1), reloaded(3), refused(1), resumed(2, None, None)] {
        let shown = format!("{line:?}");
        let why = refusal(&ledger([round(1, &[]), line]));
        assert!(why.ends_with("was edited: line 5 cannot follow the lines before it"), "{shown}: {why}");
    }
    let again = started().into_iter().next().unwrap();
    assert!(refusal(&ledger([again])).ends_with("line 4 cannot follow the lines before it"));
}

#[test]
fn a_forced_resume_begins_a_stretch_in_the_place_of_one_without_rounds() {
    let experiment = |epochs| {
        let local = LocalSection { epochs: Epochs(epochs), ..LocalSection::default() };
        Experiment { local, ..Experiment::default() }
    };
    let lines = [
        round(1, &[]),
        resumed(1, Some(experiment(2.0)), Some("s2")),
        resumed(1, Some(experiment(3.0)), Some("s3")),
        round(2, &[]),
        resumed(2, None, None),
    ];
    let history = read(&ledger(lines)).unwrap();
    let stretches: Vec<_> =
        history.stretches.iter().map(|stretch| (stretch.first_round, stretch.experiment.local.epochs.0)).collect();
    assert_eq!(stretches, [(1, 1.0), (2, 3.0)]);
    assert_eq!(history.experiments.iter().map(|one| one.local.epochs.0).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    assert_eq!(history.program(), Some(&program("s3")));
    let dealt = history.last_stretch().dealt.as_ref().unwrap();
    assert_eq!((dealt.dataset.sha256.as_str(), dealt.partitions_sha256.as_str()), ("d2", "p2"));
    assert!(history.resumed_since);
    assert_eq!(history.stretch_of_last_round().first_round, 2);
}

#[test]
fn a_reload_that_was_reverted_leaves_the_dylib_before() {
    let reloaded = |round, sha256: &'static str| Line::Reloaded { round, dylib_sha256: sha256.into() };
    let lines = [
        round(1, &[]),
        reloaded(2, "s2"),
        round(2, &[]),
        reloaded(3, "s3"),
        Line::ReloadRefused { round: 3, reason: "it failed".into() },
        round(3, &[]),
    ];
    let history = read(&ledger(lines)).unwrap();
    assert_eq!(history.dylib(1), Some(DylibLine { name: MODEL.into(), sha256: "s1" }));
    for round in [2, 3, 9] {
        assert_eq!(history.dylib(round), Some(DylibLine { name: model_from(2), sha256: "s2" }), "round {round}");
    }
    assert_eq!(history.swaps(Path::new("/r")), BTreeMap::from([(2, Path::new("/r").join(model_from(2)))]));
}

#[test]
fn a_history_until_a_round_has_its_rounds_crashes_and_participants() {
    let crash = Crash {
        cause: Cause::reported(FailureKind::Model, "no"),
        after_seconds: Finite::ZERO,
        then: Consequence::Dropped,
        last_words: Vec::new(),
        log: None,
    };
    let crash = ClientCrash { round: Some(2), client: Some(1), process: 1, crash };
    let history =
        read(&ledger([round(1, &[]), Line::ClientCrashed(Cow::Owned(crash)), round(2, &[0, 2, 3]), round(3, &[])]))
            .unwrap();
    assert_eq!(history.failures, 1);
    assert_eq!(history.participants(), BTreeMap::from([(2, vec![0, 2, 3])]));
    let after_first = history.positions[4].clone();
    let until = history.until(&after_first).unwrap();
    assert_eq!((until.rounds.len(), until.failures), (1, 0));
    assert_eq!(history.lines_after(&after_first), 3);
    assert_eq!(history.lines_after(history.started()), 6);
}
