//! candle's side of the harness: the same protocol as every runner (see `harness/protocol.rs`).

mod models;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{D, Device, Module, Tensor};
use serde_json::{Value, json};

/// A row that is ready: runs once and gives the result, as an array or a text, and the milliseconds.
pub type Row = Box<dyn FnMut() -> Result<(Outcome, f64)>>;

/// What a row leaves.
pub enum Outcome {
    Array(Tensor),
    Text(String),
    Nothing,
}

fn main() -> Result<()> {
    let mut rows: HashMap<String, Row> = HashMap::new();
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let mut reply = match answer(&request, &mut rows) {
            Ok(reply) => reply,
            Err(error) => json!({"failed": format!("{error:#}")}),
        };
        if let Some(id) = request.get("id") {
            reply["id"] = id.clone();
        }
        writeln!(output, "{reply}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(request: &Value, rows: &mut HashMap<String, Row>) -> Result<Value> {
    let id = request["id"].as_str().unwrap_or_default();
    if request.get("hello").is_some() {
        return Ok(json!({"name": "candle", "version": "candle 0.11.1, target-cpu=native, no MKL"}));
    }
    if let Some(load) = request.get("load") {
        let op = load["op"].as_str().context("op is missing")?;
        let row = match op {
            _ if op.starts_with("whisper") || op.starts_with("smollm2") => models::row(op, load)?,
            _ => kernel(op, load)?,
        };
        let Some(mut row) = row else {
            return Ok(json!({"unsupported": format!("candle has no {op} with these numbers")}));
        };
        let outcome = row()?.0;
        rows.insert(id.to_owned(), row);
        return Ok(match outcome {
            Outcome::Array(array) => {
                array.write_npy(load["output"].as_str().context("output is missing")?)?;
                json!({"loaded": true})
            }
            Outcome::Text(text) => json!({"loaded": true, "text": text}),
            Outcome::Nothing => json!({"loaded": true}),
        });
    }
    if let Some(n) = request["run"].as_u64() {
        let row = rows.get_mut(id).context("the row is not loaded")?;
        let ms: Result<Vec<f64>> = (0..n).map(|_| Ok(row()?.1)).collect();
        return Ok(json!({"ms": ms?}));
    }
    rows.remove(id);
    Ok(json!({"dropped": true}))
}

fn kernel(op: &str, load: &Value) -> Result<Option<Row>> {
    let paths = load["inputs"].as_array().context("inputs are missing")?;
    let path = |idx: usize| paths.get(idx).and_then(Value::as_str).context("an input is missing");
    let input = |idx: usize| -> Result<Tensor> { Ok(Tensor::read_npy(path(idx)?)?) };
    let params = &load["params"];
    let number = |name: &str| params[name].as_f64().context("a number is missing");
    Ok(Some(match op {
        "rms_norm" => {
            let (x, w, eps) = (input(0)?, input(1)?, number("eps")? as f32);
            timed(move || candle_nn::ops::rms_norm(&x, &w, eps))
        }
        "layer_norm" => {
            let (x, w, b, eps) = (input(0)?, input(1)?, input(2)?, number("eps")? as f32);
            timed(move || candle_nn::ops::layer_norm(&x, &w, &b, eps))
        }
        "softmax" => {
            let x = input(0)?;
            timed(move || candle_nn::ops::softmax_last_dim(&x))
        }
        "attention" => {
            let (q, k, v, scale) = (input(0)?, input(1)?, input(2)?, number("scale")?);
            timed(move || {
                let scores = (&q * scale)?.matmul(&k.t()?)?;
                candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)
            })
        }
        "rope" => {
            let x = input(0)?;
            let (cos, sin) = rotations(&x, number("base")?)?;
            timed(move || candle_nn::rotary_emb::rope(&x, &cos, &sin))
        }
        "gelu" => {
            let x = input(0)?;
            timed(move || x.gelu_erf())
        }
        "exp" => {
            let x = input(0)?;
            timed(move || x.exp())
        }
        "add" => {
            let (a, b) = (input(0)?, input(1)?);
            timed(move || &a + &b)
        }
        "chain8" => {
            let (x, b) = (input(0)?, input(1)?);
            timed(move || {
                let y = ((&x * 2.0)? + &b)?.silu()?;
                ((y - &x)?.abs()? + 1.0)?.sqrt()
            })
        }
        "matvec" => {
            let (x, w) = (input(0)?, input(1)?.t()?);
            timed(move || x.matmul(&w))
        }
        "matmul" => {
            let (a, b) = (input(0)?, input(1)?);
            timed(move || a.matmul(&b))
        }
        // Its kernels round activations to 8 bits, so it has the row that allows this only. Q4_K is its fastest.
        "quantized_matvec_int8" => {
            let (x, weights) = (input(0)?, unpacked(input(1)?, input(2)?, input(3)?)?);
            let packed = QTensor::quantize(&weights, GgmlDType::Q4K)?;
            let packed = QMatMul::from_qtensor(packed)?;
            timed(move || packed.forward(&x))
        }
        _ => return Ok(None),
    }))
}

fn timed(body: impl Fn() -> candle_core::Result<Tensor> + 'static) -> Row {
    Box::new(move || {
        let start = Instant::now();
        let result = body()?;
        // What is dropped is a count: the result itself goes on to the caller.
        let ms = start.elapsed().as_secs_f64() * 1e3;
        Ok((Outcome::Array(result), ms))
    })
}

fn rotations(x: &Tensor, base: f64) -> Result<(Tensor, Tensor)> {
    let (seq, dim) = (x.dim(D::Minus2)?, x.dim(D::Minus1)?);
    let half = dim / 2;
    let mut angles = Vec::with_capacity(seq * half);
    for position in 0..seq {
        for pair in 0..half {
            angles.push((position as f64 * base.powf(-(pair as f64) / half as f64)) as f32);
        }
    }
    let angles = Tensor::from_vec(angles, (seq, half), &Device::Cpu)?;
    Ok((angles.cos()?, angles.sin()?))
}

/// `scale * (code - zero)` for groups of 64.
fn unpacked(codes: Tensor, scales: Tensor, zeros: Tensor) -> Result<Tensor> {
    let (n, k) = codes.dims2()?;
    let groups = scales.dim(1)?;
    if k % groups != 0 {
        bail!("wanted whole groups");
    }
    let float = |tensor: &Tensor| tensor.to_dtype(candle_core::DType::F32);
    let codes = float(&codes)?.reshape((n, groups, k / groups))?;
    let (scales, zeros) = (scales.unsqueeze(2)?, float(&zeros)?.unsqueeze(2)?);
    let weights = codes.broadcast_sub(&zeros)?.broadcast_mul(&scales)?;
    Ok(weights.reshape((n, k))?)
}
