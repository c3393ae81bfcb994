//! Convolution of an input with zeros between its elements, as transposed convolutions are.
//!
//! Along an axis with input dilation `d`, output `o` sees the elements `k` of its window for which
//! `o * stride + k * kernel_dilation - padding` is divisible by `d`. Outputs with the same remainder, a phase, see the same
//! ones, so that each phase is a convolution of the input without zeros with a part of the kernel. Its outputs are every
//! `d / gcd(stride, d)`-th one.

use super::shape::ConvAxis;

/// Whether the input has zeros between its elements.
pub(super) fn is_dilated(axes: &[ConvAxis; 3]) -> bool {
    axes.iter().any(|axis| axis.input_dilation > 1)
}

/// The outputs of an axis that see the same elements of their windows.
#[derive(Clone, Copy)]
pub(super) struct Phase {
    /// The convolution along the axis without zeros; its padding is a signed number.
    pub(super) axis: ConvAxis,
    /// The first element of the window that is seen, and the distance to the next.
    pub(super) first: usize,
    pub(super) step: usize,
}

/// The number of phases of an axis.
pub(super) fn count(axis: &ConvAxis) -> usize {
    axis.input_dilation / gcd(axis.stride, axis.input_dilation)
}

impl Phase {
    /// The phase of outputs `first`, `first + count(axis)`, ..; `None` if they see no element.
    pub(super) fn of(axis: &ConvAxis, first: usize) -> Option<Self> {
        let (dilation, outputs) = (axis.input_dilation, count(axis));
        let step = dilation / gcd(axis.kernel_dilation, dilation);
        let begin = axis.begin(first);
        let at = |k: usize| begin + (k * axis.kernel_dilation).cast_signed();
        let is_seen = |k: &usize| at(*k).rem_euclid(dilation.cast_signed()) == 0;
        let k = (0..step.min(axis.kernel)).find(is_seen)?;
        let padding = -(at(k) / dilation.cast_signed());
        Some(Self {
            axis: ConvAxis {
                input: axis.input,
                kernel: (axis.kernel - k).div_ceil(step),
                output: (axis.output - first).div_ceil(outputs),
                stride: outputs * axis.stride / dilation,
                padding: padding.cast_unsigned(),
                kernel_dilation: step * axis.kernel_dilation / dilation,
                input_dilation: 1,
            },
            first: k,
            step,
        })
    }
}

/// The weights of the elements of the window that three phases see, `[outputs, kernel.., width]`.
pub(super) fn weights<T: Copy>(
    axes: &[ConvAxis; 3],
    phases: &[Phase; 3],
    width: usize,
    weight: &[T],
) -> Vec<T> {
    let [first, second, third] = axes.map(|axis| axis.kernel);
    let seen = |phase: &Phase| {
        let Phase { first, step, axis } = *phase;
        (0..axis.kernel).map(move |k| first + k * step)
    };
    let mut weights = Vec::new();
    for weight in weight.chunks_exact((first * second * third * width).max(1)) {
        for i in seen(&phases[0]) {
            for j in seen(&phases[1]) {
                for k in seen(&phases[2]) {
                    let at = ((i * second + j) * third + k) * width;
                    weights.extend_from_slice(&weight[at..][..width]);
                }
            }
        }
    }
    weights
}

/// The places of an output, a slice of all channels for each, by their phases.
pub(super) fn split_rows<'a, T>(
    axes: &[ConvAxis; 3],
    outputs: usize,
    out: &'a mut [T],
) -> Vec<Vec<&'a mut [T]>> {
    let counts = axes.map(|axis| count(&axis));
    let mut phases: Vec<Vec<&mut [T]>> = Vec::new();
    phases.resize_with(counts.iter().product(), Vec::new);
    let lines = out.chunks_exact_mut(axes[2].output * outputs);
    for (line, rows) in lines.enumerate() {
        let (i, j) = (
            line / axes[1].output % axes[0].output,
            line % axes[1].output,
        );
        let phase = (i % counts[0] * counts[1] + j % counts[1]) * counts[2];
        for (k, row) in rows.chunks_exact_mut(outputs).enumerate() {
            phases[phase + k % counts[2]].push(row);
        }
    }
    phases
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
