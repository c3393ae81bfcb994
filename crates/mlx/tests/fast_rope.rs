//! Rotary embedding: fused and composed against the reference.

mod reference;

use mlx::fast::{self, Offset, RopeFrequencies, RopeOptions, composed};
use mlx::{Array, Dtype, array};
use reference::compare::assert_close_by;
use reference::rope::{Rope, inverse_of_base};
use reference::{Numbers, Tensor};
use rstest::rstest;

/// One case: the options for the crate and for the reference.
struct Case {
    dims: i32,
    traditional: bool,
    freqs: Option<Vec<f32>>,
    base: f32,
    scale: f32,
    offsets: Vec<i32>,
}

impl Default for Case {
    fn default() -> Self {
        let offsets = vec![0];
        Case {
            dims: 8,
            traditional: false,
            freqs: None,
            base: 10_000.0,
            scale: 1.0,
            offsets,
        }
    }
}

impl Case {
    fn options(&self) -> RopeOptions {
        RopeOptions {
            dims: Some(self.dims),
            traditional: self.traditional,
            frequencies: match &self.freqs {
                None => self.base.into(),
                Some(freqs) => Array::from_slice(freqs, self.dims / 2).unwrap().into(),
            },
            scale: self.scale,
            offset: match self.offsets.as_slice() {
                [one] => (*one).into(),
                many => Offset::Array(Array::from_slice(many, many.len() as i32).unwrap()),
            },
        }
    }

    fn want(&self, x: &Tensor) -> Vec<f64> {
        let dims = self.dims as usize;
        let inverse = match &self.freqs {
            None => inverse_of_base(f64::from(self.base), dims),
            Some(freqs) => freqs.iter().map(|&freq| 1.0 / f64::from(freq)).collect(),
        };
        let offsets = self
            .offsets
            .iter()
            .map(|&offset| i64::from(offset))
            .collect();
        let scale = f64::from(self.scale);
        reference::rope::rope(
            x,
            &Rope {
                dims,
                traditional: self.traditional,
                inverse,
                scale,
                offsets,
            },
        )
    }

    /// Compares fused and composed with the reference on numbers of this shape and dtype.
    #[track_caller]
    fn check(&self, shape: &[i32], dtype: Dtype) {
        let x = Numbers::new(11).tensor(1.0, shape, dtype);
        let (want, options) = (self.want(&x), self.options());
        // An angle in float32 is wrong by some roundings of itself, and so are sine and cosine.
        let seq = shape[shape.len() - 2];
        let far = self
            .offsets
            .iter()
            .map(|offset| offset.abs() + seq)
            .max()
            .unwrap_or(0);
        let angle = f64::from(far) * f64::from(self.scale.abs());
        let slack = 1.0 + angle * 4e-7 / reference::compare::tolerance(dtype);
        let x = x.array();
        let got = [
            ("fused", fast::rope(&x, &options)),
            ("composed", composed::rope(&x, &options)),
        ];
        for (what, got) in got {
            assert_close_by(slack, what, &got, shape, dtype, &want);
        }
    }
}

#[rstest]
fn rope_is_the_formula(
    #[values(true, false)] traditional: bool,
    #[values(vec![0], vec![5], vec![-3], vec![0, 17])] offsets: Vec<i32>,
    #[values(1.0, 0.25, -2.0)] scale: f32,
    #[values(true, false)] has_freqs: bool,
    #[values(8, 6, 2)] dims: i32,
) {
    let freqs = [1.5, 10.0, 300.0, 4.0][..dims as usize / 2].to_vec();
    let freqs = has_freqs.then_some(freqs);
    let case = Case {
        dims,
        traditional,
        freqs,
        scale,
        offsets,
        ..Default::default()
    };
    case.check(&[2, 3, 5, 8], Dtype::Float32);
}

#[rstest]
fn rope_is_the_formula_in_every_shape(
    #[values(
        &[2, 5, 8], &[2, 1, 8], &[1, 1, 8], &[2, 3, 5, 9], &[2, 3, 1, 8], &[2, 2, 3, 4, 8], &[2, 1, 2, 2, 3, 8],
        &[0, 3, 5, 8], &[2, 0, 5, 8], &[2, 3, 0, 8], &[2, 2, 2, 64], &[2, 2, 2, 80], &[2, 9, 2, 128]
    )]
    shape: &[i32],
    #[values(true, false)] traditional: bool,
) {
    for dtype in [
        Dtype::Float32,
        Dtype::Float16,
        Dtype::Bfloat16,
        Dtype::Float64,
    ] {
        let has_doubles = mlx::Device::current().unwrap() == mlx::Device::Cpu;
        if dtype == Dtype::Float64 && !has_doubles {
            continue;
        }
        for dims in [8, shape[shape.len() - 1] / 2 * 2] {
            for offsets in [vec![3], vec![1, 6]] {
                if offsets.len() == 1 || shape[0] == 2 {
                    Case {
                        dims,
                        traditional,
                        offsets,
                        ..Default::default()
                    }
                    .check(shape, dtype);
                }
            }
        }
    }
}

#[test]
fn bases_of_real_models_and_far_positions() {
    for base in [10_000.0, 500_000.0, 1_000_000.0, 10.0] {
        for offset in [0, 1000, 100_000] {
            let case = Case {
                dims: 64,
                base,
                offsets: vec![offset],
                ..Default::default()
            };
            case.check(&[1, 2, 9, 64], Dtype::Float32);
        }
    }
}

#[test]
fn all_features_turn_by_default() {
    let x = Numbers::new(12)
        .tensor(1.0, &[1, 2, 3, 10], Dtype::Float32)
        .array();
    let whole = RopeOptions {
        dims: Some(10),
        ..Default::default()
    };
    let got = fast::rope(&x, &RopeOptions::default());
    assert_eq!(
        got.to_vec::<f32>().unwrap(),
        fast::rope(&x, &whole).to_vec::<f32>().unwrap()
    );
}

#[rstest]
#[case(array!([7]).reshape(()), &[7])]
#[case(array!([7]), &[7])]
#[case(Array::new([7_i64]), &[7])]
#[case(Array::new([7_u32, 9]), &[7, 9])]
#[case(Array::new([7_u8, 9]), &[7, 9])]
#[case(array!([-3]), &[-3])]
#[case(array!([-3, 4]), &[-3, 4])]
fn an_offset_may_be_any_integer_array(
    #[case] offset: Array,
    #[case] want: &[i32],
    #[values(&[2, 1, 4, 8], &[2, 4, 8], &[2, 2, 3, 4, 8], &[2, 1, 1, 8])] shape: &[i32],
) {
    let x = Numbers::new(13).tensor(1.0, shape, Dtype::Float32);
    let options = RopeOptions {
        offset: (&offset).into(),
        ..Default::default()
    };
    let want = Case {
        offsets: want.to_vec(),
        ..Default::default()
    }
    .want(&x);
    let x = x.array();
    for (what, got) in [
        ("fused", fast::rope(&x, &options)),
        ("composed", composed::rope(&x, &options)),
    ] {
        assert_close_by(10.0, what, &got, shape, Dtype::Float32, &want);
    }
}

#[test]
fn a_transposed_input_turns_by_its_own_sequence_axis() {
    // [batch, seq, heads, dim] turned to [batch, heads, seq, dim], as models do.
    let x = Numbers::new(14).tensor(1.0, &[1, 6, 3, 8], Dtype::Float32);
    let swapped: Vec<f64> = (0..3 * 6 * 8)
        .map(|i| x.values[(i / 8 % 6) * 24 + (i / 48) * 8 + i % 8])
        .collect();
    let swapped = Tensor::new(swapped, &[1, 3, 6, 8], Dtype::Float32);
    let want = Case::default().want(&swapped);
    let x = x.array().swapaxes(1, 2);
    let options = RopeOptions::default();
    for (what, got) in [
        ("fused", fast::rope(&x, &options)),
        ("composed", composed::rope(&x, &options)),
    ] {
        assert_close_by(10.0, what, &got, &[1, 3, 6, 8], Dtype::Float32, &want);
    }
}

fn with(change: impl FnOnce(&mut RopeOptions)) -> RopeOptions {
    let mut options = RopeOptions::default();
    change(&mut options);
    options
}

#[rstest]
#[case(array!([[1.0, 2.0]]), with(|_| ()), "x must have at least 3 axes, [batch, .., seq, dim], got [1, 2]")]
#[case(array!([[[1, 2]]]), with(|_| ()), "wanted a floating dtype, got int32")]
#[case(array!([[[1.0, 2.0, 3.0]]]), with(|_| ()), "dims must be even and from 2 to 3, got 3")]
#[case(array!([[[1.0, 2.0]]]), with(|o| o.dims = Some(0)), "dims must be even and from 2 to 2, got 0")]
#[case(array!([[[1.0, 2.0]]]), with(|o| o.dims = Some(4)), "dims must be even and from 2 to 2, got 4")]
#[case(array!([[[1.0, 2.0]]]), with(|o| o.dims = Some(-2)), "dims must be even and from 2 to 2, got -2")]
#[case(array!([[[1.0, 2.0]]]), with(|o| o.frequencies = 0.0.into()), "base must be positive, got 0")]
#[case(
    array!([[[1.0, 2.0]]]),
    with(|o| o.frequencies = RopeFrequencies::Freqs(array!([1.0, 2.0]))),
    "freqs must be [1], half of dims, got [2]"
)]
#[case(array!([[[1.0, 2.0]]]), with(|o| o.offset = array!([1, 2]).into()), "offset must be a scalar or [1], got [2]")]
#[case(array!([[[1.0, 2.0]]]), with(|o| o.offset = array!([1.0]).into()), "offset must be integers, got float32")]
#[case(array!([[[1.0, 2.0]]]), with(|o| o.offset = array!([[1]]).into()), "offset must be a scalar or [1], got [1, 1]")]
fn rope_says_what_was_wanted(#[case] x: Array, #[case] options: RopeOptions, #[case] want: &str) {
    for (what, got) in [
        ("fused", fast::rope(&x, &options)),
        ("composed", composed::rope(&x, &options)),
    ] {
        let text = got.shape().unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("fast.rope: {want}")),
            "{what}: {text}"
        );
        assert!(text.contains("fast_rope.rs:"), "{text}");
    }
}
