//! The mean of many updates against the machine's memory bandwidth.

use std::{hint::black_box, thread, time::Instant};

use fedpipe_host::weighted_mean;

const UPDATES: usize = 100;
const WEIGHTS: usize = 1_000_000;
const BYTES: f64 = (4 * UPDATES * WEIGHTS) as f64;

/// Returns the mean's share of the bandwidth in percent, `n` times, and the best bandwidth in GB/s.
pub(crate) fn mean_against_bandwidth(n: usize, cores: usize) -> (Vec<f64>, f64) {
    let update = |k: usize| (0..WEIGHTS).map(|i| ((i * 7 + k) % 1000) as f32 / 1000.0).collect::<Vec<f32>>();
    let updates: Vec<Vec<f32>> = (0..UPDATES).map(update).collect();
    let members: Vec<(f64, &[f32])> = updates.iter().map(|update| (600.0, update.as_slice())).collect();
    let mut best = 0.0_f64;
    let mut shares = Vec::new();
    for _ in 0..n {
        // The bandwidth is measured just before the mean, since that of a shared machine changes. The best of three
        // counts, since a read is short.
        let bandwidth =
            (0..3).map(|_| read(&updates, cores)).fold(0.0, |best, rate| if rate > best { rate } else { best });
        let started = Instant::now();
        black_box(weighted_mean(black_box(&members)));
        shares.push(100.0 * BYTES / started.elapsed().as_secs_f64() / bandwidth);
        best = if bandwidth > best { bandwidth } else { best };
    }
    (shares, best / 1e9)
}

/// Returns the bytes a second that all cores read together, each its share of the updates.
fn read(updates: &[Vec<f32>], cores: usize) -> f64 {
    let started = Instant::now();
    thread::scope(|scope| {
        for share in updates.chunks(updates.len().div_ceil(cores)) {
            scope.spawn(move || share.iter().map(|update| black_box(sum(update))).fold(0, u32::wrapping_add));
        }
    });
    BYTES / started.elapsed().as_secs_f64()
}

/// Sums the bits of floats. A sum of floats has a fixed order, which keeps it from being vectorised.
fn sum(update: &[f32]) -> u32 {
    update.iter().fold(0, |sum, weight| sum.wrapping_add(weight.to_bits()))
}
