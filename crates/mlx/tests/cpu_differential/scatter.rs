//! Updates at indices, those that are there more than once included.

use mlx::{Array, Dtype};

use super::data::indices;
use super::{EXACT, FLOATS, Random, Results, SAME, Values, tolerance};

const DTYPES: [Dtype; 10] = [
    Dtype::Float32,
    Dtype::Float16,
    Dtype::Bfloat16,
    Dtype::Float64,
    Dtype::Int32,
    Dtype::Int64,
    Dtype::Int8,
    Dtype::Uint16,
    Dtype::Bool,
    Dtype::Complex64,
];

pub(super) fn scattered(results: &mut Results, random: &mut Random) {
    for round in 0..3 {
        for dtype in DTYPES {
            for shape in [[300, 40], [40, 300], [9, 1700], [1, 5000]] {
                let what = format!("{dtype} {shape:?} {round}");
                let x = random.view(&shape, dtype, Values::Plain);
                rows(results, random, &what, &x);
                elements(results, random, &what, &x);
                along(results, random, &what, &x);
            }
        }
    }
}

/// What every way to update is compared by.
fn updated(results: &mut Results, what: &str, x: &Array, index: &Index, value: &Array) {
    let dtype = x.dtype().unwrap();
    results.keep(format!("scatter {what}"), EXACT, Ok(index.at(x).set(value)));
    if matches!(dtype, Dtype::Bool | Dtype::Complex64) {
        return;
    }
    let near = if FLOATS.contains(&dtype) {
        tolerance(dtype, 1e-6)
    } else {
        SAME
    };
    results.keep(
        format!("scatter_add {what}"),
        near,
        Ok(index.at(x).add(value)),
    );
    let fresh = x + 1;
    results.keep(
        format!("scatter_add in place {what}"),
        near,
        Ok(index.at(&fresh).add(value)),
    );
    results.keep(
        format!("scatter_prod {what}"),
        near,
        Ok(index.at(x).multiply(value)),
    );
    results.keep(
        format!("scatter_max {what}"),
        SAME,
        Ok(index.at(x).maximum(value)),
    );
    results.keep(
        format!("scatter_min {what}"),
        SAME,
        Ok(index.at(x).minimum(value)),
    );
}

/// Places in an array: along its first axis, its second, or both.
enum Index {
    Rows(Array),
    Columns(Array),
    Both(Array, Array),
}

impl Index {
    fn at<'a>(&self, x: &'a Array) -> mlx::index::ArrayAt<'a> {
        match self {
            Self::Rows(rows) => x.at(rows),
            Self::Columns(columns) => x.at((.., columns)),
            Self::Both(rows, columns) => x.at((rows, columns)),
        }
    }
}

fn rows(results: &mut Results, random: &mut Random, what: &str, x: &Array) {
    let dtype = x.dtype().unwrap();
    let shape = x.shape().unwrap();
    let kind = random.of(&[Dtype::Int32, Dtype::Uint32, Dtype::Int64, Dtype::Uint8]);
    let values = random.of(&[Values::Plain, Values::Special]);
    let values = if FLOATS.contains(&dtype) && shape[0] > 9 {
        values
    } else {
        Values::Plain
    };
    let list = indices(60, shape[0].min(255), kind, random);
    let value = random.view(&[60, shape[1]], dtype, values);
    let index = Index::Rows(list);
    updated(results, &format!("rows {what}"), x, &index, &value);
    let value = random.view(&[60, 1], dtype, Values::Plain);
    updated(results, &format!("rows to one {what}"), x, &index, &value);
    let list = indices(70, shape[1].min(255), kind, random);
    let value = random.view(&[shape[0], 70], dtype, Values::Plain);
    let index = Index::Columns(list);
    updated(results, &format!("columns {what}"), x, &index, &value);
}

fn elements(results: &mut Results, random: &mut Random, what: &str, x: &Array) {
    let dtype = x.dtype().unwrap();
    let shape = x.shape().unwrap();
    let row = indices(2000, shape[0], Dtype::Int32, random);
    let column = indices(2000, shape[1], Dtype::Int32, random);
    let value = random.view(&[2000], dtype, Values::Plain);
    let index = Index::Both(row, column);
    updated(results, &format!("elements {what}"), x, &index, &value);
}

fn along(results: &mut Results, random: &mut Random, what: &str, x: &Array) {
    let dtype = x.dtype().unwrap();
    let shape = x.shape().unwrap();
    for axis in 0..2 {
        let mut short = shape.clone();
        short[axis] = (shape[axis] / 2).max(1);
        let n = short.iter().product::<i32>() as usize;
        let list = indices(n, shape[axis], Dtype::Int32, random).reshape(short.clone());
        let value = random.view(&short, dtype, Values::Plain);
        let set = x.put_along_axis(&list, &value, axis as i32);
        results.keep(format!("put_along_axis {axis} {what}"), EXACT, Ok(set));
        if matches!(dtype, Dtype::Bool | Dtype::Complex64) {
            continue;
        }
        let near = if FLOATS.contains(&dtype) {
            tolerance(dtype, 1e-6)
        } else {
            SAME
        };
        let sum = x.scatter_add_axis(&list, &value, axis as i32);
        results.keep(format!("scatter_add_axis {axis} {what}"), near, Ok(sum));
    }
}
