//! The seconds of one epoch of 60,000 examples on one thread, and the share of the FMA peak, measured in the same run.
//!
//! Operations are counted as if no zero were skipped, so that a share can exceed 100 %. The gradient at the inputs of
//! the first layer is not computed and not counted. An implausible peak ends the bench with an error.
#![allow(clippy::print_stdout, reason = "a bench reports")]

use std::{error::Error, ops::Range, time::Instant};

use fedpipe_nn::{Buffer, Isa, LayerSpec, Network, Optimiser, Shape};

mod support;

const SGD: &str = r#"{"name":"sgd"}"#;
const ADAM: &str = r#"{"name":"adam"}"#;
const TURNS: usize = 10;

struct Case {
    net: Net,
    batch: usize,
    optimiser: &'static str,
    zeros: bool,
}

/// The layers of a case.
enum Net {
    /// Dense layers with ReLU between them, by their widths.
    Dense(&'static [usize]),
    /// The model `cnn` with `channels=6,16`, as LeNet has them.
    Lenet,
}

/// The layers of the model `cnn` with `channels=6,16`.
const LENET: [LayerSpec; 11] = [
    LayerSpec::Conv { channels: 6, kernel: 5 },
    LayerSpec::MaxPool { size: 2 },
    LayerSpec::Relu,
    LayerSpec::Conv { channels: 16, kernel: 5 },
    LayerSpec::MaxPool { size: 2 },
    LayerSpec::Relu,
    LayerSpec::Dense { outputs: 120 },
    LayerSpec::Relu,
    LayerSpec::Dense { outputs: 84 },
    LayerSpec::Relu,
    LayerSpec::Dense { outputs: 10 },
];

impl Net {
    fn build(&self) -> fedpipe_nn::Result<Network> {
        match self {
            Net::Dense(widths) => Network::new(widths),
            Net::Lenet => Network::stack(Shape::image(1, 28, 28), &LENET),
        }
    }

    fn name(&self) -> String {
        match self {
            Net::Dense(widths) => format!("{widths:?}"),
            Net::Lenet => "LeNet".into(),
        }
    }

    /// Returns the number of examples that are timed together. They take about a millisecond, less than the time slice
    /// of another process.
    fn part(&self) -> usize {
        match self {
            Net::Dense(_) => 400,
            Net::Lenet => 32,
        }
    }

    /// Returns the multiply-adds of each layer for one example.
    fn products(&self) -> Vec<usize> {
        match self {
            Net::Dense(widths) => widths.windows(2).map(|pair| pair[0] * pair[1]).collect(),
            Net::Lenet => vec![24 * 24 * 25 * 6, 8 * 8 * 150 * 16, 256 * 120, 120 * 84, 84 * 10],
        }
    }
}

const CASES: [Case; 10] = [
    Case { net: Net::Dense(&[784, 128, 64, 10]), batch: 32, optimiser: SGD, zeros: true },
    Case { net: Net::Dense(&[784, 128, 64, 10]), batch: 64, optimiser: SGD, zeros: true },
    Case { net: Net::Dense(&[784, 128, 64, 10]), batch: 32, optimiser: ADAM, zeros: true },
    Case { net: Net::Dense(&[784, 256, 128, 10]), batch: 32, optimiser: SGD, zeros: true },
    Case { net: Net::Dense(&[784, 512, 256, 10]), batch: 32, optimiser: SGD, zeros: true },
    Case { net: Net::Dense(&[784, 10]), batch: 32, optimiser: SGD, zeros: true },
    Case { net: Net::Dense(&[784, 128, 64, 10]), batch: 32, optimiser: SGD, zeros: false },
    Case { net: Net::Dense(&[784, 128, 64, 10]), batch: 64, optimiser: SGD, zeros: false },
    Case { net: Net::Dense(&[784, 512, 256, 10]), batch: 32, optimiser: SGD, zeros: false },
    Case { net: Net::Lenet, batch: 32, optimiser: SGD, zeros: true },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut peak = support::Peak::of(Isa::current()?);
    println!("{}, FMA peak {:.1} GFLOP/s at {:.2} GHz", peak.isa, peak.check(0.0)?, peak.clock);
    let images = support::Data::load();
    let bright = without_zeros(&images);
    let chosen = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok());
    println!(
        "{:22} {:>5} {:>5} {:>6} {:>8} {:>8} {:>6}",
        "layers", "batch", "rule", "zeros", "seconds", "GFLOP/s", "peak"
    );
    for (i, case) in CASES.iter().enumerate().filter(|(i, _)| chosen.is_none_or(|chosen| chosen == *i)) {
        let mut state = State::new(case);
        let data = if case.zeros { &images } else { &bright };
        // The best time of each part counts: other work on the machine can only add time.
        let size = case.net.part();
        let mut parts = vec![f64::INFINITY; 60_000 / size];
        for _ in 0..TURNS {
            for (part, best) in parts.iter_mut().enumerate() {
                *best = best.min(state.train(data, part * size..(part + 1) * size));
                peak.measure();
            }
        }
        let seconds: f64 = parts.iter().sum();
        let rate = operations(case) / seconds / 1e9;
        let rule = if case.optimiser == SGD { "sgd" } else { "adam" };
        let (net, batch, zeros) = (case.net.name(), case.batch, case.zeros);
        println!(
            "{net:22} {batch:5} {rule:>5} {zeros:>6} {seconds:8.4} {rate:8.1} {:5.0}%  #{i}",
            100.0 * rate / peak.check(least_operations(case, data) / seconds / 1e9)?
        );
    }
    Ok(())
}

fn without_zeros(data: &support::Data) -> support::Data {
    let images = data.images.iter().map(|&pixel| if pixel == 0 { 1 } else { pixel }).collect();
    support::Data { images, labels: data.labels.clone() }
}

/// Returns the floating-point operations of an epoch.
fn operations(case: &Case) -> f64 {
    let products = case.net.products();
    let all: usize = products.iter().sum();
    (60_000 * 2 * (3 * all - products[0])) as f64
}

/// Returns operations that no kernel can skip: the product and the gradient of the first dense layer for pixels that
/// are not 0, or the products of the convolutions.
fn least_operations(case: &Case, data: &support::Data) -> f64 {
    let pixels = data.images.iter().filter(|&&pixel| pixel != 0).count();
    let products = match case.net {
        Net::Dense(widths) => 2 * pixels * widths[1],
        Net::Lenet => 60_000 * case.net.products()[..2].iter().sum::<usize>(),
    };
    (2 * products) as f64
}

struct State {
    network: Network,
    optimiser: Optimiser,
    weights: Buffer,
    batch: usize,
}

impl State {
    fn new(case: &Case) -> Self {
        let network = case.net.build().expect("a network");
        let weights = network.init(1);
        let mut optimiser = Optimiser::new().expect("an optimiser");
        optimiser.begin(case.optimiser, weights.len(), 0).expect("an optimiser");
        Self { network, optimiser, weights, batch: case.batch }
    }

    fn train(&mut self, data: &support::Data, examples: Range<usize>) -> f64 {
        let start = Instant::now();
        let images = data.images[784 * examples.start..784 * examples.end].chunks(784 * self.batch);
        for (images, labels) in images.zip(data.labels[examples].chunks(self.batch)) {
            let inputs = self.network.inputs(labels.len());
            inputs.iter_mut().zip(images).for_each(|(x, &pixel)| *x = f32::from(pixel) / 255.0);
            let labels = labels.iter().map(|&label| u32::from(label));
            self.network.step(&mut self.weights, labels, &mut self.optimiser, 0.01).expect("a step");
        }
        start.elapsed().as_secs_f64()
    }
}
