//! The maximum of each square of an image, and its gradient.

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

/// Writes the maximum of each square to `out`. A NaN counts only as the first value of its square.
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
            for (x, out) in out.iter_mut().enumerate() {
                *out = image[first_greatest(image, start + x * side, side, width)];
            }
        }
    }
}

/// Writes the gradient at the pixels: the first greatest pixel of a square receives the gradient of its maximum, and
/// the others receive 0.
pub(crate) struct PoolGradient<'a> {
    pub(crate) squares: Squares,
    pub(crate) image: &'a [f32],
    /// The gradient at the maxima.
    pub(crate) delta: &'a [f32],
    pub(crate) gradient: &'a mut [f32],
}

impl Kernel for PoolGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Self { squares, image, delta, gradient } = self;
        let (side, width) = (squares.side, squares.image.width);
        gradient.fill(0.0);
        for (start, delta) in squares.rows().zip(delta.chunks_exact(squares.out().width)) {
            for (x, &delta) in delta.iter().enumerate() {
                gradient[first_greatest(image, start + x * side, side, width)] = delta;
            }
        }
    }
}

/// Returns the index of the first greatest pixel of the square that begins at pixel `start`.
#[inline(always)]
fn first_greatest(image: &[f32], start: usize, side: usize, width: usize) -> usize {
    let mut best = start;
    for y in 0..side {
        for at in start + y * width..start + y * width + side {
            best = if image[at] > image[best] { at } else { best };
        }
    }
    best
}
