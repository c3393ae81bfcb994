//! What the compiler does to your function: one worked example, printed at each stage.
//!
//! # The function
//!
//! Root mean square normalization from the paper, and the gate of a feed-forward layer, as they are usually written:
//!
//! ```
//! use mlx::{Array, keepdims};
//!
//! fn block(x: &Array, weight: &Array) -> Array {
//!     let normed = x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight;
//!     let scale = 2.0 * mlx::arange_with(0.0, 4.0, 1.0, mlx::Dtype::Float32);
//!     &normed * normed.sigmoid() * scale
//! }
//! # let _ = block;
//! ```
//!
//! Called with arrays that have values, it computes. [`trace`](crate::trace()) calls it once with arrays that have
//! only shapes and dtypes, and records the operations:
//!
//! ```
//! # use mlx::{Array, Dtype, keepdims, ones};
//! # use mlx_compiler::trace;
//! # fn block(x: &Array, weight: &Array) -> Array {
//! #     let normed = x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight;
//! #     let scale = 2.0 * mlx::arange_with(0.0, 4.0, 1.0, Dtype::Float32);
//! #     &normed * normed.sigmoid() * scale
//! # }
//! # fn main() -> Result<(), mlx_compiler::Error> {
//! let (x, weight) = (ones([2, 4]), ones([4]));
//! let traced = trace(block, (&x, &weight))?;
//! assert_eq!(traced.to_string(), "\
//! graph function(x0: float32[2, 4], x1: float32[4]) {
//!   %0: float32[2, 4] = square x0
//!   %1: float32[2, 1] = mean %0 axes=[-1] keepdims
//!   %2: float32[2, 1] = add %1, 1e-5
//!   %3: float32[2, 1] = rsqrt %2
//!   %4: float32[2, 4] = multiply x0, %3
//!   %5: float32[2, 4] = multiply %4, x1
//!   %6: float32[4] = arange start=0.0 stop=4.0 step=1.0 dtype=float32
//!   %7: float32[4] = multiply 2.0, %6
//!   %8: float32[2, 4] = sigmoid %5
//!   %9: float32[2, 4] = multiply %5, %8
//!   %10: float32[2, 4] = multiply %9, %7
//!   return %10
//! }");
//! # Ok(())
//! # }
//! ```
//!
//! Shapes and dtypes come from MLX itself, so there is no second set of rules that could be wrong. `arange` depends on
//! no input and is in the graph all the same: the graph contains everything that the function computes. An array from
//! outside of the function would be a line `const c0: float32[4]`: it is shared with its other owners, never copied.
//!
//! # Passes that change no bit
//!
//! *Canonicalize* gives what can be written in several ways one spelling: every change of shape is a `reshape`, every
//! order of axes a `transpose` counted from the front, numbers are the right operand of `add` and `multiply`. *CSE*
//! computes once what is computed twice from the same values; *DCE* drops what no output depends on. In debug builds
//! the graph is verified after each pass.
//!
//! # Formulas
//!
//! *Fuse* matches formulas of which it can prove that a fused operation computes the same up to rounding. Each
//! becomes one node that contains both forms: `body`, as it was written, and `kernel`. It ignores spellings that do
//! not matter (a root and a division or an inverse root, a mean or a sum over the length, a cast to `float32` and
//! back) and refuses what does: an intermediate value that is used elsewhere or returned, another axis, statistics in
//! half precision, an `eps` outside of the root, a mask that is not proven, active dropout. Masks and tables of angles
//! that depend on no input are proven by their values, however they were computed. A place that resembles a formula
//! and is not fused is in the [report](crate::Report), with the reason.
//!
//! ```
//! # use mlx::{Array, Dtype, keepdims, ones};
//! # use mlx_compiler::{CompileOptions, Fallback, Fusion, trace};
//! # fn block(x: &Array, weight: &Array) -> Array {
//! #     let normed = x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight;
//! #     let scale = 2.0 * mlx::arange_with(0.0, 4.0, 1.0, Dtype::Float32);
//! #     &normed * normed.sigmoid() * scale
//! # }
//! # fn main() -> Result<(), mlx_compiler::Error> {
//! # let (x, weight) = (ones([2, 4]), ones([4]));
//! let options = CompileOptions { fallback: Fallback::Never, ..CompileOptions::default() };
//! let lowered = trace(block, (&x, &weight))?.lower(&options)?;
//! assert_eq!(lowered.optimized().to_short_text(), "\
//! graph function(x0: float32[2, 4], x1: float32[4]) {
//!   %0: float32[2, 4] = fused.rms_norm x0, x1
//!   %1: float32[4] = arange start=0.0 stop=4.0 step=1.0 dtype=float32
//!   %2: float32[4] = multiply %1, 2.0
//!   %3: float32[2, 4] = fused.silu %0
//!   %4: float32[2, 4] = multiply %3, %2
//!   return %4
//! }");
//! lowered.report().expect([Fusion::RmsNorm])?;
//! # Ok(())
//! # }
//! ```
//!
//! # Lowering
//!
//! *Select* replaces each of those nodes by its kernel where this device has one for these shapes and dtypes, else by
//! its body; [`Fallback`](crate::Fallback) overrides that. *Fold* then computes once what depends on no input, if it is
//! small; not earlier, because a causal mask is easier to match while it is computed from positions.
//!
//! ```
//! # use mlx::{Array, Dtype, keepdims, ones};
//! # use mlx_compiler::{CompileOptions, Fallback, KernelFusion, trace};
//! # fn block(x: &Array, weight: &Array) -> Array {
//! #     let normed = x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight;
//! #     let scale = 2.0 * mlx::arange_with(0.0, 4.0, 1.0, Dtype::Float32);
//! #     &normed * normed.sigmoid() * scale
//! # }
//! # fn main() -> Result<(), mlx_compiler::Error> {
//! # let (x, weight) = (ones([2, 4]), ones([4]));
//! # let options = CompileOptions { fallback: Fallback::Never, kernel_fusion: KernelFusion::Off, ..CompileOptions::default() };
//! let lowered = trace(block, (&x, &weight))?.lower(&options)?;
//! assert_eq!(lowered.to_string(), "\
//! graph function(x0: float32[2, 4], x1: float32[4]) {
//!   const c0: float32[4]
//!   %0: float32[2, 4] = fast.rms_norm x0, x1 eps=1e-5
//!   %1: float32[2, 4] = fast.silu %0
//!   %2: float32[2, 4] = multiply %1, c0
//!   return %2
//! }");
//! let compiled = lowered.compile()?;
//! let y = compiled.call_arrays(&[&x, &weight])?;
//! assert!((y.to_vec::<f32>()?[1] - 2.0 / (1.0 + (-1.0_f32).exp())).abs() < 1e-4);
//! # Ok(())
//! # }
//! ```
//!
//! # Running
//!
//! The lowered graph becomes one function of MLX's, which replays its list of primitives for each call; on a GPU, MLX
//! makes kernels of its elementwise parts. A graph with [`cond`](crate::cond()), [`while_loop`](crate::while_loop()) or
//! [`scan`](crate::scan()) is run node by node, since values have to be read on the way. [`jit`](crate::jit()) does all
//! of this at the first call with new types and caches the result; [`CacheStats`](crate::CacheStats) counts hits and
//! misses, with the reasons of the misses.
//!
//! # What is left between formulas
//!
//! On the CPU, neighbouring elementwise operations on large arrays become one kernel that runs them block by block in
//! the cache, with the bits of the operations one by one, except where `exp` and similar functions differ by units in
//! the last place. The report counts them; gradients and `vmap` run the operations one by one.
//!
//! ```
//! # use mlx::{Array, Device, Dtype, ones};
//! # use mlx_compiler::jit;
//! # fn main() -> Result<(), mlx_compiler::Error> {
//! let squash = jit(|x: &Array| (x * 0.5 + 1.0).tanh().abs());
//! let lowered = squash.lower(&ones([64, 64]))?;
//! # if Device::current()? == Device::Cpu && mlx::cpu::are_kernels_enabled() {
//! assert_eq!(lowered.report().elementwise_kernels, [4]);
//! assert!(lowered.to_string().contains("fused_group x0 {"));
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! [`KernelFusion`](crate::KernelFusion) has the conditions under which operations are fused like this.
//!
//! # Is it right?
//!
//! [`Report::verify`](crate::Report::verify) runs both forms of each formula on your own inputs:
//!
//! ```
//! # use mlx::{Array, Dtype, keepdims, ones};
//! # use mlx_compiler::jit;
//! # fn block(x: &Array, weight: &Array) -> Array {
//! #     x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight
//! # }
//! # fn main() -> Result<(), mlx_compiler::Error> {
//! # let (x, weight) = (ones([2, 4]), ones([4]));
//! let block = jit(block);
//! let y = block.call((&x, &weight))?;
//! for difference in block.report().unwrap_or_default().verify([&x, &weight])? {
//!     assert!(difference.max_error <= 1e-5 * difference.scale);
//! }
//! # y.eval()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The text of a graph
//!
//! ```text
//! graph   := "graph" name "(" [declaration ("," declaration)*] ")" "{" line* "return" [operand ("," operand)*] "}"
//! line    := "const" declaration
//!          | declaration ("," declaration)* "=" operation [operand ("," operand)*] attribute* ["@" device] ["{" graph* "}"]
//! declaration := value ":" dtype "[" [size ("," size)*] "]"
//! value   := "x" number (an input) | "c" number (a captured array) | "%" number (an output of a node)
//! operand := value | literal [":" dtype]
//! literal := "true" | "false" | a whole or decimal number | "inf" | "NaN" | "(" re "," im ")"
//! attribute := name | name "=" (literal | "[" numbers "]" | dtype | "none" | text in double quotes)
//! ```
//!
//! A number without a dtype is `bool`, `int32` when whole, `float32` when decimal, `complex64` in brackets. What
//! follows `#` is a comment. Values are defined before they are used; graphs inside a node use only their own values.
