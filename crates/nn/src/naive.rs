//! The promise of [`kernel`](crate::kernel) as plain loops, and tests that compare them with each kernel on each
//! instruction set.

use proptest::prelude::*;

use crate::{
    buffer::padded,
    init,
    isa::Isa,
    kernel::{
        ColumnMasks, Masks, Matrix, PACKED, Pad, Pool, PoolGradient, Product, Relu, ReluGradient, RowMasks, Squares,
        Transpose, WeightGradient, is_narrow,
    },
    layer::{LayerSpec, Pass, Shape},
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

/// A convolution of a batch: the batch size, the shape of an image, and the channels and the side of the kernel.
#[derive(Debug, Clone, Copy)]
struct ConvCase {
    batch: usize,
    image: Shape,
    channels: usize,
    side: usize,
}

impl ConvCase {
    fn out(&self) -> Shape {
        let (_, height, width) = self.image.dimensions();
        Shape::image(self.channels, height + 1 - self.side, width + 1 - self.side)
    }

    fn taps(&self) -> usize {
        self.image.channels * self.side * self.side
    }

    /// Calls `visit` for each product of the convolution, in order: with the index of the output, of the tap in the
    /// weight, and of the pixel.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (planes, height, width) = self.image.dimensions();
        let (_, out_height, out_width) = self.out().dimensions();
        for index in 0..self.batch * self.out().len() {
            let (x, y) = (index % out_width, index / out_width % out_height);
            let (channel, image) = (index / self.out().positions() % self.channels, index / self.out().len());
            for tap in 0..self.taps() {
                let (plane, row, column) =
                    (tap / (self.side * self.side), tap / self.side % self.side, tap % self.side);
                let pixel = ((image * planes + plane) * height + y + row) * width + x + column;
                visit(index, channel * self.taps() + tap, pixel);
            }
        }
    }

    /// Returns the outputs, the gradient at the pixels, and those of weight and bias, by plain loops.
    fn naive(&self, weights: &[f32], images: &[f32], delta: &[f32]) -> [Vec<f32>; 3] {
        let (weight, bias) = weights.split_at(self.channels * self.taps());
        let positions = self.out().positions();
        let mut out: Vec<f32> = (0..delta.len()).map(|index| bias[index / positions % self.channels]).collect();
        let mut gradient = vec![0.0; weights.len()];
        // For each image the gradient of each patch.
        let patches = self.batch * self.taps() * positions;
        let (mut of_patches, mut pixels) = (vec![0.0f32; patches], vec![0; patches]);
        self.products(|index, tap, pixel| {
            out[index] = weight[tap].mul_add(images[pixel], out[index]);
            gradient[tap] = delta[index].mul_add(images[pixel], gradient[tap]);
            let image = index / self.out().len();
            let patch = (image * self.taps() + tap % self.taps()) * positions + index % positions;
            of_patches[patch] = weight[tap].mul_add(delta[index], of_patches[patch]);
            pixels[patch] = pixel;
        });
        let mut below = vec![0.0; images.len()];
        of_patches.iter().zip(pixels).for_each(|(value, pixel)| below[pixel] += value);
        for (index, plane) in delta.chunks_exact(positions).enumerate() {
            gradient[weight.len() + index % self.channels] += crate::math::sum(plane);
        }
        [out, below, gradient]
    }

    /// Returns the same by the layer.
    fn layer(&self, isa: Isa, weights: &[f32], images: &[f32], delta: &[f32]) -> [Vec<f32>; 3] {
        let spec = LayerSpec::Conv { channels: self.channels, kernel: self.side };
        let mut layer = spec.build(isa, self.image, 0, 0).unwrap();
        let (inputs, outputs) = (self.image.len(), self.out().len());
        let (images, delta) = (pad(isa, images, inputs), pad(isa, delta, outputs));
        let images = Matrix::padded(&images, self.batch, inputs);
        let delta = Matrix::padded(&delta, self.batch, outputs);
        let pass = Pass { isa, weights, training: None };
        layer.forward(&pass, images);
        let mut below = vec![f32::NAN; self.batch * padded(inputs)];
        layer.backward(&pass, images, delta, Some(&mut below));
        let mut gradient = vec![f32::NAN; weights.len()];
        layer.apply(&mut StepRule::Store(Store), &mut gradient, images, delta);
        [unpad(layer.outputs(self.batch).values, outputs), unpad(&below, inputs), gradient]
    }
}

fn conv_case() -> impl Strategy<Value = (ConvCase, u32, u64)> {
    // Positions that are no multiple of the padding, fewer than a run, and as many as a wide product.
    let sides = (1usize..5, 1usize..20, 1usize..20);
    (1usize..4, 1usize..4, sides, 1usize..20, 1u32..10, any::<u64>()).prop_map(
        |(batch, planes, (side, rows, columns), channels, zeros, seed)| {
            let image = Shape::image(planes, rows + side - 1, columns + side - 1);
            (ConvCase { batch, image, channels, side }, zeros, seed)
        },
    )
}

/// Returns the maxima of the squares and the gradient at the pixels, by plain loops.
fn pooled(squares: Squares, image: &[f32], delta: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (channels, height, width) = squares.out().dimensions();
    let (_, image_height, image_width) = squares.image.dimensions();
    let (mut maxima, mut gradient) = (Vec::new(), vec![0.0; image.len()]);
    for (index, delta) in (0..channels * height * width).zip(delta) {
        let (channel, y, x) = (index / (height * width), index / width % height, index % width);
        let pixels = (0..squares.side * squares.side).map(|i| {
            let (row, column) = (y * squares.side + i / squares.side, x * squares.side + i % squares.side);
            (channel * image_height + row) * image_width + column
        });
        let best = pixels.reduce(|best, at| if image[at] > image[best] { at } else { best }).unwrap();
        maxima.push(image[best]);
        gradient[best] = *delta;
    }
    (maxima, gradient)
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
    fn convolutions_have_the_bits_of_plain_loops((case, zeros, seed) in conv_case()) {
        let weights = matrix(1, case.channels * (case.taps() + 1), 0, seed);
        let images = matrix(case.batch, case.image.len(), 4, seed + 1);
        let delta = matrix(case.batch, case.out().len(), zeros, seed + 2);
        let expected = case.naive(&weights, &images, &delta).map(|values| bits(&values));
        for isa in Isa::available() {
            let by_layer = case.layer(isa, &weights, &images, &delta).map(|values| bits(&values));
            prop_assert!(by_layer == expected, "{:?}", isa);
        }
    }

    #[test]
    fn maxima_have_the_bits_of_plain_loops(
        (channels, height, width) in (1usize..4, 1usize..20, 1usize..20),
        side in 1usize..5,
        seed: u64,
    ) {
        prop_assume!(side <= height && side <= width);
        let squares = Squares { image: Shape::image(channels, height, width), side };
        // Few different values, so that several pixels of a square are the greatest.
        let image: Vec<f32> = matrix(1, squares.image.len(), 5, seed).iter().map(|x| x.round()).collect();
        let delta = matrix(1, squares.out().len(), 0, seed + 1);
        let (maxima, gradient) = pooled(squares, &image, &delta);
        for isa in Isa::available() {
            let (mut out, mut below) = (vec![f32::NAN; maxima.len()], vec![f32::NAN; image.len()]);
            isa.run(Pool { squares, image: &image, out: &mut out });
            isa.run(PoolGradient { squares, image: &image, maxima: &out, delta: &delta, gradient: &mut below });
            prop_assert_eq!((bits(&out), bits(&below)), (bits(&maxima), bits(&gradient)), "{:?}", isa);
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
