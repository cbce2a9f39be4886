//! Tests of the README. Each share of the peak in the table of speed follows from the seconds beside it. The local
//! optimisers have the test vectors that `vectors.py` prints without this crate.

use fedpipe_nn::{LayerSpec, Network, Optimiser, Shape, TrainKey};
use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

/// Returns the numbers of a vector in the README.
fn written(name: &str) -> Vec<f64> {
    let prefix = format!("| {name} | ");
    let row = include_str!("../README.md").lines().find_map(|line| line.strip_prefix(&prefix));
    let row = row.unwrap_or_else(|| panic!("the README has no vector {name:?}")).trim_end_matches(" |");
    row.split(' ').map(|value| value.parse().expect("a vector has numbers")).collect()
}

#[test]
fn initial_weights_are_those_of_the_readme_to_the_bit() {
    let expected = written("initial weights of 3 inputs, 2 hidden, 2 classes: seed 7");
    let expected: Vec<f32> = expected.iter().map(|&value| value as f32).collect();
    assert_eq!(Network::new(&[3, 2, 2]).unwrap().init(7)[..], expected);
}

#[test]
fn initial_weights_of_images_are_those_of_the_readme_to_the_bit() {
    let name = "initial weights of a convolution of 3×3 grey pixels to 2 channels by kernels of 2×2, a batch norm, \
                1 class: seed 7";
    let layers = [
        LayerSpec::Conv { channels: 2, kernel: 2 },
        LayerSpec::BatchNorm,
        LayerSpec::Relu,
        LayerSpec::Dense { outputs: 1 },
    ];
    let network = Network::stack(Shape::image(1, 3, 3), &layers).unwrap();
    let expected: Vec<f32> = written(name).iter().map(|&value| value as f32).collect();
    assert_eq!(network.init(7)[..], expected);
}

/// The two classes have equal logits, so that a gradient is 0 only if its input was dropped.
#[test]
fn a_dropout_keeps_the_values_of_the_readme() {
    let expected = written("kept by a dropout of 0.25: seed 1, client 3, round 5, epoch 2, step 3");
    let layers = [LayerSpec::Dropout { rate: 0.25 }, LayerSpec::Dense { outputs: 2 }];
    let mut network = Network::stack(Shape::flat(expected.len()), &layers).unwrap();
    let weights = vec![0.0; network.weight_count()];
    let mut gradient = weights.clone();
    network.begin(TrainKey { seed: 1, client: 3, round: 5, epoch: 2 });
    for _ in 0..=3 {
        network.inputs(1).fill(1.0);
        network.gradient(&weights, [1], &mut gradient).unwrap();
    }
    let pairs = gradient.chunks_exact(2).zip(&expected);
    pairs.for_each(|(gradient, kept)| assert_eq!(gradient[0] != 0.0, *kept == 1.0, "{gradient:?}"));
}

#[test]
fn the_steps_of_an_optimiser_are_those_of_the_readme_to_the_bit() {
    let optimisers = [
        r#"{"name":"sgd"}"#,
        r#"{"name":"sgd","momentum":0.9}"#,
        r#"{"name":"sgd","weight_decay":0.1}"#,
        r#"{"name":"sgd","momentum":0.9,"weight_decay":0.1}"#,
        r#"{"name":"adam"}"#,
        r#"{"name":"adam","beta1":0.8,"beta2":0.95,"epsilon":0.001,"weight_decay":0.1}"#,
        r#"{"name":"sgd","momentum":0.9,"nesterov":true,"weight_decay":0.1}"#,
        r#"{"name":"adamw"}"#,
        r#"{"name":"adamw","beta1":0.8,"beta2":0.95,"epsilon":0.001,"weight_decay":0.1}"#,
    ];
    for json in optimisers {
        let (mut optimiser, mut weights) = (Optimiser::new().unwrap(), [1.0, -2.0]);
        optimiser.begin(json, 2, 0).unwrap();
        for gradient in [[0.5, -0.25], [-0.125, 0.75], [0.3, 0.1]] {
            optimiser.step(&mut weights, &gradient, 0.1, &[]);
        }
        let expected: Vec<f32> = written(&format!("steps of `{json}`")).iter().map(|&value| value as f32).collect();
        assert_eq!(weights.as_slice(), expected, "{json}");
    }
}

/// `optimisers.py` prints the weights after the same steps by PyTorch's own optimisers, in f64.
#[test]
fn the_steps_of_an_optimiser_are_those_of_pytorch() {
    let mut optimisers = 0;
    for row in include_str!("../optimisers.csv").lines().skip(1) {
        let (json, expected) = row.split_once(';').unwrap();
        let (mut optimiser, mut weights) = (Optimiser::new().unwrap(), [1.0, -2.0]);
        optimiser.begin(json, 2, 0).unwrap();
        for step in 0..60 {
            let gradient = [0.5 - step as f32 / 64.0, (step % 7) as f32 / 4.0 - 0.75];
            optimiser.step(&mut weights, &gradient, 0.0625, &[]);
        }
        for (weight, expected) in weights.iter().zip(expected.split(' ')) {
            let expected: f64 = expected.parse().unwrap();
            assert!((f64::from(*weight) - expected).abs() < 3e-6, "{json}: {weights:?}, expected {expected}");
        }
        optimisers += 1;
    }
    assert_eq!(optimisers, 8);
}

#[test]
fn a_request_with_a_short_last_batch_and_two_epochs_is_that_of_the_readme() {
    let examples = [([0.5, 1.0], 0), ([1.0, 0.0], 2), ([0.0, 0.25], 1), ([0.75, 0.5], 1), ([1.0, 1.0], 0)];
    let (mut network, mut optimiser) = (Network::new(&[2, 3]).unwrap(), Optimiser::new().unwrap());
    let mut weights = [0.5, -0.5, 0.25, -0.25, 0.75, 0.0, 0.1, -0.2, 0.3];
    let json = r#"{"name":"sgd","momentum":0.9,"weight_decay":0.1}"#;
    let (mut steps, mut loss_sum, mut correct) = (0, 0.0, 0);
    for epoch in 0..2 {
        optimiser.begin(json, weights.len(), epoch).unwrap();
        let rows = order(&Key { seed: 1, purpose: Use::Shuffle, client: 0, round: 1, epoch }, 5);
        (loss_sum, correct) = (0.0, 0);
        for batch in rows.chunks(2) {
            let inputs: Vec<f32> = batch.iter().flat_map(|&row| examples[row as usize].0).collect();
            network.inputs(batch.len()).copy_from_slice(&inputs);
            let labels = batch.iter().map(|&row| examples[row as usize].1);
            let score = network.step(&mut weights, labels, &mut optimiser, 0.5).unwrap();
            (loss_sum, correct, steps) = (loss_sum + score.loss_sum, correct + score.correct, steps + 1);
        }
    }
    for (weight, expected) in weights.iter().zip(written("weights after the request")) {
        assert!((f64::from(*weight) - expected).abs() < 2e-6, "{weights:?}");
    }
    assert_eq!([steps as f64, correct as f64], written("`steps`, `correct` of the request")[..]);
    assert!((loss_sum - written("`loss_sum` of the request")[0]).abs() < 5e-6, "{loss_sum}");
    let accumulation = optimiser.accumulation(0.5, 0.0);
    assert!((accumulation - written("`accumulation` of the request")[0]).abs() < 1e-6, "{accumulation}");
}

#[test]
fn the_shares_of_the_peak_follow_from_the_seconds() {
    let readme = include_str!("../README.md");
    let (_, peak) = readme.split_once("FMA peak ").unwrap();
    let peak: f64 = peak.split(' ').next().unwrap().parse().unwrap();
    let rows: Vec<Vec<&str>> =
        readme.lines().filter(|line| line.starts_with("| 784-")).map(|line| line.split(" | ").collect()).collect();
    assert_eq!(rows.len(), 9, "a row for each case of the bench");
    let mut wrong = Vec::new();
    for row in rows {
        let (layers, measured) = (row[0].trim_start_matches("| "), &row[4..]);
        let widths: Vec<f64> = layers.split('-').map(|width| width.parse().unwrap()).collect();
        let products: Vec<f64> = widths.windows(2).map(|pair| pair[0] * pair[1]).collect();
        let gigaflops = 60_000.0 * 2.0 * (3.0 * products.iter().sum::<f64>() - products[0]) / 1e9;
        for [seconds, share] in measured.as_chunks().0 {
            let follows = 100.0 * gigaflops / seconds.parse::<f64>().unwrap() / peak;
            let share = share.trim_end_matches([' ', '|', '%']);
            // A share can be off by one, since the seconds have three digits.
            if (share.parse::<f64>().unwrap() - follows).abs() > 1.0 {
                wrong.push(format!("{}: {share} %, but {follows:.1} % follow from {seconds} s", row.join(" | ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
