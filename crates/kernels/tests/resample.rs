//! Weighted sums along axes against plain loops in `f64`.

use mlx_kernels::{ResampleAxis, resample};
use rstest::rstest;

/// The terms of one axis.
struct Terms {
    input: usize,
    starts: Vec<usize>,
    indices: Vec<u32>,
    weights: Vec<f32>,
}

/// Up to `most` terms for each output, none among them.
fn terms(input: usize, output: usize, most: usize) -> Terms {
    let (mut starts, mut indices, mut weights) = (vec![0], Vec::new(), Vec::new());
    for o in 0..output {
        for k in 0..(o * 5 + 1) % (most + 1) {
            indices.push(((o * 3 + k * 2) % input) as u32);
            weights.push((o as f32 - k as f32 * 1.5) / 4.0);
        }
        starts.push(indices.len());
    }
    Terms {
        input,
        starts,
        indices,
        weights,
    }
}

impl Terms {
    fn axis(&self) -> ResampleAxis<'_> {
        ResampleAxis {
            input: self.input,
            starts: &self.starts,
            indices: &self.indices,
            weights: &self.weights,
        }
    }
}

#[rstest]
#[case(&[(5, 9, 2)], 3)]
#[case(&[(4, 3, 5)], 1)]
#[case(&[(7, 14, 2), (6, 13, 4)], 17)]
#[case(&[(3, 5, 1), (2, 4, 3), (4, 7, 6)], 5)]
fn equals_the_reference(#[case] sizes: &[(usize, usize, usize)], #[case] channels: usize) {
    const BATCH: usize = 3;
    let all: Vec<Terms> = sizes
        .iter()
        .map(|&(input, output, most)| terms(input, output, most))
        .collect();
    let axes: Vec<ResampleAxis<'_>> = all.iter().map(Terms::axis).collect();
    let inputs: usize = sizes.iter().map(|size| size.0).product();
    let x: Vec<f32> = (0..BATCH * inputs * channels)
        .map(|i| ((i * 37) % 23) as f32 - 11.0)
        .collect();
    // Along one axis after the other, as matrices [before, size, behind].
    let mut want: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let mut before = BATCH;
    for (at, terms) in all.iter().enumerate() {
        let behind: usize = sizes[at + 1..].iter().map(|size| size.0).product::<usize>() * channels;
        let output = terms.starts.len() - 1;
        let mut next = vec![0.0; before * output * behind];
        for b in 0..before {
            for o in 0..output {
                for term in terms.starts[o]..terms.starts[o + 1] {
                    let (index, weight) = (terms.indices[term] as usize, terms.weights[term]);
                    for c in 0..behind {
                        next[(b * output + o) * behind + c] +=
                            f64::from(weight) * want[(b * terms.input + index) * behind + c];
                    }
                }
            }
        }
        want = next;
        before *= output;
    }
    let mut out = vec![f32::NAN; want.len()];
    resample(BATCH, &axes, channels, &x, &mut out).unwrap();
    for (got, want) in out.iter().zip(&want) {
        assert!(
            (f64::from(*got) - want).abs() <= 1e-4 * want.abs().max(1.0),
            "{got} {want}"
        );
    }
}

#[test]
fn refuses_terms_that_do_not_fit() {
    let axis = terms(2, 2, 2);
    let run = |axes: &[ResampleAxis<'_>], x: &[f32]| {
        resample(1, axes, 1, x, &mut [0.0; 2])
            .unwrap_err()
            .to_string()
    };
    let good = axis.axis();
    assert_eq!(
        run(&[good], &[0.0; 3]),
        "resample: x must have 2 elements, got 3"
    );
    let outside = ResampleAxis {
        indices: &[0, 1, 2],
        weights: &[1.0; 3],
        starts: &[0, 1, 3],
        ..good
    };
    assert_eq!(
        run(&[outside], &[0.0; 2]),
        "resample: an index must be inside of the input, got 2"
    );
    let long = ResampleAxis {
        indices: &[0],
        weights: &[1.0],
        starts: &[0, 1, 3],
        ..good
    };
    assert_eq!(
        run(&[long], &[0.0; 2]),
        "resample: a start must be at most the number of terms, got 3"
    );
    let falling = ResampleAxis {
        indices: &[0],
        weights: &[1.0],
        starts: &[1, 0, 1],
        ..good
    };
    assert_eq!(
        run(&[falling], &[0.0; 2]),
        "resample: a start must be at most the next one, got 1"
    );
    assert_eq!(
        run(&[], &[0.0; 2]),
        "resample: the number of axes must be 1 to 3, got 0"
    );
}
