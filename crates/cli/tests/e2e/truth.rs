//! A run against its definition: plain SGD, and the closed form of federated averaging, each computed here.

use fedpipe_data::{Partition, Pixels};
use fedpipe_nn::Network;
use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

use crate::common::{Place, sha256};

const SEED: u64 = 5;
const RATE: f32 = 0.1;
const BATCH: usize = 32;
const WIDTHS: [usize; 3] = [784, 16, 10];

/// The arguments of the runs; the tests repeat the arithmetic with the same values.
const RUN: &str = "mlp --model-option hidden=16 --seed 5 --lr 0.1 --batch-size 32";

#[test]
fn one_client_with_everything_is_plain_sgd_to_the_bit() {
    let place = Place::new();
    let run = place.run(&format!("{RUN} --clients 1 --rounds 3 --epochs 2"));
    let data = Data::deal(&place, 1);
    let mut weights = initial();
    for round in 1..=3 {
        sgd(&mut weights, &data.partitions[0], 0, round, 2);
    }
    assert_eq!(digest(&weights), run.weights_sha256());

    let (loss, accuracy) = score(&weights, &data.test);
    let summary = run.summary();
    assert_eq!((summary["loss"].as_f64(), summary["accuracy"].as_f64()), (Some(loss), Some(accuracy)));
}

#[test]
fn federated_averaging_is_its_closed_form() {
    let place = Place::new();
    // 7 does not divide the number of examples, so that the clients have different weights in the mean.
    let run = place.run(&format!("{RUN} --clients 7 --rounds 2 --epochs 1"));
    let data = Data::deal(&place, 7);
    assert!(data.partitions[0].len() != data.partitions[6].len());
    let mut weights = initial();
    for round in 1..=2 {
        average(&data, &mut weights, |update, partition, client| sgd(update, partition, client, round, 1));
        let line = &run.ledger("round")[round as usize - 1];
        assert_eq!(line["weights_sha256"], digest(&weights), "round {round}");
    }
}

#[test]
fn the_toy_model_is_its_documented_arithmetic() {
    let place = Place::new();
    let run = place.run("misbehaving --seed 5 --clients 3 --rounds 2 --lr 0.1 --batch-size 32");
    let data = Data::deal(&place, 3);
    let mut weights: Vec<f32> = (0..10).map(|i| ((SEED + i) % 7) as f32 / 8.0).collect();
    for round in 1..=2 {
        average(&data, &mut weights, |update, partition, client| {
            let mut left = 1.0;
            for row in visited(partition, client, round, 0) {
                let label = partition.labels()[row as usize];
                let weight = &mut update[label as usize];
                *weight += RATE * (left - *weight);
                left = label as f32 / 8.0 - *weight / 2.0;
            }
        });
    }
    assert_eq!(digest(&weights), run.weights_sha256());
}

/// Computes a round by its closed form, w ← Σ n_k w_k / Σ n_k (McMahan 2017, Algorithm 1); each client does `train`.
fn average(data: &Data, weights: &mut [f32], train: impl Fn(&mut [f32], &Partition, u32)) {
    let trained = |(partition, client): (&Partition, u32)| {
        let mut update = weights.to_vec();
        train(&mut update, partition, client);
        (partition.len() as f64, update)
    };
    let updates: Vec<(f64, Vec<f32>)> = data.partitions.iter().zip(0..).map(trained).collect();
    let total: f64 = updates.iter().map(|(n, _)| n).sum();
    for (i, weight) in weights.iter_mut().enumerate() {
        let sum: f64 = updates.iter().map(|(n, update)| n * f64::from(update[i])).sum();
        *weight = (sum / total) as f32;
    }
}

/// Returns the partitions of a run in `place`.
struct Data {
    partitions: Vec<Partition>,
    test: Partition,
}

impl Data {
    fn deal(place: &Place, clients: u32) -> Self {
        let dealt = place.dealt_before(clients, SEED);
        let partitions = dealt.partitions.iter().map(|file| Partition::open(&file.path).unwrap()).collect();
        Self { partitions, test: Partition::open(&dealt.test.path).unwrap() }
    }
}

fn initial() -> Vec<f32> {
    Network::new(&WIDTHS).unwrap().init(SEED).to_vec()
}

/// Returns the rows of a partition in the order of an epoch, as the protocol defines it.
fn visited(partition: &Partition, client: u32, round: u64, epoch: u64) -> Vec<u32> {
    order(&Key { seed: SEED, purpose: Use::Shuffle, client, round, epoch }, partition.len() as u32)
}

/// Computes w ← w − η∇f, batch by batch.
fn sgd(weights: &mut [f32], partition: &Partition, client: u32, round: u64, epochs: u64) {
    let mut network = Network::new(&WIDTHS).unwrap();
    let mut gradient = vec![0.0; weights.len()];
    for epoch in 0..epochs {
        for rows in visited(partition, client, round, epoch).chunks(BATCH) {
            let labels = fill(&mut network, partition, rows);
            network.gradient(weights, labels, &mut gradient).unwrap();
            // There is one rounding, as everywhere in fedpipe_nn.
            weights.iter_mut().zip(&gradient).for_each(|(w, g)| *w = (-RATE).mul_add(*g, *w));
        }
    }
}

/// Returns the mean loss and the accuracy. The sample's 500 test examples are one block, of which the model scores a
/// hundred at a time.
fn score(weights: &[f32], test: &Partition) -> (f64, f64) {
    let mut network = Network::new(&WIDTHS).unwrap();
    let rows: Vec<u32> = (0..500).collect();
    let (mut loss, mut correct) = (0.0, 0);
    for rows in rows.chunks(100) {
        let labels = fill(&mut network, test, rows);
        let score = network.score(weights, labels).unwrap();
        loss += score.loss_sum;
        correct += score.correct;
    }
    (loss / 500.0, correct as f64 / 500.0)
}

fn fill(network: &mut Network, partition: &Partition, rows: &[u32]) -> Vec<u32> {
    let Pixels::U8(pixels) = partition.pixels() else { panic!("the sample is bytes") };
    let inputs = network.inputs(rows.len());
    for (&row, inputs) in rows.iter().zip(inputs.chunks_exact_mut(784)) {
        let row = &pixels[784 * row as usize..][..784];
        inputs.iter_mut().zip(row).for_each(|(input, &pixel)| *input = f32::from(pixel) / 255.0);
    }
    rows.iter().map(|&row| partition.labels()[row as usize]).collect()
}

fn digest(weights: &[f32]) -> String {
    sha256(&weights.iter().flat_map(|weight| weight.to_le_bytes()).collect::<Vec<u8>>())
}
