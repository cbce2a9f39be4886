//! The rate of fused multiply-adds that one core reaches at best, and the range in which a measured rate is plausible.
#![allow(unsafe_code, reason = "functions with target features are called only if the CPU has the features")]

use std::{hint::black_box, ops::RangeInclusive, time::Instant};

use fedpipe_nn::Isa;

/// The best of all measurements of one core. Other work on the machine can only lower a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    pub(crate) isa: &'static str,
    /// Fused multiply-adds, counted as two operations, in GFLOP/s.
    pub(crate) rate: f64,
    /// The clock of the core while it runs scalar instructions, in GHz.
    pub(crate) clock: f64,
}

impl Peak {
    /// Measures the peak of `isa` for about 20 ms.
    pub(crate) fn of(isa: Isa) -> Self {
        let mut peak = Self { isa: isa.name(), rate: 0.0, clock: 0.0 };
        (0..20).for_each(|_| peak.measure());
        peak
    }

    /// Measures for about 1 ms and keeps the best values.
    pub(crate) fn measure(&mut self) {
        let rate = rate_of(|| multiply_add(self.isa));
        let clock = rate_of(|| add_and_xor(50_000));
        self.rate = if rate > self.rate { rate } else { self.rate };
        self.clock = if clock > self.clock { clock } else { self.clock };
    }

    /// Returns the peak in GFLOP/s. `reached` is the rate of the benched code in the same run, in GFLOP/s, without
    /// operations that it may have skipped.
    ///
    /// # Errors
    /// A peak outside of the operations a cycle of known CPUs, or below `reached`.
    pub(crate) fn check(&self, reached: f64) -> Result<f64, String> {
        let Self { isa, rate, clock } = *self;
        let (a_cycle, plausible) = (rate / clock, plausible(isa));
        let remedy = "run the bench again on an idle core, or correct crates/nn/benches/support/peak.rs";
        if !plausible.contains(&a_cycle) {
            let (least, most) = plausible.into_inner();
            return Err(format!(
                "the measured FMA peak of {isa} is implausible: {rate:.1} GFLOP/s at {clock:.2} GHz are {a_cycle:.3} \
                 operations a cycle, expected {least} to {most}; {remedy}"
            ));
        }
        if reached > rate {
            return Err(format!(
                "the measured FMA peak of {isa} is implausible: {rate:.1} GFLOP/s, but the benched code reached \
                 {reached:.1}; {remedy}"
            ));
        }
        Ok(rate)
    }
}

/// Returns the plausible operations a cycle of CPUs with `isa`, with a tolerance of a tenth. The lower end is half of
/// the slowest CPU's rate, since another hardware thread of the core may take the other half.
fn plausible(isa: &str) -> RangeInclusive<f64> {
    match isa {
        // One register of sixteen lanes a cycle (Zen 4) or two (Sapphire Rapids, Zen 5).
        "avx512" => 14.0..=70.0,
        // One register of eight lanes a cycle (Zen 1) or two (later CPUs).
        "avx2" => 7.0..=35.0,
        // One register of four lanes (Cortex-A55) to four (Neoverse V2, Apple M1).
        _ if cfg!(target_arch = "aarch64") => 3.5..=35.0,
        // One call of `fmaf` for each value, with the instruction or without it.
        _ => 0.005..=4.0,
    }
}

/// Returns the operations a nanosecond of `work`, which returns the number of its operations.
fn rate_of(work: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    let operations = work();
    operations as f64 / start.elapsed().as_nanos() as f64
}

/// Runs instructions that take one cycle each and wait for each other. No compiler can merge an addition and an
/// exclusive or.
fn add_and_xor(turns: usize) -> usize {
    let (mut x, y, z) = black_box((1u64, 3u64, 5u64));
    for _ in 0..turns {
        for _ in 0..4 {
            x = x.wrapping_add(y) ^ z;
        }
    }
    black_box(x);
    8 * turns
}

/// Multiply-adds in more independent sums than the CPU computes at once: ten on x86, sixteen on aarch64. The sums are
/// vectors where the CPU has them, since LLVM may compile loops over arrays to gathers and scatters.
macro_rules! sums {
    ($sums:literal of $lanes:literal, $turns:expr, $splat:expr, $multiply_add:expr) => {{
        let (a, b) = ($splat(black_box(0.999)), $splat(black_box(0.001)));
        let mut sums = [$splat(1.0); $sums];
        for _ in 0..$turns {
            for sum in &mut sums {
                *sum = $multiply_add(*sum, a, b);
            }
        }
        black_box(sums);
        2 * $sums * $lanes * $turns
    }};
}

#[cfg(target_arch = "x86_64")]
fn multiply_add(isa: &str) -> usize {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};

    #[target_feature(enable = "avx512f")]
    fn avx512() -> usize {
        sums!(16 of 16, 50_000, _mm512_set1_ps, _mm512_fmadd_ps)
    }
    #[target_feature(enable = "avx2,fma")]
    fn avx2() -> usize {
        sums!(12 of 8, 100_000, _mm256_set1_ps, _mm256_fmadd_ps)
    }
    match isa {
        // SAFETY: the name comes from an `Isa`, which exists only where the CPU has the features.
        "avx512" => unsafe { avx512() },
        // SAFETY: as above.
        "avx2" => unsafe { avx2() },
        _ => sums!(12 of 1, 5_000, f32::from, f32::mul_add),
    }
}

#[cfg(target_arch = "aarch64")]
fn multiply_add(_: &str) -> usize {
    use std::arch::aarch64::{vdupq_n_f32, vfmaq_f32};

    // SAFETY: every aarch64 CPU that Rust's target is for has NEON.
    unsafe { sums!(16 of 4, 50_000, vdupq_n_f32, |sum, a, b| vfmaq_f32(b, sum, a)) }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn multiply_add(_: &str) -> usize {
    sums!(12 of 1, 5_000, f32::from, f32::mul_add)
}
