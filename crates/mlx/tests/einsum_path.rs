//! Paths of Einstein sums, against those that Python MLX finds.

use mlx::{Array, einsum_path};

#[test]
fn paths_and_texts_are_those_of_python() {
    let golden = include_str!("golden/einsum_path.jsonl");
    assert!(golden.lines().count() >= 30);
    for line in golden.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let shapes: Vec<Vec<i32>> = serde_json::from_value(case["shapes"].clone()).unwrap();
        let operands: Vec<Array> = shapes.into_iter().map(mlx::zeros).collect();
        let subscripts = case["subscripts"].as_str().unwrap();
        let (path, text) = einsum_path(subscripts, &operands).unwrap();
        assert_eq!(serde_json::to_value(&path).unwrap(), case["path"], "{line}");
        assert_eq!(text, case["text"].as_str().unwrap(), "{line}");
    }
}

#[test]
fn subscripts_that_do_not_fit_are_refused() {
    let (a, b) = (mlx::zeros((2, 3)), mlx::zeros((4, 5)));
    for (subscripts, says) in [
        ("ij->ij", "wanted 1 operands for \"ij->ij\", got 2"),
        ("ij,jk->ik", "the size of 'j' in input 1 must be 3, got 4"),
        (
            "ijk,kl",
            "\"ijk\" of input 0 must have a letter for each of 2 axes",
        ),
        (
            "ij,kl->ii",
            "wanted each letter of the output once, got \"ii\"",
        ),
        ("ij,kl->z", "the output has 'z', which no operand has"),
        (
            "i1,kl",
            "subscripts must be letters with at most one ellipsis, got '1'",
        ),
        ("ii,kl", "input 0 must have one size for 'i', got [2, 3]"),
    ] {
        let error = einsum_path(subscripts, [&a, &b]).unwrap_err().to_string();
        assert!(
            error.starts_with("einsum_path: ") && error.contains(says),
            "{subscripts}: {error}"
        );
    }
}
