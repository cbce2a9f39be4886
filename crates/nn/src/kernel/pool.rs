//! The maximum of each square of an image, and its gradient.

use std::slice::ChunksExact;

use crate::{isa::Kernel, layer::Shape};

/// Squares that cover an image without overlap, from its upper left corner on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Squares {
    pub(crate) image: Shape,
    /// The height and the width of a square.
    pub(crate) side: usize,
}

impl Squares {
    /// Returns the shape of the image of the maxima.
    pub(crate) const fn out(self) -> Shape {
        let Shape { channels, height, width, .. } = self.image;
        Shape::image(channels, height / self.side, width / self.side)
    }

    /// Returns the first pixel of each row of squares of the whole image.
    #[inline(always)]
    fn rows(self) -> impl Iterator<Item = usize> {
        let Shape { channels, height, .. } = self.out();
        let (plane, row) = (self.image.positions(), self.side * self.image.width);
        (0..channels).flat_map(move |channel| (0..height).map(move |y| channel * plane + y * row))
    }
}

/// Writes the maximum of each square to `out`. A NaN counts as the smallest of all values.
pub(crate) struct Pool<'a> {
    pub(crate) squares: Squares,
    pub(crate) image: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Self { squares, image, out } = self;
        let (side, width) = (squares.side, squares.image.width);
        for (start, out) in squares.rows().zip(out.chunks_exact_mut(squares.out().width)) {
            out.fill(f32::NEG_INFINITY);
            for y in 0..side {
                let row = image[start + y * width..].chunks_exact(side);
                // The compiler knows the length of the usual square.
                if side == 2 { raise(out, row, 2) } else { raise(out, row, side) }
            }
        }
    }
}

/// Raises each of `maxima` to the greatest of its `side` pixels. A choice between two values has no branch, which the
/// CPU could not predict.
#[inline(always)]
fn raise(maxima: &mut [f32], row: ChunksExact<'_, f32>, side: usize) {
    for (best, pixels) in maxima.iter_mut().zip(row) {
        for &pixel in &pixels[..side] {
            *best = if pixel > *best { pixel } else { *best };
        }
    }
}

/// Writes the gradient at the pixels: the first pixel of a square that has its maximum receives the gradient, and the
/// others receive 0.
pub(crate) struct PoolGradient<'a> {
    pub(crate) squares: Squares,
    pub(crate) image: &'a [f32],
    pub(crate) maxima: &'a [f32],
    /// The gradient at the maxima.
    pub(crate) delta: &'a [f32],
    pub(crate) gradient: &'a mut [f32],
}

impl Kernel for PoolGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Self { squares, image, maxima, delta, gradient } = self;
        let (side, width) = (squares.side, squares.image.width);
        gradient.fill(0.0);
        let columns = squares.out().width;
        let rows = maxima.chunks_exact(columns).zip(delta.chunks_exact(columns));
        for (start, (maxima, delta)) in squares.rows().zip(rows) {
            for ((x, best), delta) in maxima.iter().enumerate().zip(delta) {
                let mut left = *delta;
                for y in 0..side {
                    let at = start + y * width + x * side;
                    for (out, pixel) in gradient[at..at + side].iter_mut().zip(&image[at..at + side]) {
                        let is_first = pixel == best;
                        *out = if is_first { left } else { 0.0 };
                        left = if is_first { 0.0 } else { left };
                    }
                }
            }
        }
    }
}
