//! Convolutions of every kind against sums written out.

use mlx::{Array, ConvGeneralOptions};

/// One spatial axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    input: i64,
    kernel: i64,
    stride: i64,
    low: i64,
    high: i64,
    kernel_dilation: i64,
    input_dilation: i64,
}

/// An axis that is not there.
const NONE: Axis = Axis {
    input: 1,
    kernel: 1,
    stride: 1,
    low: 0,
    high: 0,
    kernel_dilation: 1,
    input_dilation: 1,
};

impl Axis {
    /// What negative padding leaves of the input: where it begins, and how much.
    fn kept(&self) -> (i64, i64) {
        let first = -self.low.min(0);
        (first, self.input + self.high.min(0) - first)
    }

    /// The number of results; none or fewer when the kernel does not fit.
    fn results(&self) -> i64 {
        let (_, kept) = self.kept();
        let input = (kept - 1) * self.input_dilation + 1 + self.low.max(0) + self.high.max(0);
        let room = input - (self.kernel - 1) * self.kernel_dilation - 1;
        if kept < 1 || room < 0 {
            return 0;
        }
        room / self.stride + 1
    }

    /// Which element of the input a result sees through one of the kernel.
    fn seen(&self, result: i64, kernel: i64) -> Option<i64> {
        let place = result * self.stride - self.low.max(0) + kernel * self.kernel_dilation;
        let (first, kept) = self.kept();
        let is_there = place >= 0 && place % self.input_dilation == 0;
        let element = place / self.input_dilation;
        (is_there && element < kept).then_some(first + element)
    }
}

fn numbers(sizes: impl Iterator<Item = i64>) -> (Array, Vec<f32>) {
    let inner = sizes.map(|size| i32::try_from(size).unwrap());
    let shape: Vec<i32> = std::iter::once(1).chain(inner).chain([1]).collect();
    let n = shape.iter().product::<i32>();
    let numbers: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
    (Array::from_slice(&numbers, shape).unwrap(), numbers)
}

/// Each index up to these three sizes.
fn each(sizes: [i64; 3]) -> impl Iterator<Item = [i64; 3]> {
    let [a, b, c] = sizes;
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
}

fn place(index: [i64; 3], sizes: [i64; 3]) -> usize {
    usize::try_from((index[0] * sizes[1] + index[1]) * sizes[2] + index[2]).unwrap()
}

fn written_out(axes: &[Axis; 3], flip: bool, x: &[f32], w: &[f32]) -> Vec<f64> {
    let (inputs, kernels) = (axes.map(|axis| axis.input), axes.map(|axis| axis.kernel));
    let one = |result: [i64; 3]| {
        let term = |kernel: [i64; 3]| {
            let mut seen = [0; 3];
            let mut taken = kernel;
            for (k, axis) in axes.iter().enumerate() {
                seen[k] = axis.seen(result[k], kernel[k])?;
                if flip {
                    taken[k] = axis.kernel - 1 - kernel[k];
                }
            }
            let (x, w) = (x[place(seen, inputs)], w[place(taken, kernels)]);
            Some(f64::from(x) * f64::from(w))
        };
        each(kernels).filter_map(term).sum()
    };
    each(axes.map(|axis| axis.results())).map(one).collect()
}

#[test]
fn convolutions_are_the_sums_they_stand_for() {
    let mut state = 12345_u64;
    let mut between = |low: i64, high: i64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        low + i64::try_from((state >> 20) % (high - low + 1).unsigned_abs()).unwrap()
    };
    let mut n_compared = 0;
    for _ in 0..3000 {
        let (ndim, flip) = (usize::try_from(between(1, 3)).unwrap(), between(0, 1) == 1);
        let mut axes = [NONE; 3];
        for axis in &mut axes[..ndim] {
            *axis = Axis {
                input: between(1, 6),
                kernel: between(1, 3),
                stride: between(1, 3),
                low: between(-1, 2),
                high: between(-1, 2),
                kernel_dilation: between(1, 2),
                input_dilation: between(1, 2),
            };
        }
        if axes.iter().any(|axis| axis.results() < 1) {
            continue;
        }
        let ((x, xs), (w, ws)) = (
            numbers(axes[..ndim].iter().map(|axis| axis.input)),
            numbers(axes[..ndim].iter().map(|axis| axis.kernel)),
        );
        let list = |of: fn(&Axis) -> i64| -> mlx::Shape {
            let one = |axis: &Axis| i32::try_from(of(axis)).unwrap();
            axes[..ndim].iter().map(one).collect::<Vec<i32>>().into()
        };
        let options = ConvGeneralOptions {
            stride: list(|axis| axis.stride),
            padding_low: list(|axis| axis.low),
            padding_high: list(|axis| axis.high),
            kernel_dilation: list(|axis| axis.kernel_dilation),
            input_dilation: list(|axis| axis.input_dilation),
            groups: 1,
            flip,
        };
        let (got, want) = (
            x.conv_general(&w, options).to_vec::<f32>().unwrap(),
            written_out(&axes, flip, &xs, &ws),
        );
        assert_eq!(got.len(), want.len(), "{axes:?}");
        for (got, want) in got.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 1e-4, "{axes:?} {flip}");
        }
        n_compared += 1;
    }
    assert!(n_compared > 1000, "{n_compared}");
}
