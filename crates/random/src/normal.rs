//! The standard normal distribution by inversion. One uniform number gives one value, without rejection, so that a
//! value depends on its place in the stream alone.

use rand_chacha::ChaCha8Rng;

use crate::key::unit;

/// Draws a standard normal sample, which takes one `u64` of the stream.
///
/// The magnitude is at most 8.2095, the quantile of 2⁻⁵³, which is the smallest number of [`unit()`]. A true normal
/// variable exceeds 8.2095 once in 4.5 · 10¹⁵ draws. Both tails have the same values, since 1 − `p` is exact for each
/// `p` of [`unit()`].
pub fn standard(rng: &mut ChaCha8Rng) -> f64 {
    quantile(unit(rng))
}

/// Returns the x below which a standard normal variable falls with probability `p`, 0 < `p` < 1. The algorithm is AS
/// 241, PPND16 (Wichura 1988), to about 1 part in 10¹⁶.
pub fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(&CENTRE, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-libm::log(tail)).sqrt();
    let x = if r <= 5.0 { ratio(&TAIL, r - 1.6) } else { ratio(&FAR_TAIL, r - 5.0) };
    if q < 0.0 { -x } else { x }
}

/// Numerator and denominator of a rational function, from the highest power down.
type Ratio = [[f64; 8]; 2];

/// Evaluates by multiplications and additions that are not fused: `f64::mul_add` is slow on CPUs whose FMA is not asked
/// for.
#[inline(always)]
fn ratio([numerator, denominator]: &Ratio, r: f64) -> f64 {
    let horner = |c: &[f64; 8]| c[1..].iter().fold(c[0], |sum, c| sum * r + c);
    horner(numerator) / horner(denominator)
}

#[rustfmt::skip]
const CENTRE: Ratio = [
    [
        2.509_080_928_730_122_7e3, 3.343_057_558_358_813e4, 6.726_577_092_700_87e4,
        4.592_195_393_154_987e4, 1.373_169_376_550_946e4, 1.971_590_950_306_551_3e3,
        1.331_416_678_917_843_8e2, 3.387_132_872_796_366_5,
    ],
    [
        5.226_495_278_852_854e3, 2.872_908_573_572_194_3e4, 3.930_789_580_009_271e4,
        2.121_379_430_158_659_7e4, 5.394_196_021_424_751e3, 6.871_870_074_920_579e2,
        4.231_333_070_160_091e1, 1.0,
    ],
];

#[rustfmt::skip]
const TAIL: Ratio = [
    [
        7.745_450_142_783_414e-4, 2.272_384_498_926_918_4e-2, 2.417_807_251_774_506e-1,
        1.270_458_252_452_368_4, 3.647_848_324_763_204_5, 5.769_497_221_460_691,
        4.630_337_846_156_546, 1.423_437_110_749_683_5,
    ],
    [
        1.050_750_071_644_416_9e-9, 5.475_938_084_995_345e-4, 1.519_866_656_361_645_7e-2,
        1.481_039_764_274_800_8e-1, 6.897_673_349_851e-1, 1.676_384_830_183_803_8,
        2.053_191_626_637_759, 1.0,
    ],
];

#[rustfmt::skip]
const FAR_TAIL: Ratio = [
    [
        2.010_334_399_292_288_1e-7, 2.711_555_568_743_487_6e-5, 1.242_660_947_388_078_4e-3,
        2.653_218_952_657_612_4e-2, 2.965_605_718_285_048_7e-1, 1.784_826_539_917_291_3,
        5.463_784_911_164_114, 6.657_904_643_501_103,
    ],
    [
        2.044_263_103_389_939_7e-15, 1.421_511_758_316_446e-7, 1.846_318_317_510_054_8e-5,
        7.868_691_311_456_133e-4, 1.487_536_129_085_061_5e-2, 1.369_298_809_227_358e-1,
        5.998_322_065_558_88e-1, 1.0,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_function_undoes_it() {
        for i in 1..100_000 {
            let p = f64::from(i) / 100_000.0;
            let back = 0.5 * libm::erfc(-quantile(p) / std::f64::consts::SQRT_2);
            assert!((back - p).abs() < 1e-14, "{p}: {back}");
        }
    }

    #[test]
    fn far_tails_are_finite_and_symmetric() {
        let p = 0.5 * f64::EPSILON;
        assert!((quantile(p) + 8.209_536).abs() < 1e-5, "{}", quantile(p));
        assert_eq!(quantile(1.0 - p), -quantile(p));
        assert_eq!(quantile(1.0 - 0.25), -quantile(0.25));
        assert_eq!(quantile(0.5), 0.0);
    }
}
