//! The sums of a direct convolution for neighbouring pixels of a register of channels.

use pulp::Simd;

use super::shape::ConvAxis;

/// Outputs whose sums are in registers together, and fewer of them for short lines.
pub(super) const PIXELS: usize = 14;
const FEW_PIXELS: usize = 7;

/// What the pixels of a line have in common.
pub(super) struct Sums<'a, S: Simd> {
    pub(super) x: &'a [S::f32s],
    pub(super) weights: &'a [S::f32s],
    /// For each line of the window and each channel of the group: where the window of pixel 0 starts in `x`, which wraps
    /// around below 0, and in the weights.
    pub(super) taps: &'a [(usize, usize)],
    /// What the sums start as.
    pub(super) bias: S::f32s,
    pub(super) axis: ConvAxis,
    /// Registers from a pixel of `x` to the next.
    pub(super) pixel: usize,
    pub(super) outputs: usize,
    /// The first channel of the output, and how many.
    pub(super) channels: (usize, usize),
}

impl<S: Simd> Sums<'_, S> {
    /// All of a number of pixels.
    #[inline(always)]
    pub(super) fn all_pixels(&self, simd: S, pixels: usize, out: &mut [f32]) {
        match self.axis.stride * self.pixel {
            1 => self.range::<1>(simd, (0, pixels), out),
            2 => self.range::<2>(simd, (0, pixels), out),
            _ => self.range::<0>(simd, (0, pixels), out),
        }
    }

    /// Pixels `from..to`, `STEP` registers apart, or any number of them if that is 0.
    ///
    /// The last ones end at the last pixel, wherever they start.
    #[inline(always)]
    pub(super) fn range<const STEP: usize>(
        &self,
        simd: S,
        (from, to): (usize, usize),
        out: &mut [f32],
    ) {
        let count = to - from;
        if count >= PIXELS {
            for pixel in (from..to).step_by(PIXELS) {
                self.pixels::<STEP, PIXELS>(simd, pixel.min(to - PIXELS), out);
            }
        } else if count >= FEW_PIXELS {
            for pixel in (from..to).step_by(FEW_PIXELS) {
                self.pixels::<STEP, FEW_PIXELS>(simd, pixel.min(to - FEW_PIXELS), out);
            }
        } else {
            for pixel in from..to {
                self.pixels::<STEP, 1>(simd, pixel, out);
            }
        }
    }

    /// `COUNT` neighbouring pixels.
    #[inline(always)]
    fn pixels<const STEP: usize, const COUNT: usize>(
        &self,
        simd: S,
        pixel: usize,
        out: &mut [f32],
    ) {
        let step = if STEP == 0 {
            self.axis.stride * self.pixel
        } else {
            STEP
        };
        let dilation = self.axis.kernel_dilation * self.pixel;
        let mut sums = [self.bias; COUNT];
        for &(x, weight) in self.taps {
            let mut at = x.wrapping_add(pixel * step);
            for weight in &self.weights[weight..][..self.axis.kernel] {
                let x = &self.x[at..][..(COUNT - 1) * step + 1];
                for (o, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add_e_f32s(x[o * step], *weight, *sum);
                }
                at = at.wrapping_add(dilation);
            }
        }
        for (o, sum) in sums.into_iter().enumerate() {
            self.store(simd, pixel + o, sum, out);
        }
    }

    /// Pixels `from..to` of this register of channels and of the next one, whose weights and bias are `next`.
    ///
    /// The input and the output are read and written in the order of memory.
    #[inline(always)]
    pub(super) fn range_of_two(
        &self,
        simd: S,
        next: (&[S::f32s], S::f32s),
        (from, to): (usize, usize),
        out: &mut [f32],
    ) {
        let count = to - from;
        for pixel in (from..to).step_by(FEW_PIXELS) {
            if count < FEW_PIXELS {
                for pixel in from..to {
                    self.pixels_of_two::<0, 1>(simd, next, pixel, out);
                }
                return;
            }
            let pixel = pixel.min(to - FEW_PIXELS);
            match self.axis.stride * self.pixel {
                2 => self.pixels_of_two::<2, FEW_PIXELS>(simd, next, pixel, out),
                4 => self.pixels_of_two::<4, FEW_PIXELS>(simd, next, pixel, out),
                _ => self.pixels_of_two::<0, FEW_PIXELS>(simd, next, pixel, out),
            }
        }
    }

    /// `COUNT` neighbouring pixels of two registers.
    #[inline(always)]
    fn pixels_of_two<const STEP: usize, const COUNT: usize>(
        &self,
        simd: S,
        (next, next_bias): (&[S::f32s], S::f32s),
        pixel: usize,
        out: &mut [f32],
    ) {
        let step = if STEP == 0 {
            self.axis.stride * self.pixel
        } else {
            STEP
        };
        let dilation = self.axis.kernel_dilation * self.pixel;
        let mut sums = [[self.bias, next_bias]; COUNT];
        for &(x, weight) in self.taps {
            let mut at = x.wrapping_add(pixel * step);
            let weights = self.weights[weight..].iter().zip(&next[weight..]);
            for (first, second) in weights.take(self.axis.kernel) {
                let x = &self.x[at..][..(COUNT - 1) * step + 2];
                for (o, [sum, next_sum]) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add_e_f32s(x[o * step], *first, *sum);
                    *next_sum = simd.mul_add_e_f32s(x[o * step + 1], *second, *next_sum);
                }
                at = at.wrapping_add(dilation);
            }
        }
        let first = self.channels.0;
        for (o, sums) in sums.into_iter().enumerate() {
            let out = &mut out[(pixel + o) * self.outputs + first..][..2 * S::F32_LANES];
            S::as_mut_simd_f32s(out).0.copy_from_slice(&sums);
        }
    }

    /// A pixel of whose window only the elements `seen` are inside along the last axis.
    #[inline(always)]
    pub(super) fn at_edge(&self, simd: S, pixel: usize, seen: (usize, usize), out: &mut [f32]) {
        let dilation = self.axis.kernel_dilation * self.pixel;
        let begin = pixel * self.axis.stride * self.pixel + seen.0 * dilation;
        let mut sum = self.bias;
        for &(x, weight) in self.taps {
            let mut at = x.wrapping_add(begin);
            for weight in &self.weights[weight + seen.0..weight + seen.1] {
                sum = simd.mul_add_e_f32s(self.x[at], *weight, sum);
                at = at.wrapping_add(dilation);
            }
        }
        self.store(simd, pixel, sum, out);
    }

    #[inline(always)]
    fn store(&self, simd: S, pixel: usize, sum: S::f32s, out: &mut [f32]) {
        let (first, width) = self.channels;
        let out = &mut out[pixel * self.outputs + first..][..width];
        if width == S::F32_LANES {
            S::as_mut_simd_f32s(out).0[0] = sum;
        } else {
            simd.partial_store_f32s(out, sum);
        }
    }
}
