//! Depthwise convolution of `f32` whose input is read in place: its channels fill registers, of which two are computed together,
//! or windows overlap too little for a copy to pay. Loads that are not aligned take two accesses to the cache; a copy takes
//! one for each element.

use pulp::{Simd, WithSimd};

use super::direct::Plan;
use super::shape::ConvAxis;
use super::sums::{PIXELS, Sums};

/// Neighbouring lines of the output, or a piece of each of them.
pub(super) struct InPlace<'a, 'b> {
    pub(super) plan: &'a Plan,
    pub(super) x: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) plane: usize,
    /// The first line and pixel.
    pub(super) line: usize,
    pub(super) pixel: usize,
    pub(super) out: Vec<&'b mut [f32]>,
}

impl InPlace<'_, '_> {
    pub(super) fn applies(plan: &Plan) -> bool {
        let channels = plan.channels;
        channels.width == 1
            && channels.columns == 1
            && channels.all.is_multiple_of(plan.lanes)
            && (plan.axes[2].stride > 1 || plan.registers.is_multiple_of(2))
            && plan.axes[2].input_dilation == 1
    }

    /// For each line of the window that is inside: where the window of the first pixel starts in the input, in registers,
    /// and where its weights are.
    fn find_taps(&self, line: usize, taps: &mut Vec<(usize, usize)>) {
        let [outer, second, third] = self.plan.axes;
        let (batch, plane) = (self.plane / outer.output, self.plane % outer.output);
        taps.clear();
        for i in 0..outer.kernel {
            let Some(input) = outer.index(outer.begin(plane), i) else {
                continue;
            };
            for j in 0..second.kernel {
                if let Some(index) = second.index(second.begin(line), j) {
                    let start =
                        ((batch * outer.input + input) * second.input + index) * third.input;
                    let start = start.wrapping_add_signed(third.begin(self.pixel));
                    let weight = (i * second.kernel + j) * third.kernel;
                    taps.push((start.wrapping_mul(self.plan.registers), weight));
                }
            }
        }
    }
}

impl WithSimd for InPlace<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let plan = self.plan;
        let axis = plan.axes[2];
        let depth = plan.depth() * S::F32_LANES;
        let x = S::as_simd_f32s(self.x).0;
        let mut rows = std::mem::take(&mut self.out);
        let (mut taps, mut own) = (Vec::new(), Vec::new());
        for (line, out) in rows.iter_mut().enumerate() {
            self.find_taps(self.line + line, &mut taps);
            let pixels = out.len() / plan.outputs;
            let (from, to) = inside(axis, self.pixel, pixels);
            // A piece of the line for all registers of channels, so that what it reads stays in the cache.
            for first in (0..pixels).step_by(4 * PIXELS) {
                let end = (first + 4 * PIXELS).min(pixels);
                let (from, to) = (from.clamp(first, end), to.clamp(first, end));
                for register in 0..plan.registers {
                    own.clear();
                    own.extend(
                        taps.iter()
                            .map(|(x, weight)| (x.wrapping_add(register), *weight)),
                    );
                    let weights = S::as_simd_f32s(&self.weights[register * depth..]).0;
                    let (weights, next) = weights.split_at(depth / S::F32_LANES);
                    let sums = Sums::<S> {
                        x,
                        weights,
                        taps: &own,
                        bias: S::as_simd_f32s(&plan.bias).0[register],
                        axis,
                        pixel: plan.registers,
                        outputs: plan.outputs,
                        channels: (register * S::F32_LANES, S::F32_LANES),
                    };
                    for pixel in (first..from).chain(to..end) {
                        let seen = seen(axis, self.pixel + pixel);
                        sums.at_edge(simd, pixel, seen, out);
                    }
                    // Two registers together, so that the input and the output are read and written in order.
                    if !plan.registers.is_multiple_of(2) {
                        sums.range::<0>(simd, (from, to), out);
                    } else if register.is_multiple_of(2) {
                        let bias = S::as_simd_f32s(&plan.bias).0[register + 1];
                        sums.range_of_two(simd, (next, bias), (from, to), out);
                    }
                }
            }
        }
    }
}

/// Of `pixels` outputs from `pixel` on, the first whose window is inside along an axis, and the one after the last.
fn inside(axis: ConvAxis, pixel: usize, pixels: usize) -> (usize, usize) {
    let reach = (axis.kernel - 1) * axis.kernel_dilation;
    // Windows that start before this are inside at their end.
    let Some(end) = (axis.input + axis.padding).checked_sub(reach) else {
        return (0, 0);
    };
    let from = axis.padding.div_ceil(axis.stride);
    let to = end.div_ceil(axis.stride);
    let [from, to] = [from, to].map(|at| at.saturating_sub(pixel).min(pixels));
    (from, to.max(from))
}

/// The elements of the window of an output that are inside: the first, and the one after the last.
fn seen(axis: ConvAxis, output: usize) -> (usize, usize) {
    let begin = axis.begin(output);
    let before = |bound: isize| {
        let elements = (bound - begin).max(0).cast_unsigned();
        elements.div_ceil(axis.kernel_dilation).min(axis.kernel)
    };
    let (from, to) = (before(0), before(axis.input.cast_signed()));
    (from, to.max(from))
}
