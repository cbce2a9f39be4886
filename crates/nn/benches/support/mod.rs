//! The parts that the benches share: the FMA peak of the machine, and data like those of Fashion-MNIST.

mod peak;

use std::fs;

pub(crate) use peak::Peak;

/// 60,000 images of 784 pixels, and their labels.
pub(crate) struct Data {
    pub(crate) images: Vec<u8>,
    pub(crate) labels: Vec<u8>,
}

impl Data {
    /// Loads the training set of Fashion-MNIST in a random order, if `FEDPIPE_BENCH_DATA` names a folder with the
    /// decompressed files `train-images` and `train-labels`. Otherwise returns generated images with similar zeros.
    pub(crate) fn load() -> Self {
        let Ok(folder) = std::env::var("FEDPIPE_BENCH_DATA") else {
            return Self::generated();
        };
        let read = |name: &str| fs::read(format!("{folder}/{name}")).expect("a file of FEDPIPE_BENCH_DATA");
        let (images, labels) = (&read("train-images")[16..], &read("train-labels")[8..]);
        let mut order: Vec<usize> = (0..60_000).collect();
        let mut random = random();
        (1..order.len()).rev().for_each(|i| order.swap(i, random() as usize % (i + 1)));
        Self {
            images: order.iter().flat_map(|i| images[784 * i..784 * (i + 1)].iter().copied()).collect(),
            labels: order.iter().map(|&i| labels[i]).collect(),
        }
    }

    /// Returns images with one centred stretch of pixels a row, half as wide as the image on average.
    fn generated() -> Self {
        let mut random = random();
        let mut images = vec![0; 60_000 * 784];
        for image in images.chunks_exact_mut(784) {
            let half = 2 + random() as usize % 11;
            for row in image.chunks_exact_mut(28) {
                let ragged = half + random() as usize % 3;
                row[14 - ragged.min(14)..14 + ragged.min(14)].fill_with(|| 1 + (random() % 255) as u8);
            }
        }
        Self { images, labels: (0..60_000).map(|_| (random() % 10) as u8).collect() }
    }
}

/// Returns a linear congruential generator (Knuth's MMIX).
fn random() -> impl FnMut() -> u32 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    }
}
