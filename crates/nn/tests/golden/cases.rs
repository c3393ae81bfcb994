//! What the cases of Python MLX are compared by.

use mlx::{Array, Dtype};
use serde_json::Value;

/// Checks values against those of a case, relative to the largest of them.
#[track_caller]
pub fn close(got: &Array, wanted: &Value, tolerance: f64, what: &str) {
    let got = got.astype(Dtype::Float32).to_vec::<f32>().expect(what);
    let wanted = wanted.as_array().expect(what).iter();
    let wanted: Vec<f64> = wanted.map(|value| value.as_f64().expect(what)).collect();
    assert_eq!(got.len(), wanted.len(), "{what}");
    let most = wanted
        .iter()
        .fold(1.0, |most: f64, value| most.max(value.abs()));
    for (index, (got, wanted)) in got.into_iter().zip(wanted).enumerate() {
        let off = (f64::from(got) - wanted).abs();
        assert!(
            off <= tolerance * most,
            "{what} [{index}]: {got} is not {wanted}"
        );
    }
}
