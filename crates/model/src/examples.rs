//! The examples that a client lends to a model, in the order in which to visit them.

use std::{ops::BitOr, slice::Chunks};

use multiversion::multiversion;

/// Examples with their targets, which the client lends without a copy, and the order in which to visit them.
///
/// ```
/// use fedpipe_model::{Examples, Row, Rows};
///
/// // Three examples of two pixels each; the second one is not visited.
/// let examples = Examples::new(Rows::Bytes(&[0, 255, 1, 1, 51, 102]), 2, &[7, 8, 9], &[2, 0]);
/// let mut inputs = [0.0; 2 * 2];
/// for batch in examples.batches(2) {
///     assert_eq!(batch.gather(&mut inputs), [0.2, 0.4, 0.0, 1.0]); // (batch, values)
///     assert_eq!(batch.labels().collect::<Vec<_>>(), [9, 7]);
///     assert_eq!(batch.rows().next(), Some(Row::Bytes(&[51, 102])));
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    rows: Rows<'a>,
    row_len: usize,
    targets: Targets<'a>,
    order: &'a [u32],
}

/// The targets of all rows of a partition, as they are stored in its file.
///
/// ```
/// use fedpipe_model::{Examples, Rows, Targets};
///
/// fn is_regression(examples: &Examples<'_>) -> bool {
///     matches!(examples.targets(), Targets::Real(_))
/// }
/// let rows = Rows::Floats(&[0.5, 1.5]);
/// assert!(is_regression(&Examples::new(rows, 1, &[0.25, -3.0], &[0, 1])));
/// assert!(!is_regression(&Examples::new(rows, 1, &[7, 8], &[0, 1])));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Targets<'a> {
    /// Labels, each the number of a class.
    Classes(&'a [u32]),
    /// Real numbers.
    Real(&'a [f32]),
}

impl Targets<'_> {
    fn len(&self) -> usize {
        match self {
            Targets::Classes(labels) => labels.len(),
            Targets::Real(values) => values.len(),
        }
    }
}

/// The type of a target: `u32` for a label, `f32` for a real number.
///
/// ```
/// use fedpipe_model::{Examples, Rows, TargetValue};
///
/// fn count<T: TargetValue>(rows: &[f32], targets: &[T]) -> usize {
///     Examples::new(Rows::Floats(rows), 1, targets, &[0, 1]).len()
/// }
/// assert_eq!(count(&[0.5, 1.5], &[7_u32, 8]), count(&[0.5, 1.5], &[0.25_f32, -3.0]));
/// ```
pub trait TargetValue: Sized {
    /// Returns these values as the targets of examples.
    fn targets(values: &[Self]) -> Targets<'_>;
}

impl TargetValue for u32 {
    fn targets(values: &[Self]) -> Targets<'_> {
        Targets::Classes(values)
    }
}

impl TargetValue for f32 {
    fn targets(values: &[Self]) -> Targets<'_> {
        Targets::Real(values)
    }
}

/// All rows of a partition, row-major, as they are stored in its file.
///
/// ```
/// use fedpipe_model::{Examples, Rows};
///
/// let (pixels, values) = (Rows::Bytes(&[0, 255]), Rows::Floats(&[0.0, 1.0]));
/// let gathered = |rows| {
///     let batch = Examples::new(rows, 2, &[0], &[0]).batches(1).next().unwrap();
///     batch.gather(&mut [0.0; 2]).to_vec()
/// };
/// assert_eq!(gathered(pixels), gathered(values));
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Pixels from 0 to 255; [`Batch::gather`] scales them to 0..=1.
    Bytes(&'a [u8]),
    /// Values that [`Batch::gather`] copies unchanged.
    Floats(&'a [f32]),
}

/// One unscaled example.
///
/// ```
/// # use fedpipe_model::Row;
/// fn mean(row: Row<'_>) -> f32 {
///     match row {
///         Row::Bytes(pixels) => pixels.iter().map(|&x| f32::from(x)).sum::<f32>() / pixels.len() as f32,
///         Row::Floats(values) => values.iter().sum::<f32>() / values.len() as f32,
///     }
/// }
/// assert_eq!(mean(Row::Bytes(&[0, 255])), 127.5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Row<'a> {
    /// Pixels from 0 to 255; [`Batch::gather`] scales them to 0..=1.
    Bytes(&'a [u8]),
    /// Values that [`Batch::gather`] copies unchanged.
    Floats(&'a [f32]),
}

impl<'a> Examples<'a> {
    /// Returns examples of `row_len` values each, with their labels (`u32`) or real targets (`f32`). `order` lists the
    /// indices of the rows to visit.
    ///
    /// # Panics
    /// Panics if the number of values is not `row_len` times the number of targets.
    pub fn new<T: TargetValue>(rows: Rows<'a>, row_len: usize, targets: &'a [T], order: &'a [u32]) -> Self {
        let targets = T::targets(targets);
        let values = match rows {
            Rows::Bytes(values) => values.len(),
            Rows::Floats(values) => values.len(),
        };
        assert_eq!(values, targets.len() * row_len, "values of rows of {row_len}, targets: {}", targets.len());
        Self { rows, row_len, targets, order }
    }

    /// Returns the number of examples to visit.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns `true` if there is no example to visit.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Returns the number of values in one example.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// Returns the targets of all rows, in the order of the rows.
    pub fn targets(&self) -> Targets<'a> {
        self.targets
    }

    /// Cuts the examples into batches of `size`, for evaluation; the last batch may be shorter. Training takes its
    /// batches from [`Epoch::batches`](crate::epoch::Epoch::batches).
    ///
    /// # Panics
    /// Panics if `size` is 0.
    pub fn batches(&self, size: usize) -> Batches<'a> {
        Batches { examples: *self, chunks: self.order.chunks(size) }
    }

    fn row(&self, index: u32) -> Row<'a> {
        let start = index as usize * self.row_len;
        match self.rows {
            Rows::Bytes(values) => Row::Bytes(&values[start..start + self.row_len]),
            Rows::Floats(values) => Row::Floats(&values[start..start + self.row_len]),
        }
    }
}

/// An iterator over the batches of [`Examples`], made by [`Examples::batches`].
///
/// ```
/// use fedpipe_model::{Batches, Examples, Rows};
///
/// fn visited(batches: Batches<'_>) -> Vec<Vec<u32>> {
///     batches.map(|batch| batch.labels().collect()).collect()
/// }
/// let examples = Examples::new(Rows::Floats(&[0.5, 1.5, 2.5]), 1, &[7, 8, 9], &[2, 0, 1]);
/// assert_eq!(visited(examples.batches(2)), [vec![9, 7], vec![8]]);
/// ```
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    examples: Examples<'a>,
    chunks: Chunks<'a, u32>,
}

impl<'a> Iterator for Batches<'a> {
    type Item = Batch<'a>;

    fn next(&mut self) -> Option<Batch<'a>> {
        let order = self.chunks.next()?;
        Some(Batch { examples: self.examples, order })
    }
}

/// Some of the [`Examples`], which a model trains on or evaluates together.
///
/// ```
/// # use fedpipe_model::{Examples, Rows};
/// let examples = Examples::new(Rows::Floats(&[0.5, 1.5, 2.5]), 1, &[3, 4, 5], &[0, 1, 2]);
/// let lengths: Vec<usize> = examples.batches(2).map(|batch| batch.len()).collect();
/// assert_eq!(lengths, [2, 1]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    examples: Examples<'a>,
    order: &'a [u32],
}

impl<'a> Batch<'a> {
    /// Returns the number of examples, which is never 0.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns the unscaled examples in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let examples = self.examples;
        self.order.iter().map(move |&index| examples.row(index))
    }

    /// Returns the labels in order.
    ///
    /// # Panics
    /// Panics if the targets are real.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        let Targets::Classes(labels) = self.examples.targets else {
            panic!("the examples have real targets and no labels; call Batch::targets");
        };
        self.order.iter().map(move |&index| labels[index as usize])
    }

    /// Returns the real targets in order.
    ///
    /// # Panics
    /// Panics if the targets are classes.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        let Targets::Real(values) = self.examples.targets else {
            panic!("the examples have labels and no real targets; call Batch::labels");
        };
        self.order.iter().map(move |&index| values[index as usize])
    }

    /// Copies the examples into `inputs`, shape (batch, row_len), row-major, and returns the part that was filled.
    /// Pixels are scaled to 0..=1.
    ///
    /// # Panics
    /// Panics if `inputs` is too short.
    pub fn gather<'b>(&self, inputs: &'b mut [f32]) -> &'b [f32] {
        let filled = &mut inputs[..self.len() * self.examples.row_len];
        // The rows are scattered over a file that is larger than the caches. One read per cache line lets the CPU fetch
        // many lines at once.
        let touched = self.rows().map(|row| match row {
            Row::Floats(values) => touch::<_, 16>(values, f32::to_bits),
            Row::Bytes(pixels) => touch::<_, 64>(pixels, u32::from),
        });
        std::hint::black_box(touched.fold(0, BitOr::bitor));
        for (row, out) in self.rows().zip(filled.chunks_exact_mut(self.examples.row_len)) {
            match row {
                Row::Floats(values) => out.copy_from_slice(values),
                Row::Bytes(pixels) => scale_row(pixels, out),
            }
        }
        filled
    }
}

/// Reads the first value of each cache line, which has `LINE` values. The fewer instructions the loop has, the more
/// lines the CPU fetches at once.
fn touch<T: Copy, const LINE: usize>(row: &[T], bits: impl Fn(T) -> u32) -> u32 {
    let (lines, rest) = row.as_chunks::<LINE>();
    let firsts = lines.iter().map(|line| line[0]);
    firsts.chain(rest.last().copied()).fold(0, |all, value| all | bits(value))
}

/// Scales the pixels of one row. AVX2 converts twice as fast, with the same bits, since no operation is fused.
#[multiversion(targets("x86_64+avx2"))]
fn scale_row(pixels: &[u8], out: &mut [f32]) {
    out.iter_mut().zip(pixels).for_each(|(o, &x)| *o = scale(x));
}

/// Returns x / 255, correctly rounded, without a slow division; a test checks all 256 values. The number 1 / 255 is the
/// sum of two parts, and the product of x and the first part is exact.
fn scale(x: u8) -> f32 {
    const HIGH: f32 = 257.0 / 65536.0;
    const LOW: f32 = (1.0_f64 / 255.0 - 257.0 / 65536.0) as f32;
    let x = f32::from(x);
    x * HIGH + x * LOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_scaled_by_a_correctly_rounded_division() {
        let pixels: Vec<u8> = (0..=u8::MAX).collect();
        let mut row = vec![0.0; 256];
        scale_row(&pixels, &mut row);
        for (x, scaled) in pixels.into_iter().zip(row) {
            let exact = (f32::from(x) / 255.0).to_bits();
            // With the instructions of this CPU, and with those that every CPU has.
            assert_eq!((scaled.to_bits(), scale(x).to_bits()), (exact, exact), "{x}");
        }
    }

    #[test]
    fn batches_follow_the_order_and_scale() {
        let (pixels, labels, order) = ([0, 255, 51, 102, 1, 2], [7, 8, 9], [2, 0, 1]);
        let examples = Examples::new(Rows::Bytes(&pixels), 2, &labels, &order);
        let batches: Vec<_> = examples.batches(2).collect();
        assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(batches[0].labels().collect::<Vec<_>>(), [9, 7]);
        let mut inputs = [f32::NAN; 4];
        assert_eq!(batches[0].gather(&mut inputs), [1.0 / 255.0, 2.0 / 255.0, 0.0, 1.0]);
        assert_eq!(batches[1].gather(&mut inputs), [0.2, 0.4]);
    }

    #[test]
    fn real_targets_follow_the_order() {
        let (values, targets, order) = ([0.5, 1.5, 2.5], [-1.0, 0.25, 4.0], [2, 0]);
        let examples = Examples::new(Rows::Floats(&values), 1, &targets, &order);
        let batch = examples.batches(2).next().unwrap();
        assert_eq!(batch.targets().collect::<Vec<_>>(), [4.0, -1.0]);
        assert_eq!(examples.targets(), Targets::Real(&targets));
    }

    #[test]
    #[should_panic(expected = "the examples have real targets and no labels; call Batch::targets")]
    fn real_targets_are_no_labels() {
        let examples = Examples::new(Rows::Floats(&[0.5]), 1, &[1.0], &[0]);
        drop(examples.batches(1).next().map(|batch| batch.labels()));
    }
}
