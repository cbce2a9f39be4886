//! Trains a multi-layer perceptron on IDX files in one process, and prints loss and accuracy after each epoch.
//!
//! `cargo run --release -p fedpipe-nn --example train -- DIR [HIDDEN [SEED]]`. DIR has the four decompressed files,
//! HIDDEN is a list of widths such as `128,64`.

#![allow(clippy::print_stdout, reason = "the example reports to the terminal")]

use std::{env, error::Error, fs, path::Path, time::Instant};

use fedpipe_nn::{Network, Optimiser, init};

const BATCH: usize = 32;
const RATE: f32 = 0.1;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let directory = Path::new(arguments.first().ok_or("usage: train DIR [HIDDEN [SEED]]")?);
    let hidden = arguments.get(1).map_or("128,64", String::as_str).split(',').map(str::parse);
    let seed = arguments.get(2).map_or(Ok(0), |seed| seed.parse())?;
    let (images, labels) = (read(directory, "train-images", 16)?, read(directory, "train-labels", 8)?);
    let (test_images, test_labels) = (read(directory, "t10k-images", 16)?, read(directory, "t10k-labels", 8)?);

    let widths = [Ok(784)].into_iter().chain(hidden).chain([Ok(10)]).collect::<Result<Vec<_>, _>>()?;
    let mut network = Network::new(&widths)?;
    let mut optimiser = Optimiser::new()?;
    let mut weights = network.init(seed);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    for epoch in 1..=5 {
        shuffle(&mut order, seed + epoch);
        let start = Instant::now();
        for batch in order.chunks(BATCH) {
            gather(&images, batch, network.inputs(batch.len()));
            network.step(&mut weights, batch.iter().map(|&i| u32::from(labels[i])), &mut optimiser, RATE)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let all: Vec<usize> = (0..test_labels.len()).collect();
        let (mut loss, mut correct) = (0.0, 0);
        for batch in all.chunks(500) {
            gather(&test_images, batch, network.inputs(batch.len()));
            let score = network.score(&weights, batch.iter().map(|&i| u32::from(test_labels[i])))?;
            (loss, correct) = (loss + score.loss_sum, correct + score.correct);
        }
        let n = test_labels.len() as f64;
        println!("epoch {epoch}: loss {:.4}, accuracy {:.2} %, {seconds:.3} s", loss / n, 100.0 * correct as f64 / n);
    }
    Ok(())
}

fn read(directory: &Path, name: &str, header: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        if file.starts_with(name) && !file.ends_with(".gz") && path.is_file() {
            return Ok(fs::read(path)?.split_off(header));
        }
    }
    Err(format!("no decompressed {name} in {}", directory.display()).into())
}

fn gather(images: &[u8], batch: &[usize], inputs: &mut [f32]) {
    for (row, &i) in inputs.chunks_exact_mut(784).zip(batch) {
        row.iter_mut().zip(&images[784 * i..]).for_each(|(x, &pixel)| *x = f32::from(pixel) / 255.0);
    }
}

/// Shuffles `order` by sorting random keys, for which the initialisation of weights serves as the generator.
fn shuffle(order: &mut [usize], seed: u64) {
    let mut keys = vec![0.0; order.len()];
    init::he_normal(&mut keys, 1, seed, 99);
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
}
