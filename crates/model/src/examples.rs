use std::{ops::BitOr, slice::Chunks};

use multiversion::multiversion;

/// Labelled examples, lent by the client without a copy, and the order in which to visit them.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    rows: Rows<'a>,
    row_len: usize,
    labels: &'a [u32],
    order: &'a [u32],
}

/// The rows of a partition as they lie in its file, row-major.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Pixels, 0..=255; a model sees `x / 255`.
    Bytes(&'a [u8]),
    /// Values that a model sees as they are.
    Floats(&'a [f32]),
}

/// One example, unscaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Row<'a> {
    /// Pixels, 0..=255; a model sees `x / 255`.
    Bytes(&'a [u8]),
    /// Values that a model sees as they are.
    Floats(&'a [f32]),
}

impl<'a> Examples<'a> {
    /// Examples of `row_len` values each, to be visited in `order` (row indices; those left out are not visited).
    ///
    /// # Panics
    /// If `rows` is not `row_len` values a label. (Over the ABI such a panic becomes an error.)
    pub fn new(rows: Rows<'a>, row_len: usize, labels: &'a [u32], order: &'a [u32]) -> Self {
        let values = match rows {
            Rows::Bytes(values) => values.len(),
            Rows::Floats(values) => values.len(),
        };
        assert_eq!(values, labels.len() * row_len, "values of rows of {row_len}, labels: {}", labels.len());
        Self { rows, row_len, labels, order }
    }

    /// How many examples are to be visited.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many values one example has.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// Batches of `size` examples in order; the last may be shorter. For evaluation; training uses
    /// [`Epoch::batches`](crate::Epoch::batches).
    ///
    /// # Panics
    /// If `size` is 0.
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

/// An iterator over the batches of some examples.
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

/// Some examples that are trained on, or evaluated, together.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    examples: Examples<'a>,
    order: &'a [u32],
}

impl<'a> Batch<'a> {
    /// How many examples it has; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The examples, unscaled, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let examples = self.examples;
        self.order.iter().map(move |&index| examples.row(index))
    }

    /// The labels, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        let labels = self.examples.labels;
        self.order.iter().map(move |&index| labels[index as usize])
    }

    /// Copies the examples, scaled, into `inputs`, shape (batch, row_len), row-major; returns the part that was filled.
    ///
    /// # Panics
    /// If `inputs` is shorter than that.
    pub fn gather<'b>(&self, inputs: &'b mut [f32]) -> &'b [f32] {
        let filled = &mut inputs[..self.len() * self.examples.row_len];
        // Rows lie anywhere in a file that is larger than the caches. Touched first, they come side by side; one after the
        // other they took a tenth of an epoch.
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

/// Reads a value of each cache line, of `LINE` values, with as few instructions as it takes: the CPU waits for as many lines
/// at once as it has instructions in hand.
fn touch<T: Copy, const LINE: usize>(row: &[T], bits: impl Fn(T) -> u32) -> u32 {
    let (lines, rest) = row.as_chunks::<LINE>();
    let firsts = lines.iter().map(|line| line[0]);
    firsts.chain(rest.last().copied()).fold(0, |all, value| all | bits(value))
}

/// Twice as fast with the conversions of AVX2; the bits are the same, since nothing is fused.
#[multiversion(targets("x86_64+avx2"))]
fn scale_row(pixels: &[u8], out: &mut [f32]) {
    out.iter_mut().zip(pixels).for_each(|(o, &x)| *o = scale(x));
}

/// x / 255, correctly rounded (a test looks at all 256), without a division, which takes twice as long: 1 / 255 in two
/// parts, of which the first times any x is exact.
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
            // By whatever instructions this CPU has, and by those that every one has.
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
}
