//! Inputs of the kind an operation wants, so that most cases get past its checks.

use mlx::compiler_api::AttrValue;
use mlx::{Array, Dtype};

use super::random::Random;

/// Floating dtypes.
pub const FLOATS: [Dtype; 4] = [
    Dtype::Float32,
    Dtype::Float64,
    Dtype::Float16,
    Dtype::Bfloat16,
];
/// What [`fitting`] has operands for.
pub const SUBSCRIPTS: [&str; 16] = [
    "ij,jk->ik",
    "ij,jk",
    "ii->i",
    "ii",
    "ij->ji",
    "i,i->",
    "i,j->ij",
    "ij,kj->ikj",
    "...i,...i->...",
    "bij,bjk->bik",
    "i->",
    "->",
    "i->k",
    "ij,",
    "a,b,c->abc",
    "iji->j",
];
const INDICES: [Dtype; 4] = [Dtype::Int32, Dtype::Uint32, Dtype::Int64, Dtype::Int8];

/// Inputs, and the attributes that go with them.
pub type Fitting = (Vec<Array>, Vec<(&'static str, AttrValue)>);

/// Inputs of the kind the operation wants, and attributes that go with them.
pub fn fitting(random: &mut Random, name: &str) -> Option<Fitting> {
    let float = if random.chance(60) {
        Dtype::Float32
    } else {
        random.pick(&FLOATS)
    };
    let plain = |inputs: Vec<Array>| Some((inputs, Vec::new()));
    let lead: Vec<i32> = if random.chance(40) {
        vec![random.size()]
    } else {
        Vec::new()
    };
    let matrix = |m: i32, n: i32| [&lead[..], &[m, n]].concat();
    let (m, k, n) = (random.size(), random.size(), random.size());
    match name {
        "matmul" | "gather_mm" | "block_masked_mm" | "addmm" | "inner" | "kron" => {
            let wide = if name == "block_masked_mm" {
                random.pick(&[1, 33, 64, 0])
            } else {
                1
            };
            let a = random.array(&matrix(m * wide, k), float);
            let b = random.array(&matrix(k, n * wide), float);
            products(random, name, a, b, &matrix(m * wide, n * wide))
        }
        "segmented_mm" => {
            let (a, b) = (random.array(&[m, k], float), random.array(&[k, n], float));
            let parts = random.size();
            let dtype = random.pick(&INDICES);
            plain(vec![a, b, random.array(&[parts, 2], dtype)])
        }
        "einsum" => Some(einstein(random, float)),
        "tensordot" => {
            let (a, b) = (
                random.array(&matrix(m, k), float),
                random.array(&[k, n], float),
            );
            let last = lead.len() as i64 + 1;
            Some((
                vec![a, b],
                vec![
                    ("axes_a", AttrValue::Ints(vec![last])),
                    ("axes_b", AttrValue::Ints(vec![0])),
                ],
            ))
        }
        "conv_general" => Some(convolution(random, float)),
        "quantize" | "dequantize" | "quantized_matmul" | "gather_qmm" => packed(random, name),
        name if name.starts_with("linalg.") && name != "linalg.cross" => {
            let dtype = random.pick(&[
                Dtype::Float32,
                Dtype::Float32,
                Dtype::Float64,
                Dtype::Complex64,
            ]);
            let a = if random.chance(80) {
                matrix(m, m)
            } else {
                matrix(m, n)
            };
            let mut inputs = vec![random.array(&a, dtype)];
            if name.contains("solve") {
                inputs.push(random.array(&matrix(m, n), dtype));
            }
            plain(inputs)
        }
        name if name.starts_with("random.") => {
            let key = mlx::random::key(random.next());
            let shape = random.shape();
            let mut inputs: Vec<Array> = match name {
                "random.multivariate_normal" => {
                    vec![
                        random.array(&[m], Dtype::Float32),
                        random.array(&[m, m], Dtype::Float32),
                    ]
                }
                "random.categorical" | "random.permutation" => {
                    vec![random.array(&shape, Dtype::Float32)]
                }
                "random.uniform" | "random.randint" | "random.truncated_normal" => {
                    let dtype = if name == "random.randint" {
                        Dtype::Int32
                    } else {
                        Dtype::Float32
                    };
                    vec![random.array(&[], dtype), random.array(&[], dtype)]
                }
                "random.bernoulli" => vec![random.array(&[], Dtype::Float32)],
                _ => Vec::new(),
            };
            inputs.push(key);
            plain(inputs)
        }
        "take" | "take_along_axis" | "gather" | "slice_dynamic" => {
            let shape = random.shape();
            let dtype = random.pick(&INDICES);
            let index = if random.chance(50) {
                random.beside(&shape)
            } else {
                random.shape()
            };
            let source = random.pick(&Dtype::ALL);
            plain(vec![
                random.array(&shape, source),
                random.array(&index, dtype),
            ])
        }
        "put_along_axis" | "scatter_add_axis" | "slice_update_dynamic" => {
            let shape = random.shape();
            let (dtype, values) = (random.pick(&INDICES), random.pick(&Dtype::ALL));
            let index = random.beside(&shape);
            let mut inputs = vec![random.array(&shape, values)];
            inputs.push(random.array(&index, dtype));
            let position = if name == "slice_update_dynamic" { 1 } else { 2 };
            inputs.insert(position, random.array(&index, values));
            plain(inputs)
        }
        name if name.starts_with("scatter") => {
            // Updates are [indices.., one slice of the source..].
            let shape = random.shape();
            let (dtype, values) = (random.pick(&INDICES), random.pick(&Dtype::ALL));
            let places = random.size();
            let mut updates = vec![places];
            updates.extend(
                shape
                    .iter()
                    .map(|&n| if random.chance(50) { n.min(1) } else { n }),
            );
            let inputs = vec![
                random.array(&shape, values),
                random.array(&updates, values),
                random.array(&[places], dtype),
            ];
            let axis = random.below(shape.len().max(1)) as i64;
            Some((inputs, vec![("axes", AttrValue::Ints(vec![axis]))]))
        }
        "masked_scatter" => {
            let shape = random.shape();
            let cut = random.below(shape.len() + 1);
            let values = random.shape();
            let dtype = random.pick(&Dtype::ALL);
            plain(vec![
                random.array(&shape, dtype),
                random.array(&shape[..cut], Dtype::Bool),
                random.array(&values, dtype),
            ])
        }
        "hadamard_transform" => {
            let last = random.pick(&[1, 2, 4, 12, 20, 28, 24, 7, 64]);
            plain(vec![random.array(&matrix(m, last), float)])
        }
        "pad" => {
            let (shape, dtype) = (random.shape(), random.pick(&Dtype::ALL));
            let input = random.array(&shape, dtype);
            let width = |random: &mut Random| random.between(0, 6);
            let low: Vec<i64> = shape.iter().map(|_| i64::from(width(random))).collect();
            let high: Vec<i64> = shape.iter().map(|_| i64::from(width(random))).collect();
            let axes = (0..shape.len() as i64).collect();
            let fixed = vec![
                ("axes", AttrValue::Ints(axes)),
                ("low", AttrValue::Ints(low)),
                ("high", AttrValue::Ints(high)),
            ];
            Some((vec![input, random.array(&[], dtype)], fixed))
        }
        name if name.starts_with("fast.") => attention(random, name, float),
        _ => None,
    }
}

fn products(random: &mut Random, name: &str, a: Array, b: Array, out: &[i32]) -> Option<Fitting> {
    let mut inputs = vec![a, b];
    let mut fixed = Vec::new();
    match name {
        "addmm" => {
            let dtype = inputs[0].dtype().unwrap_or(Dtype::Float32);
            let c = random.beside(out);
            inputs.insert(0, random.array(&c, dtype));
        }
        "gather_mm" => {
            let places = random.size();
            for side in ["lhs", "rhs"] {
                let present = random.chance(60);
                fixed.push((side, AttrValue::Bool(present)));
                if present {
                    let dtype = random.pick(&INDICES);
                    inputs.push(random.array(&[places], dtype));
                }
            }
        }
        "block_masked_mm" => {
            for mask in ["mask_out", "mask_lhs", "mask_rhs"] {
                let present = random.chance(50);
                fixed.push((mask, AttrValue::Bool(present)));
                if present {
                    let (rows, columns) = (random.between(1, 5), random.between(1, 5));
                    let dtype = random.pick(&[Dtype::Bool, Dtype::Float32]);
                    inputs.push(random.array(&[rows, columns], dtype));
                }
            }
        }
        _ => {}
    }
    Some((inputs, fixed))
}

/// Operands whose axes have one size for each letter.
fn einstein(random: &mut Random, dtype: Dtype) -> Fitting {
    let subscripts = random.pick(&SUBSCRIPTS);
    let sizes: Vec<i32> = (0..26).map(|_| random.size()).collect();
    let operands = subscripts.split("->").next().unwrap_or("").split(',');
    let inputs = operands
        .map(|axes| {
            let mut shape: Vec<i32> = Vec::new();
            for letter in axes.bytes() {
                match letter {
                    b'a'..=b'z' => shape.push(sizes[usize::from(letter - b'a')]),
                    b'.' if shape.len() < 2 => shape.push(sizes[shape.len()]),
                    _ => {}
                }
            }
            random.array(&shape, dtype)
        })
        .collect();
    (
        inputs,
        vec![("subscripts", AttrValue::Text(subscripts.to_owned()))],
    )
}

fn convolution(random: &mut Random, dtype: Dtype) -> Fitting {
    let spatial = 1 + random.below(3);
    let groups = if spatial < 3 {
        random.pick(&[1, 1, 2, 3])
    } else {
        1
    };
    let (channels, out) = (
        random.pick(&[1, 2, 1, 0]),
        groups * random.pick(&[1, 2, 1, 0]),
    );
    let mut input = vec![random.pick(&[1, 2, 0])];
    let mut weight = vec![out];
    for _ in 0..spatial {
        input.push(random.between(0, 6));
        weight.push(random.pick(&[1, 1, 2, 3, 5, 0]));
    }
    input.push(channels * groups);
    weight.push(channels);
    let list = |random: &mut Random, choices: &[i32]| {
        let value = (0..spatial)
            .map(|_| i64::from(random.pick(choices)))
            .collect();
        AttrValue::Ints(value)
    };
    let mut fixed = vec![
        ("groups", AttrValue::Int(i64::from(groups))),
        ("padding_lo", list(random, &[0, 0, 1, 2, 4, 7, -1])),
        ("padding_hi", list(random, &[0, 0, 1, 2, 4, 7, -1])),
    ];
    if random.chance(80) {
        fixed.push(("stride", list(random, &[1, 1, 2, 3])));
        fixed.push(("kernel_dilation", list(random, &[1, 1, 2, 3])));
        fixed.push(("input_dilation", list(random, &[1, 1, 1, 2, 3])));
    }
    (
        vec![random.array(&input, dtype), random.array(&weight, dtype)],
        fixed,
    )
}

fn packed(random: &mut Random, name: &str) -> Option<Fitting> {
    let (mode, group, bits) = random.pick(&[
        ("affine", 64, 4),
        ("affine", 32, 8),
        ("affine", 32, 3),
        ("affine", 64, 6),
        ("mxfp4", 32, 4),
        ("mxfp8", 32, 8),
        ("nvfp4", 16, 4),
    ]);
    let fixed = vec![
        ("mode", AttrValue::Text(String::from(mode))),
        ("group_size", AttrValue::Int(group)),
        ("bits", AttrValue::Int(bits)),
    ];
    let float = random.pick(&[
        Dtype::Float32,
        Dtype::Float16,
        Dtype::Bfloat16,
        Dtype::Float64,
    ]);
    let (rows, groups) = (random.size(), random.pick(&[1, 2, 0, 4]));
    let width = groups * i32::try_from(group).ok()?;
    let batch: Vec<i32> = if random.chance(40) {
        vec![random.size()]
    } else {
        Vec::new()
    };
    let full = [&batch[..], &[rows, width]].concat();
    if name == "quantize" {
        return Some((vec![random.array(&full, float)], fixed));
    }
    let words = [&batch[..], &[rows, width * i32::try_from(bits).ok()? / 32]].concat();
    let mut scales = [&batch[..], &[rows, groups]].concat();
    if random.chance(10) {
        scales = random.shape();
    }
    let mut inputs = vec![random.array(&words, Dtype::Uint32)];
    if mode == "affine" {
        inputs.push(random.array(&scales, float));
        inputs.push(random.array(&scales, float));
    } else {
        inputs.push(random.array(&scales, Dtype::Uint8));
    }
    if name == "dequantize" {
        return Some((inputs, fixed));
    }
    let transpose = random.chance(60);
    let x = [
        &batch[..],
        &[random.size(), if transpose { width } else { rows }],
    ]
    .concat();
    inputs.insert(0, random.array(&x, float));
    let mut fixed = fixed;
    fixed.push(("transpose", AttrValue::Bool(transpose)));
    fixed.push(("biases", AttrValue::Bool(mode == "affine")));
    if name == "gather_qmm" {
        let places = random.size();
        for side in ["lhs", "rhs"] {
            let present = random.chance(60);
            fixed.push((side, AttrValue::Bool(present)));
            if present {
                let dtype = random.pick(&INDICES);
                inputs.push(random.array(&[places], dtype));
            }
        }
    }
    Some((inputs, fixed))
}

fn attention(random: &mut Random, name: &str, dtype: Dtype) -> Option<Fitting> {
    let (batch, heads, length, dim) = (
        random.size(),
        random.size(),
        random.size(),
        random.pick(&[2, 4, 8, 0]),
    );
    let x = random.array(&[batch, heads, length, dim], dtype);
    let inputs = match name {
        "fast.scaled_dot_product_attention" => {
            vec![x.clone(), x.clone(), x]
        }
        "fast.rope" => vec![x, random.array(&[], Dtype::Int32)],
        "fast.rms_norm" | "fast.layer_norm" => vec![x, random.array(&[dim], dtype)],
        "fast.cross_entropy" => {
            vec![
                random.array(&[length, dim], dtype),
                random.array(&[length], Dtype::Int32),
            ]
        }
        "fast.swiglu" => vec![x.clone(), x],
        "fast.gelu" | "fast.gelu_approx" | "fast.silu" => vec![x],
        "fast.linear" => vec![x, random.array(&[length, dim], dtype)],
        _ => return None,
    };
    Some((inputs, Vec::new()))
}
