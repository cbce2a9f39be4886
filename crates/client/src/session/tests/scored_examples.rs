//! Tests of evaluations: the examples and the labels that are scored, and the predictions.

use std::ops::Range;

use fedpipe_protocol::Predictions;

use super::*;
use crate::session::evaluate::Evaluated;

/// The held-out examples are trained on by nobody, and the only ones that an evaluation of a client scores.
#[test]
fn training_and_evaluation_of_a_client_share_no_example() {
    let stage = Stage::holding_out(0.6);
    let (_, ready) = stage.start(&stage.held(&[0, 1])).unwrap();
    assert_eq!((ready.examples, ready.held_out), (vec![400, 400], vec![600, 600]));
    let mut session = stage.session(&[0, 1]);
    let update = trained(&mut session, &train(0), &[]).0.update;
    assert_eq!((update.examples, update.scored, update.steps), (400, 400, 2 * 13));
    let start = Train { score_start: Some(ScoreStart::All), ..train(0) };
    assert_eq!(trained(&mut session, &start, &[]).0.update.start.unwrap().examples, 400);
    session.use_received().unwrap();
    let held_out = session.evaluate(&Evaluate::held_out(0, 600)).unwrap().blocks;
    assert_eq!(held_out.iter().map(|sums| (sums.block, sums.examples)).collect::<Vec<_>>(), [(0, 500), (1, 100)]);
    // Zero weights predict class 0 for each example.
    let partition = Partition::open(&stage.dealt.path_of(0)).unwrap();
    let zeros = |rows: Range<usize>| partition.labels()[rows].iter().filter(|label| **label == 0).count() as u64;
    assert_eq!([held_out[0].correct, held_out[1].correct], [zeros(400..900), zeros(900..1000)]);
}

#[test]
fn predictions_are_those_of_the_scored_examples() {
    let asked = |predictions| Evaluate { predictions, ..Evaluate::test(vec![0]) };
    let confusion = Some(Predictions::Confusion);
    let silent = Stage { dylib: "libecho.so", ..Stage::new() };
    assert!(silent.session(&[0]).evaluate(&asked(confusion)).unwrap().parts.is_empty(), "echo does not predict");
    let stage = Stage::new();
    let mut session = stage.session(&[0]);
    assert!(session.evaluate(&asked(None)).unwrap().parts.is_empty());
    let Evaluated { blocks, parts } = session.evaluate(&asked(confusion)).unwrap();
    let [(name, PartData::U32(counts))] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((name.as_str(), counts.len(), counts.iter().sum::<u32>()), ("confusion", 100, 500));
    assert_eq!(u64::from(counts.iter().step_by(11).sum::<u32>()), blocks[0].correct);
    let labels = Partition::open(&stage.dealt.test.path).unwrap().labels().to_vec();
    for (label, row) in (0..).zip(counts.chunks(10)) {
        assert_eq!(row.iter().sum::<u32>() as usize, labels.iter().filter(|other| **other == label).count());
    }
    let Evaluated { parts, .. } = session.evaluate(&asked(Some(Predictions::Outputs))).unwrap();
    let [(name, PartData::F32(outputs))] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((name.as_str(), outputs.len()), ("outputs", 500 * 10));
}

/// From zero weights each class has the same probability, so that one step over all examples has the gradient of class
/// 9 − c in the place of that of c.
#[test]
fn flipped_labels_are_those_of_the_training_alone() {
    let mut session = Stage::holding_out(0.1).session(&[0]);
    let examples = session.partitions[0].1.partition.training_len() as u64;
    let step = |flip_labels| Train { flip_labels, batch_size: examples, phases: vec![Phase::plain(1)], ..train(0) };
    let held_out = |session: &mut Session| {
        session.evaluate(&Evaluate { client: Some(0), ..Evaluate::test(vec![0]) }).unwrap().blocks
    };
    let plain = trained(&mut session, &step(false), &[]).1;
    let plain_score = held_out(&mut session);
    let flipped = trained(&mut session, &step(true), &[]).1;
    let bias = session.layout.ranges().find(|(tensor, _)| tensor.shape == [10]).unwrap().1;
    let reversed: Vec<f32> = flipped[bias.clone()].iter().rev().copied().collect();
    assert_eq!(reversed, plain[bias]);
    assert_ne!(flipped, plain);
    assert_ne!(held_out(&mut session), plain_score, "the held-out labels are not flipped");
    assert_eq!(trained(&mut session, &step(false), &[]).1, plain, "the next request has the labels of the partition");
}
