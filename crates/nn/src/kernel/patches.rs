//! The patches of an image that a convolution multiplies by its weight, and the sum of their gradients.

use crate::{buffer::padded, isa::Kernel, layer::Shape};

/// The number of pixels that are copied at once. LLVM compiles a copy of known length to few instructions; a call of
/// `memcpy` for a row of an image costs more than the copy.
const RUN: usize = 8;

/// A square kernel that moves over an image, one pixel at a time, without padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) image: Shape,
    /// The height and the width of the kernel.
    pub(crate) side: usize,
}

impl Window {
    pub(crate) const fn out_height(self) -> usize {
        self.image.height + 1 - self.side
    }

    pub(crate) const fn out_width(self) -> usize {
        self.image.width + 1 - self.side
    }

    /// Returns the number of places of the kernel.
    pub(crate) const fn positions(self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Returns the number of values under the kernel.
    pub(crate) const fn taps(self) -> usize {
        self.image.channels * self.side * self.side
    }

    /// Returns the channel, the row and the column of a tap. Taps are in the order of the weight: by channel, row,
    /// column.
    const fn tap(self, tap: usize) -> (usize, usize, usize) {
        (tap / (self.side * self.side), tap / self.side % self.side, tap % self.side)
    }
}

/// Writes the patches of an image: row i of `out` has the values under tap i of the kernel, one for each position.
///
/// Rows of `out` are padded to a multiple of [`LANES`](crate::buffer::LANES). The padding is not written.
pub(crate) struct Patches<'a> {
    pub(crate) window: Window,
    pub(crate) image: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Patches<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Self { window, image, out } = self;
        let Shape { channels, width, interleaved, .. } = window.image;
        // The distances between the channels of a pixel, and between two pixels of a row.
        let (plane, pixel) = if interleaved { (1, channels) } else { (window.image.positions(), 1) };
        for (tap, out) in out.chunks_exact_mut(padded(window.positions())).take(window.taps()).enumerate() {
            let (channel, y, x) = window.tap(tap);
            let source = &image[channel * plane + (y * width + x) * pixel..];
            let rows = out[..window.positions()].chunks_exact_mut(window.out_width());
            for (row, out) in rows.enumerate() {
                let source = &source[row * width * pixel..];
                if interleaved {
                    out.iter_mut().zip(source.iter().step_by(pixel)).for_each(|(out, value)| *out = *value);
                } else {
                    copy(source, out);
                }
            }
        }
    }
}

/// Copies the first values of `source` to `out`, by runs; the last run overlaps the one before.
#[inline(always)]
fn copy(source: &[f32], out: &mut [f32]) {
    let Some(last) = out.len().checked_sub(RUN) else {
        return out.iter_mut().zip(source).for_each(|(out, value)| *out = *value);
    };
    let source = &source[..out.len()];
    let mut at = 0;
    while at < last {
        *super::part_mut::<RUN>(out, at) = *super::part(source, at);
        at += RUN;
    }
    *super::part_mut::<RUN>(out, last) = *super::part(source, last);
}

/// Sums the gradients of patches: `image` receives for each pixel the sum over the taps that saw it, in order of the
/// taps. The image has its channels as planes.
pub(crate) struct AddPatches<'a> {
    pub(crate) window: Window,
    /// Shape (taps, padded positions).
    pub(crate) patches: &'a [f32],
    pub(crate) image: &'a mut [f32],
}

impl Kernel for AddPatches<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Self { window, patches, image } = self;
        let (plane, width) = (window.image.positions(), window.image.width);
        image.fill(0.0);
        for (tap, patch) in patches.chunks_exact(padded(window.positions())).take(window.taps()).enumerate() {
            let (channel, y, x) = window.tap(tap);
            let image = &mut image[channel * plane + y * width + x..];
            let rows = patch[..window.positions()].chunks_exact(window.out_width());
            for (row, patch) in rows.enumerate() {
                add(patch, &mut image[row * width..]);
            }
        }
    }
}

/// Adds `values` to the first values of `sums`.
#[inline(always)]
fn add(values: &[f32], sums: &mut [f32]) {
    let (runs, rest) = values.as_chunks::<RUN>();
    let (sums, rest_sums) = sums[..values.len()].as_chunks_mut::<RUN>();
    for (sums, run) in sums.iter_mut().zip(runs) {
        for i in 0..RUN {
            sums[i] += run[i];
        }
    }
    rest_sums.iter_mut().zip(rest).for_each(|(sum, value)| *sum += value);
}
