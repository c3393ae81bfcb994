//! How close a result must be, by dtype, in one table.

use super::numbers::{count, read};
use mlx::{Array, Dtype};

/// Largest allowed `|got - want| / (|want| + scale)`, where `scale` is the largest `|want|` of the result, at most 1
/// where results are large and 0.1 at least.
///
/// `float32` allows some tens of roundings of 6e-8; the half types the roundings of the few intermediate results that
/// MLX keeps in them. `float64` is only as good as the `float32` statistics inside.
pub fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float32 | Dtype::Float64 => 2e-6,
        Dtype::Float16 => 2e-3,
        Dtype::Bfloat16 => 1.5e-2,
        other => panic!("no tolerance for {other}"),
    }
}

/// Asserts shape, dtype and values; `slack` widens the tolerance for inputs that are badly conditioned.
#[track_caller]
pub fn assert_close_by(
    slack: f64,
    what: &str,
    got: &Array,
    shape: &[i32],
    dtype: Dtype,
    want: &[f64],
) {
    let got_type = got
        .array_type()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(got_type.to_string(), format!("{dtype}{shape:?}"), "{what}");
    assert_eq!(want.len(), count(shape), "{what}: the reference itself");
    let values = read(got);
    let largest = want.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    let scale = largest.clamp(0.1, 1.0);
    for (index, (&got, &want)) in values.iter().zip(want).enumerate() {
        let error = (got - want).abs() / (want.abs() + scale);
        assert!(
            error <= slack * tolerance(dtype),
            "{what}: element {index} is {got}, want {want}; error {error:e} of {:e} allowed for {dtype}",
            slack * tolerance(dtype)
        );
    }
}

/// Asserts shape, dtype and values within the table's tolerance.
#[track_caller]
pub fn assert_close(what: &str, got: &Array, shape: &[i32], dtype: Dtype, want: &[f64]) {
    assert_close_by(1.0, what, got, shape, dtype, want);
}
