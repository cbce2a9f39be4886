//! The promise of [`kernel`](crate::kernel) as plain loops, and tests that compare them with each kernel on each
//! instruction set.

use proptest::prelude::*;

use crate::{
    buffer::padded,
    init,
    isa::Isa,
    kernel::{
        ColumnMasks, Masks, Matrix, PACKED, Pad, Product, Relu, ReluGradient, RowMasks, Transpose, WeightGradient,
        is_narrow,
    },
    rule::{StepRule, Store},
};

/// Returns `start + left · right` by plain loops; shapes (rows, inner) and (inner, columns), without padding.
fn product(left: &[f32], right: &[f32], inner: usize, columns: usize, start: &[f32]) -> Vec<f32> {
    let mut out = start.to_vec();
    for (row, out) in left.chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
        for (i, &x) in row.iter().enumerate().filter(|(_, x)| **x != 0.0) {
            for (c, sum) in out.iter_mut().enumerate() {
                *sum = x.mul_add(right[i * columns + c], *sum);
            }
        }
    }
    out
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns).copied()).collect()
}

/// Returns a matrix of normal values, of which `zeros` tenths are 0.
fn matrix(rows: usize, columns: usize, zeros: u32, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; rows * columns];
    init::he_normal(&mut values, 2, seed, 0);
    let mut coins = values.clone();
    init::he_normal(&mut coins, 2, seed, 1);
    for (value, coin) in values.iter_mut().zip(coins) {
        if (coin.to_bits() >> 3) % 10 < zeros {
            *value = 0.0;
        }
    }
    values
}

fn rows(values: &[f32], columns: usize) -> Matrix<'_> {
    Matrix { values, stride: columns, rows: values.len() / columns, columns }
}

fn pad(isa: Isa, values: &[f32], columns: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; values.len() / columns * padded(columns)];
    isa.run(Pad { matrix: rows(values, columns), out: &mut out });
    out
}

fn unpad(values: &[f32], columns: usize) -> Vec<f32> {
    values.chunks_exact(padded(columns)).flat_map(|row| row[..columns].to_vec()).collect()
}

/// Returns the masks for a product with `columns` columns. A narrow product must not read them, so that they stay
/// empty.
fn masks(isa: Isa, matrix: Matrix<'_>, columns: usize) -> Masks {
    let mut masks = Masks::new();
    if is_narrow(columns) {
        return masks;
    }
    // Filled twice: the first contents must not matter.
    for rows in [matrix.rows / 2, matrix.rows] {
        isa.run(RowMasks { matrix: Matrix { rows, ..matrix }, masks: &mut masks });
        isa.run(ColumnMasks { rows, columns: matrix.columns, masks: &mut masks });
    }
    masks
}

/// Returns `start + left · right` by the kernels.
fn multiplied(isa: Isa, left: &[f32], right: &[f32], [m, k, n]: [usize; 3], start: &[f32]) -> Vec<f32> {
    let (right, mut sum) = (pad(isa, right, n), pad(isa, start, n));
    // Rows of the left operand are padded, as in hidden layers.
    let left = pad(isa, left, k);
    let left = Matrix { values: &left, stride: padded(k), rows: m, columns: k };
    let masks = masks(isa, left, n);
    let packed = &mut [0.0; PACKED];
    Product { left, masks: &masks, right: &right, columns: padded(n), sum: &mut sum, packed }.run(isa);
    unpad(&sum, n)
}

/// Returns `leftᵀ · delta` by the kernels.
fn weight_gradient(isa: Isa, left: &[f32], delta: &[f32], [m, k, n]: [usize; 3]) -> Vec<f32> {
    let delta = pad(isa, delta, n);
    let (left, right) = (rows(left, k), Matrix { values: &delta, stride: padded(n), rows: m, columns: n });
    let masks = masks(isa, left, n);
    let mut target = vec![f32::NAN; k * n];
    let rule = &mut StepRule::Store(Store);
    let packed = &mut crate::buffer::zeros(0);
    WeightGradient { left, masks: &masks, right, target: &mut target, offset: 0, packed }.run(isa, rule);
    target
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn shape() -> impl Strategy<Value = (usize, usize, usize, u32, u64)> {
    // Sizes near those of tiles, panels and words; one stretch of 64 after a pair of them; single rows, values and
    // columns. A third of the matrices has no zeros.
    let inner = prop_oneof![1usize..10, 30usize..35, 60usize..100];
    let columns = prop_oneof![1usize..18, 60usize..68, 90usize..145, 190usize..200, 250usize..270];
    (0usize..70, inner, columns, prop_oneof![Just(0u32), Just(5), 1u32..=10], any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_have_the_bits_of_plain_loops((m, k, n, zeros, seed) in shape()) {
        let (left, right) = (matrix(m, k, zeros, seed), matrix(k, n, 0, seed + 1));
        let start = matrix(m, n, 5, seed + 2);
        let expected = bits(&product(&left, &right, k, n, &start));
        for isa in Isa::available() {
            prop_assert_eq!(&bits(&multiplied(isa, &left, &right, [m, k, n], &start)), &expected, "{:?}", isa);
        }
    }

    #[test]
    fn weight_gradients_have_the_bits_of_plain_loops((m, k, n, zeros, seed) in shape()) {
        let (left, delta) = (matrix(m, k, zeros, seed), matrix(m, n, 3, seed + 1));
        let expected = match m {
            0 => vec![0; k * n],
            _ => bits(&product(&transposed(&left, k), &delta, m, n, &vec![0.0; k * n])),
        };
        for isa in Isa::available() {
            prop_assert_eq!(&bits(&weight_gradient(isa, &left, &delta, [m, k, n])), &expected, "{:?}", isa);
        }
    }

    #[test]
    fn infinities_and_nan_are_the_same_everywhere((m, k, n, zeros, seed) in shape()) {
        let (left, start) = (matrix(m, k, zeros, seed), matrix(m, n, 5, seed + 2));
        let with_infinities = |rows, seed| {
            let mut values = matrix(rows, n, 3, seed);
            values.iter_mut().step_by(7).for_each(|value| *value = f32::INFINITY);
            values
        };
        let (right, delta) = (with_infinities(k, seed + 1), with_infinities(m, seed + 3));
        // The bits of a NaN differ between instruction sets.
        let seen = |mut values: Vec<f32>| {
            values.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = f32::NAN);
            bits(&values)
        };
        let on = |isa| {
            let product = multiplied(isa, &left, &right, [m, k, n], &start);
            (seen(product), seen(weight_gradient(isa, &left, &delta, [m, k, n])))
        };
        let expected = on(Isa::available()[0]);
        for isa in Isa::available() {
            prop_assert!(on(isa) == expected, "{isa:?}");
        }
    }

    #[test]
    fn a_relu_lets_positive_values_through(mut values in prop::collection::vec(any::<f32>(), 0..70)) {
        values.extend([f32::NAN, -0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY]);
        let after: Vec<f32> = (0..values.len()).map(|i| i as f32 - 9.0).collect();
        let relu: Vec<f32> = values.iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect();
        let gradient = relu.iter().zip(&after).map(|(&x, &after)| if x > 0.0 { after } else { 0.0 });
        let gradient: Vec<f32> = gradient.collect();
        for isa in Isa::available() {
            let (mut outputs, mut before) = (vec![f32::NAN; values.len()], vec![f32::NAN; values.len()]);
            isa.run(Relu { inputs: &values, outputs: &mut outputs });
            isa.run(ReluGradient { outputs: &outputs, after: &after, before: &mut before });
            prop_assert_eq!((bits(&outputs), bits(&before)), (bits(&relu), bits(&gradient)), "{:?}", isa);
        }
    }

    #[test]
    fn transposes_are_padded_with_zeros(m in 1usize..40, n in 1usize..40, seed: u64) {
        let values = matrix(m, n, 0, seed);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; n * padded(m)];
            isa.run(Transpose { matrix: rows(&values, n), out: &mut out });
            prop_assert_eq!(unpad(&out, m), transposed(&values, n));
            prop_assert!(out.chunks_exact(padded(m)).all(|row| row[m..].iter().all(|x| x.to_bits() == 0)));
        }
    }
}
