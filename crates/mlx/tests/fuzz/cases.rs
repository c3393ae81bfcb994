//! One random application of one operation: inputs that often fit it, attributes that often make sense.

use mlx::compiler_api::AttrValue;
use mlx::{Array, Dtype, Op};

use super::fitting::{FLOATS, SUBSCRIPTS, fitting};
use super::random::Random;

/// An operation and what it is applied to.
pub struct Case {
    pub op: Op,
    pub inputs: Vec<Array>,
}

const TEXTS: [&str; 20] = [
    "left",
    "right",
    "affine",
    "mxfp4",
    "mxfp8",
    "nvfp4",
    "constant",
    "edge",
    "reflect",
    "symmetric",
    "xy",
    "ij",
    "L",
    "U",
    "",
    "causal",
    "array",
    "backward",
    "ortho",
    "forward",
];
const NORMS: [&str; 4] = ["fro", "nuc", "f", "x"];

/// Returns a random case of the operation called `name`, or nothing when an attribute does not fit its type.
pub fn case(random: &mut Random, name: &str) -> Option<Case> {
    let (least, most) = arity(name)?;
    let (inputs, fixed) = if random.chance(75) {
        fitting(random, name).unwrap_or_else(|| (anything(random, least, most), Vec::new()))
    } else {
        (anything(random, least, most), Vec::new())
    };
    let shape = inputs
        .first()
        .and_then(|x| x.shape().ok())
        .unwrap_or_default();
    let op = build(name, |attribute| {
        match fixed.iter().find(|(known, _)| *known == attribute) {
            Some((_, value)) => vec![value.clone()],
            None => attributes(random, name, attribute, &shape),
        }
    })?;
    Some(Case { op, inputs })
}

/// Returns the operation, trying for each attribute the values offered until one has its type.
fn build(name: &str, mut offer: impl FnMut(&str) -> Vec<AttrValue>) -> Option<Op> {
    let mut chosen: Vec<(String, AttrValue)> = Vec::new();
    loop {
        let mut next = None;
        let op = Op::from_parts(name, |attribute| {
            match chosen.iter().find(|(known, _)| known == attribute) {
                Some((_, value)) => Some(value.clone()),
                None => {
                    next = Some(attribute.to_owned());
                    None
                }
            }
        });
        if op.is_some() {
            return op;
        }
        let attribute = next?;
        // A value has the attribute's type when another attribute is asked for after it, or none.
        let fits = |value: &AttrValue| {
            let mut asked_next = false;
            let op = Op::from_parts(name, |asked| {
                if asked == attribute {
                    return Some(value.clone());
                }
                let known = chosen.iter().find(|(known, _)| known == asked);
                asked_next |= known.is_none();
                known.map(|(_, value)| value.clone())
            });
            op.is_some() || asked_next
        };
        let value = offer(&attribute).into_iter().find(fits)?;
        chosen.push((attribute, value));
    }
}

fn arity(name: &str) -> Option<(usize, usize)> {
    let any = |attribute: &str| {
        let mut values = vec![
            AttrValue::Bool(false),
            AttrValue::Float(0.0),
            AttrValue::Int(0),
            AttrValue::Ints(vec![]),
        ];
        values.push(AttrValue::Dtype(Dtype::Float32));
        values.extend(TEXTS.map(|text| AttrValue::Text(text.to_owned())));
        let _ = attribute;
        values
    };
    build(name, any).map(|op| op.arity())
}

/// Values of every type that the attribute called `attribute` could have, the likely ones by its name.
fn attributes(random: &mut Random, op: &str, attribute: &str, shape: &[i32]) -> Vec<AttrValue> {
    let ndim = i32::try_from(shape.len()).unwrap_or(0);
    let axis = |random: &mut Random| {
        if random.chance(90) {
            random.between(-ndim, ndim - 1)
        } else {
            random.whole()
        }
    };
    let whole = match attribute {
        "axis" | "axis1" | "axis2" | "source" | "destination" | "start_axis" | "end_axis" => {
            axis(random)
        }
        "group_size" => random.pick(&[16, 32, 64, 128, 64, 0, -64]),
        "bits" => random.pick(&[2, 3, 4, 4, 5, 6, 8, 0, -1, 7]),
        "width" => random.pick(&[1, 2, 4, 4, 3, 0]),
        "block_size" => random.pick(&[32, 64, 32, 64, 0, 16]),
        _ => random.whole(),
    };
    let list = match attribute {
        "axes" | "axes_a" | "axes_b" if random.chance(85) => axes(random, ndim),
        "shape" if op == "reshape" && random.chance(70) => regrouped(random, shape),
        "shape" | "slice_sizes" | "slice_size" if random.chance(85) => {
            if random.chance(50) {
                random.shape()
            } else {
                shape.to_vec()
            }
        }
        "strides" if op == "as_strided" => (0..random.below(4))
            .map(|_| random.between(-2, 3))
            .collect(),
        "start" | "stop" | "strides" if random.chance(85) => {
            shape.iter().map(|_| random.whole()).collect()
        }
        "n" if random.chance(80) => shape.iter().map(|_| random.between(1, 5)).collect(),
        _ => (0..random.below(4)).map(|_| random.whole()).collect(),
    };
    let mut texts: Vec<AttrValue> = match (op, attribute) {
        ("einsum", _) => vec![AttrValue::Text(random.pick(&SUBSCRIPTS).to_owned())],
        (_, "ord") if random.chance(80) => vec![AttrValue::Text(random.pick(&NORMS).to_owned())],
        _ => Vec::new(),
    };
    // Names of an enum: whichever of them it knows, beginning anywhere.
    let offset = random.below(TEXTS.len());
    texts.extend(
        (0..TEXTS.len()).map(|k| AttrValue::Text(TEXTS[(k + offset) % TEXTS.len()].to_owned())),
    );
    let float = match attribute {
        "ord" => random.pick(&[1.0, 2.0, -2.0, 0.0, f64::INFINITY, 3.0, -1.0]),
        _ => random.float(),
    };
    let mut values = vec![
        AttrValue::Bool(random.chance(50)),
        AttrValue::Float(float),
        AttrValue::Int(i64::from(whole)),
        AttrValue::Ints(list.into_iter().map(i64::from).collect()),
        AttrValue::Dtype(if random.chance(50) {
            random.pick(&FLOATS)
        } else {
            random.pick(&Dtype::ALL)
        }),
    ];
    values.extend(texts);
    values
}

/// Some axes of an array, in any order, some of them counted from the end.
fn axes(random: &mut Random, ndim: i32) -> Vec<i32> {
    let mut all: Vec<i32> = (0..ndim).collect();
    for k in (1..all.len()).rev() {
        all.swap(k, random.below(k + 1));
    }
    if random.chance(60) {
        all.truncate(random.below(all.len() + 1));
    }
    all.into_iter()
        .map(|axis| if random.chance(20) { axis - ndim } else { axis })
        .collect()
}

/// Another shape with as many elements.
fn regrouped(random: &mut Random, shape: &[i32]) -> Vec<i32> {
    let mut sizes = shape.to_vec();
    if sizes.len() >= 2 && random.chance(60) {
        let size = sizes.remove(0);
        sizes[0] = sizes[0].saturating_mul(size);
    }
    sizes.insert(random.below(sizes.len() + 1), 1);
    if random.chance(20) {
        let k = random.below(sizes.len());
        sizes[k] = -1;
    }
    sizes
}

/// Inputs of any type, at least as many as the operation needs.
fn anything(random: &mut Random, least: usize, most: usize) -> Vec<Array> {
    let count = least + random.below(most.min(least + 2) - least + 1);
    let shape = random.shape();
    let dtype = random.pick(&Dtype::ALL);
    (0..count)
        .map(|_| {
            let shape = if random.chance(75) {
                random.beside(&shape)
            } else {
                random.shape()
            };
            let dtype = if random.chance(60) {
                dtype
            } else {
                random.pick(&Dtype::ALL)
            };
            random.array(&shape, dtype)
        })
        .collect()
}
