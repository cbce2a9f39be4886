//! The time of each part of a training step on one batch of 32, by criterion: score, gradient, optimiser, fused step.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fedpipe_nn::{Isa, Network, Optimiser};

mod support;

const BATCH: usize = 32;

fn parts(criterion: &mut Criterion) {
    let data = support::Data::load();
    let mut network = Network::new(&[784, 128, 64, 10]).expect("a network");
    let mut weights = network.init(1);
    let mut gradient = weights.clone();
    let mut optimiser = Optimiser::new().expect("an optimiser");
    optimiser.begin(r#"{"name":"sgd"}"#, weights.len(), 0).expect("an optimiser");
    let pixels = &data.images[..784 * BATCH];
    network.inputs(BATCH).iter_mut().zip(pixels).for_each(|(x, &pixel)| *x = f32::from(pixel) / 255.0);
    let labels: Vec<u32> = data.labels[..BATCH].iter().map(|&label| label.into()).collect();
    let labels = || labels.iter().copied();

    let mut group = criterion.benchmark_group("mlp, a batch of 32");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("score", |b| b.iter(|| network.score(&weights, labels())));
    group.bench_function("gradient", |b| b.iter(|| network.gradient(&weights, labels(), &mut gradient)));
    group.bench_function("optimiser", |b| b.iter(|| optimiser.step(&mut weights, &gradient, 1e-6, &[])));
    group.bench_function("fused step", |b| b.iter(|| network.step(&mut weights, labels(), &mut optimiser, 1e-6)));
    group.finish();
    criterion.bench_function("the FMA peak, per GFLOP", |b| b.iter_custom(peak_time));
}

/// Returns the time of `gigaflops` at the FMA peak.
///
/// # Panics
/// Panics if the measured peak is implausible.
fn peak_time(gigaflops: u64) -> std::time::Duration {
    let isa = Isa::current().expect("an instruction set");
    let peak = support::Peak::of(isa).check(0.0).expect("a plausible peak");
    std::time::Duration::from_secs_f64(gigaflops as f64 / peak)
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = parts
}
criterion_main!(benches);
