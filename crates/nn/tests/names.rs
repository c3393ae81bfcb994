//! Every layer, function, loss, initializer and optimizer of Python MLX has a case with Python's numbers, or a reason
//! here why not. The names are made by `golden/make_names.py`.

use std::collections::BTreeSet;

use serde_json::Value;

const NAMES: &str = include_str!("golden/names.json");
const CASES: [&str; 7] = [
    include_str!("golden/layers.json"),
    include_str!("golden/plain_layers.json"),
    include_str!("golden/sequence_layers.json"),
    include_str!("golden/losses.json"),
    include_str!("golden/init.json"),
    include_str!("golden/optimizers.json"),
    include_str!("golden/training.json"),
];

/// Names whose cases have another name: Python's, the cases'.
const UNDER_ANOTHER_NAME: [(&str, &str); 17] = [
    ("gelu_approx", "GELU tanh"),
    ("gelu_fast_approx", "GELU fast"),
    ("hard_shrink", "HardShrink"),
    ("hard_tanh", "HardTanh"),
    ("leaky_relu", "LeakyReLU"),
    ("log_sigmoid", "LogSigmoid"),
    ("log_softmax", "LogSoftmax"),
    ("quantize", "QuantizedLinear"),
    ("value_and_grad", "Linear"),
    ("MultiOptimizer", "multi"),
    ("Optimizer", "sgd"),
    ("clip_grad_norm", "tight"),
    ("cosine_decay", "cosine"),
    ("exponential_decay", "exponential"),
    ("join_schedules", "join"),
    ("linear_schedule", "linear"),
    ("step_decay", "step"),
];

/// Names without a case, and why.
const WITHOUT: [(&str, &str); 15] = [
    ("AllToShardedLinear", DISTRIBUTED),
    ("FullyShardedModule", DISTRIBUTED),
    ("QuantizedAllToShardedLinear", DISTRIBUTED),
    ("QuantizedShardedToAllLinear", DISTRIBUTED),
    ("ShardedToAllLinear", DISTRIBUTED),
    ("average_gradients", DISTRIBUTED),
    ("fully_shard", DISTRIBUTED),
    (
        "Module",
        "no layer: tests/modules.rs and tests/module_trees.rs",
    ),
    (
        "QQLinear",
        "has a file of its own: tests/qq_linear.rs with golden/qq_linear.json",
    ),
    ("constant", "one number: tests/init_golden.rs"),
    ("tree_flatten", TREES),
    ("tree_map", TREES),
    ("tree_merge", TREES),
    ("tree_reduce", TREES),
    ("tree_unflatten", TREES),
];
const DISTRIBUTED: &str = "several ranks: tests/distributed.rs";
const TREES: &str = "crates/mlx/tests/tree.rs";

/// Returns the names of all cases: as they are, their first words, and in small letters.
fn cases() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |name: &str| {
        let first = name.split(' ').next().unwrap_or(name);
        names.extend([name, first].map(str::to_owned));
        names.insert(first.to_lowercase());
    };
    for text in CASES {
        match serde_json::from_str(text).expect("cases") {
            Value::Array(cases) => {
                for case in &cases {
                    let name = case["name"].as_str().or_else(|| case["layer"].as_str());
                    add(name.expect("a name"));
                }
            }
            cases => {
                for kind in ["optimizers", "schedules", "clipped"] {
                    let named = cases[kind].as_object().expect(kind);
                    named.keys().for_each(|name| add(name));
                }
            }
        }
    }
    names
}

#[test]
fn every_name_of_python_has_a_case() {
    let names: Value = serde_json::from_str(NAMES).expect("names");
    let (cases, mut count, mut missing) = (cases(), 0, Vec::new());
    for (kind, of_kind) in names.as_object().expect("kinds") {
        for name in of_kind.as_array().into_iter().flatten() {
            let name = name.as_str().expect("a name");
            let renamed = UNDER_ANOTHER_NAME.iter().find(|(one, _)| *one == name);
            let case = renamed.map_or(name, |(_, case)| *case);
            // A layer has a case under its own name, and its function under the layer's.
            let has_case = match kind.as_str() {
                "layers" | "losses" | "init" => cases.contains(case),
                _ => cases.contains(case) || cases.contains(&case.to_lowercase()),
            };
            let has_reason = WITHOUT.iter().any(|(one, _)| *one == name);
            count += 1;
            if !has_case && !has_reason {
                missing.push(format!("{kind}: {name}"));
            }
        }
    }
    assert!(count > 130, "{count} names");
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "no case with Python's numbers"
    );
}

#[test]
fn no_reason_is_left_over() {
    let names: BTreeSet<&str> = NAMES.split('"').collect();
    let told = UNDER_ANOTHER_NAME.iter().chain(&WITHOUT);
    let unknown: Vec<&str> = told
        .map(|(name, _)| *name)
        .filter(|name| !names.contains(name))
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
    let cases = cases();
    let needless = WITHOUT.iter().filter(|(name, _)| cases.contains(*name));
    assert_eq!(
        needless.map(|(name, _)| *name).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
}
