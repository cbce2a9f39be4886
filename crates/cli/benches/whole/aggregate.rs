//! The mean of many updates against the machine's memory bandwidth, and the robust rules against the mean.

use std::{hint::black_box, thread, time::Instant};

use anyhow::Result;
use fedpipe_host::{AllCores, weighted_mean};
use fedpipe_protocol::{Kind, Layout, Place, Tensor};
use fedpipe_strategy::{
    aggregator::{Member, Updates, mixed_chain::Aggregation},
    closed_round::order_key,
    slots::Slots,
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};

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

/// Returns the processor time of each rule over that of the mean just before it, `n` times.
pub(crate) fn rule_costs(rules: &[&str], n: usize) -> Result<Vec<Vec<f64>>> {
    let value = |k: usize, i: usize| ((i * 7919 + k * 104_729) % 10_007) as f32 / 3.0e4 - 0.1;
    let updates: Vec<Vec<f32>> = (0..UPDATES).map(|k| (0..WEIGHTS).map(|i| value(k, i)).collect()).collect();
    let members: Vec<_> =
        updates.iter().map(|weights| Member { update: None, weight: 1.0, weights: weights.as_slice() }).collect();
    let tensor = Tensor { name: "w".into(), shape: vec![WEIGHTS], kind: Kind::Param, place: Place::Shared };
    let (received, layout) = (vec![0.0; WEIGHTS], Layout::new(vec![tensor]).map_err(anyhow::Error::msg)?);
    let all =
        Updates { received: &received, members: &members, is_proximal: false, learning_rate: 0.1, layout: &layout };
    let seconds = |rule: &Aggregation| -> Result<f64> {
        let started = processor_seconds()?;
        black_box(rule.aggregate(&all, &mut Slots::default(), &order_key(1, 1), &AllCores));
        Ok(processor_seconds()? - started)
    };
    let mean = Aggregation::default();
    let costs = |rule: &&str| -> Result<Vec<f64>> {
        let rule: Aggregation = rule.parse()?;
        let cost = |_| {
            let of_mean = seconds(&mean)?;
            Ok(seconds(&rule)? / of_mean)
        };
        (0..n).map(cost).collect()
    };
    rules.iter().map(costs).collect()
}

/// Returns the processor seconds of this process, in which other work on the machine has no part.
fn processor_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
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
