//! What the primitives in a file of MLX's are among the operations of the table, with their attributes.

use mlx::compiler_api::MaskMode;
use mlx::{ArrayType, Op, PadMode, QuantizationMode};

use super::bytes::{Bytes, Fault};

/// Primitives without attributes, and operations.
const PLAIN: &[(&str, Op)] = &[
    ("Abs", Op::Abs),
    ("Add", Op::Add),
    ("ArcCos", Op::Arccos),
    ("ArcCosh", Op::Arccosh),
    ("ArcSin", Op::Arcsin),
    ("ArcSinh", Op::Arcsinh),
    ("ArcTan", Op::Arctan),
    ("ArcTan2", Op::Arctan2),
    ("ArcTanh", Op::Arctanh),
    ("Ceil", Op::Ceil),
    ("Conjugate", Op::Conjugate),
    ("Copy", Op::Copy),
    ("Cos", Op::Cos),
    ("Cosh", Op::Cosh),
    ("Divide", Op::Divide),
    ("DivMod", Op::Divmod),
    ("Erf", Op::Erf),
    ("ErfInv", Op::Erfinv),
    ("Exp", Op::Exp),
    ("Expm1", Op::Expm1),
    ("Floor", Op::Floor),
    ("FloorDivide", Op::FloorDivide),
    ("Greater", Op::Greater),
    ("GreaterEqual", Op::GreaterEqual),
    ("Imag", Op::Imag),
    ("Less", Op::Less),
    ("LessEqual", Op::LessEqual),
    ("Log1p", Op::Log1p),
    ("LogAddExp", Op::Logaddexp),
    ("LogicalAnd", Op::LogicalAnd),
    ("LogicalNot", Op::LogicalNot),
    ("LogicalOr", Op::LogicalOr),
    ("Matmul", Op::Matmul),
    ("Maximum", Op::Maximum),
    ("Minimum", Op::Minimum),
    ("Multiply", Op::Multiply),
    ("Negative", Op::Negative),
    ("NotEqual", Op::NotEqual),
    ("Power", Op::Power),
    ("Real", Op::Real),
    ("Remainder", Op::Remainder),
    ("Round", Op::Round { decimals: 0 }),
    ("Select", Op::Where),
    ("Sigmoid", Op::Sigmoid),
    ("Sign", Op::Sign),
    ("Sin", Op::Sin),
    ("Sinh", Op::Sinh),
    ("Square", Op::Square),
    ("StopGradient", Op::StopGradient),
    ("Subtract", Op::Subtract),
    ("Tan", Op::Tan),
    ("Tanh", Op::Tanh),
    ("MaskedScatter", Op::MaskedScatter),
];

/// A primitive before its attributes are read.
pub(super) struct Stored<'a> {
    pub(super) name: &'a str,
    pub(super) inputs: &'a [ArrayType],
    /// Whether the function takes all sizes.
    pub(super) is_shapeless: bool,
}

/// An operation, and the inputs of the primitive in the order in which it takes them.
pub(super) struct Read {
    pub(super) op: Op,
    pub(super) inputs: Vec<usize>,
    /// The attributes of whose results decide: filled in when they are known.
    pub(super) of_output: Option<fn(&ArrayType) -> Op>,
}

fn full(output: &ArrayType) -> Op {
    Op::Full {
        shape: output.shape.to_vec(),
        dtype: output.dtype,
    }
}

fn broadcast(output: &ArrayType) -> Op {
    Op::BroadcastTo {
        shape: output.shape.to_vec(),
    }
}

impl Stored<'_> {
    /// Reads the attributes of the primitive.
    pub(super) fn read(&self, bytes: &mut Bytes<'_>) -> Result<Read, Fault> {
        let mut inputs: Vec<usize> = (0..self.inputs.len()).collect();
        let mut of_output: Option<fn(&ArrayType) -> Op> = None;
        let op = match self.name {
            "Full" => {
                of_output = Some(full);
                Op::Copy
            }
            // The other inputs decide the shape.
            "Broadcast" if self.is_shapeless && inputs.len() > 1 => {
                bytes.i32s()?;
                Op::BroadcastArrays
            }
            "BroadcastAxes" if self.is_shapeless => {
                return Err(
                    "wanted a function of known sizes, got BroadcastAxes for all".to_owned(),
                );
            }
            "Broadcast" | "BroadcastAxes" => {
                bytes.i32s()?;
                inputs.truncate(1);
                of_output = Some(broadcast);
                Op::Copy
            }
            "Arange" => {
                let (start, stop, step) = (bytes.f64()?, bytes.f64()?, bytes.f64()?);
                return Ok(Read {
                    op: Op::Arange {
                        start,
                        stop,
                        step,
                        dtype: mlx::Dtype::Float32,
                    },
                    inputs,
                    of_output: None,
                });
            }
            "AddMM" => {
                let op = Op::Addmm {
                    alpha: bytes.f32()?,
                    beta: bytes.f32()?,
                };
                // MLX has the summand last.
                inputs = vec![2, 0, 1];
                op
            }
            "Scatter" => {
                let op = scatter(bytes)?;
                // MLX has the updates last.
                let last = inputs.pop().unwrap_or_default();
                inputs.insert(1.min(inputs.len()), last);
                op
            }
            "Divide" if self.inputs.iter().all(|input| input.dtype.is_integer()) => Op::FloorDivide,
            name => match PLAIN.iter().find(|(plain, _)| *plain == name) {
                Some((_, op)) => op.clone(),
                None => self.with_attributes(bytes)?,
            },
        };
        if inputs.iter().any(|input| *input >= self.inputs.len()) {
            return Err(format!("{} has {} inputs", self.name, self.inputs.len()));
        }
        Ok(Read {
            op,
            inputs,
            of_output,
        })
    }

    fn with_attributes(&self, bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
        Ok(match self.name {
            "AsType" => Op::Astype {
                dtype: bytes.dtype()?,
            },
            "View" => Op::View {
                dtype: bytes.dtype()?,
            },
            "Reduce" => reduce(bytes)?,
            "ArgReduce" => {
                let (kind, axis) = (bytes.i32()?, bytes.i32()?);
                match kind {
                    0 => Op::Argmin {
                        axis,
                        keepdims: true,
                    },
                    1 => Op::Argmax {
                        axis,
                        keepdims: true,
                    },
                    other => return Err(format!("ArgReduce has no kind {other}")),
                }
            }
            "Scan" => scan(bytes)?,
            "Softmax" => Op::Softmax {
                axes: vec![-1],
                precise: bytes.bool()?,
            },
            "LogSumExp" => Op::Logsumexp {
                axes: vec![-1],
                keepdims: true,
            },
            "Log" => match bytes.i32()? {
                0 => Op::Log2,
                1 => Op::Log10,
                2 => Op::Log,
                other => return Err(format!("Log has no base {other}")),
            },
            "Sqrt" => [Op::Sqrt, Op::Rsqrt][usize::from(bytes.bool()?)].clone(),
            "Equal" => match bytes.bool()? {
                false => Op::Equal,
                true => return Err("Equal with equal NaN has no operation".to_owned()),
            },
            "BitwiseBinary" => bitwise(bytes)?,
            "Sort" => Op::Sort { axis: bytes.i32()? },
            "ArgSort" => Op::Argsort { axis: bytes.i32()? },
            "Partition" => Op::Partition {
                kth: bytes.i32()?,
                axis: bytes.i32()?,
            },
            "ArgPartition" => Op::Argpartition {
                kth: bytes.i32()?,
                axis: bytes.i32()?,
            },
            "Convolution" | "QuantizedMatmul" | "RandomBits" => return self.product_or_draw(bytes),
            "RMSNorm" | "LayerNorm" | "RoPE" | "ScaledDotProductAttention" => self.fused(bytes)?,
            _ => return self.shape_or_index(bytes),
        })
    }

    fn product_or_draw(&self, bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
        Ok(match self.name {
            "Convolution" => {
                let (stride, padding_lo, padding_hi) =
                    (bytes.i32s()?, bytes.i32s()?, bytes.i32s()?);
                Op::Conv {
                    stride,
                    padding_lo,
                    padding_hi,
                    kernel_dilation: bytes.i32s()?,
                    input_dilation: bytes.i32s()?,
                    groups: bytes.i32()?,
                    flip: bytes.bool()?,
                }
            }
            "QuantizedMatmul" => {
                let (group_size, bits) = (bytes.i32()?, bytes.i32()?);
                let mode = match bytes.i32()? {
                    0 => QuantizationMode::Affine,
                    1 => QuantizationMode::Mxfp4,
                    2 => QuantizationMode::Mxfp8,
                    3 => QuantizationMode::Nvfp4,
                    other => return Err(format!("QuantizedMatmul has no mode {other}")),
                };
                Op::QuantizedMatmul {
                    transpose: bytes.bool()?,
                    group_size,
                    bits,
                    mode,
                }
            }
            "RandomBits" => Op::RandomBits {
                shape: bytes.shape()?,
                width: bytes.i32()?,
            },
            other => return Err(unknown(other)),
        })
    }

    fn shape_or_index(&self, bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
        Ok(match self.name {
            "Reshape" => Op::Reshape {
                shape: bytes.i32s()?,
            },
            "Flatten" => Op::Flatten {
                start_axis: bytes.i32()?,
                end_axis: bytes.i32()?,
            },
            "Unflatten" => Op::Unflatten {
                axis: bytes.i32()?,
                shape: bytes.i32s()?,
            },
            "Squeeze" => Op::Squeeze {
                axes: bytes.i32s()?,
            },
            "ExpandDims" => Op::ExpandDims {
                axes: bytes.i32s()?,
            },
            "Transpose" => Op::Transpose {
                axes: bytes.i32s()?,
            },
            "Concatenate" => Op::Concatenate { axis: bytes.i32()? },
            "Split" => Op::SplitSections {
                indices: bytes.i32s()?,
                axis: bytes.i32()?,
            },
            "Pad" => Op::Pad {
                axes: bytes.i32s()?,
                low: bytes.i32s()?,
                high: bytes.i32s()?,
                mode: PadMode::Constant,
            },
            _ => return self.index(bytes),
        })
    }

    fn index(&self, bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
        Ok(match self.name {
            "Slice" => Op::Slice {
                start: bytes.i32s()?,
                stop: bytes.i32s()?,
                strides: bytes.i32s()?,
            },
            "SliceUpdate" => {
                let kind = bytes.i32()?;
                let (start, stop, strides) = (bytes.i32s()?, bytes.i32s()?, bytes.i32s()?);
                match kind {
                    0 => Op::SliceUpdateMax {
                        start,
                        stop,
                        strides,
                    },
                    1 => Op::SliceUpdateMin {
                        start,
                        stop,
                        strides,
                    },
                    2 => Op::SliceUpdateAdd {
                        start,
                        stop,
                        strides,
                    },
                    3 => Op::SliceUpdateProd {
                        start,
                        stop,
                        strides,
                    },
                    4 => Op::SliceUpdate {
                        start,
                        stop,
                        strides,
                    },
                    other => return Err(format!("SliceUpdate has no kind {other}")),
                }
            }
            "DynamicSlice" => Op::SliceDynamic {
                axes: bytes.i32s()?,
                slice_size: bytes.shape()?,
            },
            "DynamicSliceUpdate" => Op::SliceUpdateDynamic {
                axes: bytes.i32s()?,
            },
            "Gather" => Op::Gather {
                axes: bytes.i32s()?,
                slice_sizes: bytes.shape()?,
            },
            "GatherAxis" => Op::TakeAlongAxis { axis: bytes.i32()? },
            "ScatterAxis" => {
                let (kind, axis) = (bytes.i32()?, bytes.i32()?);
                match kind {
                    0 => Op::ScatterAddAxis { axis },
                    1 => Op::PutAlongAxis { axis },
                    other => return Err(format!("ScatterAxis has no kind {other}")),
                }
            }
            other => return Err(unknown(other)),
        })
    }

    /// Fused operations; their first attribute takes no bytes.
    fn fused(&self, bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
        let has_scalar = self
            .inputs
            .iter()
            .skip(1)
            .any(|input| input.shape.is_empty());
        if self.name.ends_with("Norm") && has_scalar {
            return Err(format!("wanted {} with weights, got it without", self.name));
        }
        Ok(match self.name {
            "RMSNorm" => Op::RmsNorm { eps: bytes.f32()? },
            "LayerNorm" => Op::LayerNorm {
                weight: true,
                bias: true,
                eps: bytes.f32()?,
            },
            "RoPE" => {
                let (dims, traditional) = (bytes.i32()?, bytes.bool()?);
                let (base, scale, forward) = (bytes.f32()?, bytes.f32()?, bytes.bool()?);
                let freqs = self.inputs.len() > 2;
                if !forward {
                    return Err("RoPE backwards has no operation".to_owned());
                }
                Op::Rope {
                    dims,
                    traditional,
                    base: (!freqs).then_some(base),
                    scale,
                    freqs,
                }
            }
            _ => {
                let (scale, causal, sinks) = (bytes.f32()?, bytes.bool()?, bytes.bool()?);
                let (logsumexp, force_fused) = (bytes.bool()?, bytes.bool()?);
                if logsumexp {
                    return Err("attention that gives its sums has no operation".to_owned());
                }
                let has_mask = self.inputs.len() > 3 + usize::from(sinks);
                let mask = match (causal, has_mask) {
                    (true, _) => MaskMode::Causal,
                    (false, true) => MaskMode::Array,
                    (false, false) => MaskMode::None,
                };
                Op::ScaledDotProductAttention {
                    scale,
                    mask,
                    sinks,
                    force_fused,
                }
            }
        })
    }
}

fn unknown(name: &str) -> Fault {
    format!("wanted a primitive that is an operation here, got {name:?}")
}

fn reduce(bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
    let (kind, axes, keepdims) = (bytes.i32()?, bytes.i32s()?, true);
    Ok(match kind {
        0 => Op::All { axes, keepdims },
        1 => Op::Any { axes, keepdims },
        2 => Op::Sum { axes, keepdims },
        3 => Op::Prod { axes, keepdims },
        4 => Op::Min { axes, keepdims },
        5 => Op::Max { axes, keepdims },
        other => return Err(format!("Reduce has no kind {other}")),
    })
}

fn scan(bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
    let (kind, axis) = (bytes.i32()?, bytes.i32()?);
    let (reverse, inclusive) = (bytes.bool()?, bytes.bool()?);
    Ok(match kind {
        0 => Op::Cummax {
            axis,
            reverse,
            inclusive,
        },
        1 => Op::Cummin {
            axis,
            reverse,
            inclusive,
        },
        2 => Op::Cumsum {
            axis,
            reverse,
            inclusive,
        },
        3 => Op::Cumprod {
            axis,
            reverse,
            inclusive,
        },
        4 => Op::Logcumsumexp {
            axis,
            reverse,
            inclusive,
        },
        other => return Err(format!("Scan has no kind {other}")),
    })
}

fn scatter(bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
    let (kind, axes) = (bytes.i32()?, bytes.i32s()?);
    Ok(match kind {
        0 => Op::ScatterMax { axes },
        1 => Op::ScatterMin { axes },
        2 => Op::ScatterAdd { axes },
        3 => Op::ScatterProd { axes },
        4 => Op::Scatter { axes },
        other => return Err(format!("Scatter has no kind {other}")),
    })
}

fn bitwise(bytes: &mut Bytes<'_>) -> Result<Op, Fault> {
    Ok(match bytes.i32()? {
        0 => Op::BitwiseAnd,
        1 => Op::BitwiseOr,
        2 => Op::BitwiseXor,
        3 => Op::LeftShift,
        4 => Op::RightShift,
        other => return Err(format!("BitwiseBinary has no kind {other}")),
    })
}
