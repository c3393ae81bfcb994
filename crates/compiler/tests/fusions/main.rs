//! Which formulas are recognized, and which are not: one file for each fusion, as people really write it.
//!
//! On the CPU, MLX composes its fused operations itself, so that results agree proves little of a kernel there. What
//! fires is therefore read from the report and from the lowered text; results are compared besides, and prove that the
//! operation that was put in means the same.

#[macro_use]
mod check;
mod attention;
mod attention_masks;
mod attention_sinks;
mod cross_entropy;
mod fuzz;
mod gelu;
mod golden;
mod layer_norm;
mod linear;
mod open_sizes;
mod precise;
mod quantized_linear;
mod replay;
mod rms_norm;
mod rope;
mod rope_positions;
mod rope_reshaped;
mod silu;
mod softmax;
mod subscripts;
