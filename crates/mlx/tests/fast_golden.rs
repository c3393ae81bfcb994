//! Fused and composed against Python MLX's `mx.fast`: the same engine, asked by other hands.
//!
//! The file and the script that makes it are in `tests/golden`.

mod reference;

use std::collections::HashMap;

use mlx::fast::{self, AttentionMask, AttentionOptions, RopeOptions, composed};
use mlx::{Array, Dtype};
use reference::Tensor;
use reference::compare::assert_close_by;

/// One case of the file: its name and its arrays.
struct Case {
    name: String,
    arrays: HashMap<String, Tensor>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("golden/fast.txt").lines() {
        if let Some(name) = line.strip_prefix("case ") {
            let arrays = HashMap::new();
            cases.push(Case {
                name: name.to_owned(),
                arrays,
            });
            continue;
        }
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let (key, dtype, shape) = (word(), Dtype::from_name(word()).unwrap(), word());
        let sizes = shape
            .trim_matches(['[', ']'])
            .split(',')
            .filter(|size| !size.is_empty());
        let shape: Vec<i32> = sizes.map(|size| size.parse().unwrap()).collect();
        let values = words.map(|value| value.parse::<f64>().unwrap());
        let tensor = Tensor::new(values, &shape, dtype);
        cases
            .last_mut()
            .unwrap()
            .arrays
            .insert(key.to_owned(), tensor);
    }
    cases
}

impl Case {
    fn get(&self, key: &str) -> Option<Array> {
        let tensor = self.arrays.get(key)?;
        Some(tensor.array().astype(tensor.dtype))
    }

    fn array(&self, key: &str) -> Array {
        self.get(key)
            .unwrap_or_else(|| panic!("{}: no {key}", self.name))
    }

    fn number(&self, key: &str) -> f64 {
        self.arrays[key].values[0]
    }

    fn has(&self, key: &str) -> bool {
        self.arrays.contains_key(key)
    }

    /// The fused and the composed result.
    fn results(&self) -> [Array; 2] {
        let kernel = self.name.split(' ').next().unwrap();
        match kernel {
            "rms_norm" => {
                let (x, w) = (self.array("x"), self.get("w"));
                [
                    fast::rms_norm(&x, w.as_ref(), 1e-5),
                    composed::rms_norm(&x, w.as_ref(), 1e-5),
                ]
            }
            "layer_norm" => {
                let (x, w, b) = (self.array("x"), self.get("w"), self.get("b"));
                let (w, b) = (w.as_ref(), b.as_ref());
                [
                    fast::layer_norm(&x, w, b, 1e-5),
                    composed::layer_norm(&x, w, b, 1e-5),
                ]
            }
            "rope" => {
                let (x, options) = (self.array("x"), self.rope_options());
                [fast::rope(&x, &options), composed::rope(&x, &options)]
            }
            "attention" => {
                let (q, k, v) = (self.array("q"), self.array("k"), self.array("v"));
                let options = self.attention_options();
                [
                    fast::scaled_dot_product_attention_with(&q, &k, &v, &options),
                    composed::scaled_dot_product_attention(&q, &k, &v, &options),
                ]
            }
            "cross_entropy" => {
                let (logits, targets) = (self.array("logits"), self.array("targets"));
                [
                    fast::cross_entropy(&logits, &targets),
                    composed::cross_entropy(&logits, &targets),
                ]
            }
            other => panic!("no kernel {other}"),
        }
    }

    fn rope_options(&self) -> RopeOptions {
        RopeOptions {
            dims: Some(self.number("dims") as i32),
            traditional: self.number("traditional") != 0.0,
            frequencies: match self.get("freqs") {
                Some(freqs) => freqs.into(),
                None => (self.number("base") as f32).into(),
            },
            scale: self.number("scale") as f32,
            offset: self.array("offset").into(),
        }
    }

    fn attention_options(&self) -> AttentionOptions {
        let mut mask = AttentionMask::none();
        if self.has("causal") {
            mask = mask.and_causal();
        }
        if let Some(keep) = self.get("keep") {
            mask = mask.and_bool(&keep);
        }
        if let Some(bias) = self.get("bias") {
            mask = mask.and_additive(&bias);
        }
        AttentionOptions {
            scale: Some(self.number("scale") as f32),
            mask,
            sinks: self.get("sinks"),
            ..Default::default()
        }
    }
}

#[test]
fn fused_and_composed_give_what_python_mlx_gives() {
    let cases = cases();
    assert!(cases.len() > 30, "{}", cases.len());
    for case in cases {
        let want = &case.arrays["out"];
        for (what, got) in ["fused", "composed"].into_iter().zip(case.results()) {
            let what = format!("{} {what}", case.name);
            assert_close_by(1.0, &what, &got, &want.shape, want.dtype, &want.values);
        }
    }
}
