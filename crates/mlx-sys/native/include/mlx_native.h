/* What mlx-c does not offer and a safe Rust wrapper needs. Built into the same shared library as mlx-c. */
#ifndef MLX_NATIVE_H
#define MLX_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mlx/c/mlx.h"

/* Raised with every change of this header. */
#define MLX_NATIVE_VERSION 7

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors -------------------------------------------------------------------------------------------
 * Every failing call leaves its text in a slot of the calling thread. The slot keeps the first text until it
 * is cleared, so an error inside a closure is not hidden by the "closure returned a non-zero value" after it.
 * The text is literal: a '%' in a path is only a '%'. */

/* The text of the first error since the last clear on this thread, or NULL. Valid until the next clear. */
const char* mlx_native_error(void);
/* Empties this thread's slot. */
void mlx_native_error_clear(void);
/* Puts `text` into this thread's slot if it is empty. */
void mlx_native_error_set(const char* text);

/* ---- Identity ----------------------------------------------------------------------------------------*/

/* Versions this library was compiled against: "0.32.4" and "0.7.0", and the version of this header. */
const char* mlx_native_compiled_mlx_version(void);
const char* mlx_native_compiled_mlxc_version(void);
int mlx_native_version(void);
/* A number that no other call in this process returns. Lives here because evcxr duplicates Rust statics. */
uint64_t mlx_native_next_id(void);

/* True for the first caller in this process and false ever after: for set-up that must happen once. */
bool mlx_native_first(void);

/* ---- Threads --------------------------------------------------------------------------------------------*/

/* Makes this thread ready for MLX; to be called before anything else, and cheap once it has been. Fails in a child of
 * fork, and while the storage of the thread is being destroyed: then nothing may be called but the functions of the
 * error slot, and, in such a thread but not in such a child, those that free. */
int mlx_native_enter(void);
/* Whether this process is a child of fork, made after the library was loaded. */
bool mlx_native_is_forked(void);

/* ---- The stream of this thread --------------------------------------------------------------------------
 * Operations go to the innermost scope's stream, or to the default stream of the default device. Scopes belong
 * to a thread, and live here rather than in Rust because evcxr duplicates Rust statics. */

/* Borrowed until the scope changes or this is called again; an empty handle with an error when there is no stream.
 * Outside of scopes the default stream is looked up again only when the default device has changed since. */
mlx_stream mlx_native_stream(void);
/* A stream for this thread. When the thread has ended, others get its CPU streams. */
int mlx_native_stream_new(mlx_stream* res, const mlx_device device);
/* Makes a copy of `s` this thread's innermost scope. */
int mlx_native_stream_push(const mlx_stream s);
/* Ends the innermost scope; nothing happens when there is none. */
void mlx_native_stream_pop(void);
bool mlx_native_stream_is_gpu(const mlx_stream s);

/* ---- Host kernels: a function over raw slices as an MLX primitive on the CPU ---------------------------*/

typedef struct mlx_native_buffer_ {
  void* data;             /* inputs must not be written */
  const int* shape;       /* ndim entries */
  const int64_t* strides; /* ndim entries, in elements; outputs are row-contiguous */
  size_t ndim;
  size_t size;            /* number of elements */
  mlx_dtype dtype;
} mlx_native_buffer;

/* Returned by a kernel that failed and has written its outputs all the same. */
#define MLX_NATIVE_OUTPUTS_DEFINED 2

/* Runs on MLX's stream thread. Returns 0, or non-zero after mlx_native_error_set: the text reaches `eval`.
 * It must not unwind (Rust: catch panics).
 *
 * What MLX 0.32.4 does with an error: the stream's thread keeps the first text and goes on with everything that is
 * queued behind the failed kernel, in the same `eval` too. The text is thrown once: by the wait at the end of `eval`;
 * after `async_eval` by the next wait or synchronisation, or, on the thread that first gave MLX's scheduler work, by
 * whatever that thread evaluates next. Therefore all outputs of a failed kernel are filled with zeros here before the
 * error goes on: what is queued behind reads defined values and, where it uses them as indices, valid ones. A kernel
 * that reports an error need not write its outputs; one that has written what others may read returns
 * MLX_NATIVE_OUTPUTS_DEFINED. The arrays that depend on them count as evaluated, with values
 * that mean nothing, so that after an error whatever was evaluated with it must be thrown away. */
typedef int (*mlx_native_kernel)(
    void* payload,
    const mlx_native_buffer* inputs,
    size_t n_inputs,
    const mlx_native_buffer* outputs,
    size_t n_outputs);

/* Builds the (lazy) application of a kernel to `inputs` on the CPU stream `s`.
 * `shapes` holds the outputs' shapes one after another, `ndims[i]` entries each.
 * `composed` is a closure over the same inputs giving the same outputs; vjp, jvp and vmap go through it, and
 * it may be empty, in which case they are errors. With `row_contiguous`, inputs are made row-contiguous first; without,
 * the kernel must look at strides. `origins` may be null; otherwise output `i` starts with the elements of input
 * `origins[i]`, of its type, unless that is -1: in that input's memory if nobody else needs it, copied otherwise. The
 * kernel sees such an input without elements. `captured` may be empty; otherwise the kernel sees these arrays, which are
 * evaluated, after `inputs`, with whatever strides they have, and `composed` does not: they are no part of MLX's graph.
 * `identity`: two applications with equal non-zero identity and equal inputs may be merged by MLX's compiler;
 * 0 never merges. `payload` is freed with `dtor` (which may run on any thread) when the last use is gone, also
 * when this call fails. */
int mlx_native_host_kernel(
    mlx_vector_array* res,
    const char* name,
    const mlx_vector_array inputs,
    const int* shapes,
    const size_t* ndims,
    const mlx_dtype* dtypes,
    size_t n_outputs,
    mlx_native_kernel kernel,
    void* payload,
    void (*dtor)(void*),
    const mlx_closure composed /* may be empty */,
    bool row_contiguous,
    const int* origins /* may be null */,
    const mlx_vector_array captured /* may be empty */,
    uint64_t identity,
    const mlx_stream s);

/* Number of host kernel executions (not applications) since the process started. */
uint64_t mlx_native_host_kernel_runs(void);

/* The same count for kernels with this name. */
uint64_t mlx_native_host_kernel_runs_of(const char* name);

/* Copies small evaluated arrays side by side into one buffer, which lives as long as any of them; others come back as
 * they are, and all do on a GPU. Network weights read one after the other are read faster from there. */
int mlx_native_compact(mlx_vector_array* res, const mlx_vector_array arrays);

/* ---- Kernels of ours on the CPU ------------------------------------------------------------------------
 * What Rust computes in the place of MLX's own code on CPU streams. Two ways lead there: the functions
 * mlx_native_fast_* below, and MLX's own operations (Exp, Softmax, Matmul, ...), whose evaluation is replaced when
 * kernels are installed, so that gradients, vmap and compiled graphs use them as well. */

typedef enum mlx_native_cpu_kernel_ {
  /* One input, one output of its shape and dtype. */
  MLX_NATIVE_EXP,
  MLX_NATIVE_LOG,
  MLX_NATIVE_SIN,
  MLX_NATIVE_COS,
  MLX_NATIVE_TANH,
  MLX_NATIVE_SIGMOID,
  MLX_NATIVE_ERF,
  MLX_NATIVE_SQUARE,
  MLX_NATIVE_SQRT,
  MLX_NATIVE_RSQRT,
  MLX_NATIVE_NEGATIVE,
  MLX_NATIVE_ABS,
  MLX_NATIVE_GELU,
  MLX_NATIVE_GELU_APPROX,
  MLX_NATIVE_SILU,
  /* Two inputs of one shape, by strides. */
  MLX_NATIVE_ADD,
  MLX_NATIVE_SUBTRACT,
  MLX_NATIVE_MULTIPLY,
  MLX_NATIVE_DIVIDE,
  MLX_NATIVE_MAXIMUM,
  MLX_NATIVE_MINIMUM,
  /* gate, x: silu(gate) * x. */
  MLX_NATIVE_SWIGLU,
  /* Over the last axis. */
  MLX_NATIVE_SOFTMAX,
  MLX_NATIVE_LOGSUMEXP,
  /* integers: the kind (0 sum, 1 max, 2 min), then the number of axes and the axes. */
  MLX_NATIVE_REDUCE,
  /* a [.., m, k], b [.., k, n]. */
  MLX_NATIVE_MATMUL,
  /* a, b and c, which broadcasts to the result; numbers: alpha, beta. */
  MLX_NATIVE_ADDMM,
  /* x [.., k], weight [n, k] of half precision: x @ transpose(weight). */
  MLX_NATIVE_LINEAR,
  /* x [n, length, in], weight [out, width, in / groups]; integers: stride, padding, dilation, groups. */
  MLX_NATIVE_CONV1D,
  /* x, weight, scales, biases; integers: group size, bits, transposed. */
  MLX_NATIVE_QUANTIZED_MATMUL,
  /* x, weight if integers[0]; numbers: eps. */
  MLX_NATIVE_RMS_NORM,
  /* x, weight if integers[0], bias if integers[1]; numbers: eps. */
  MLX_NATIVE_LAYER_NORM,
  /* x, offset, frequencies if integers[2]; integers: dims, traditional; numbers: base, scale. */
  MLX_NATIVE_ROPE,
  /* q, k, v, mask if integers[0] is 2, sinks if integers[1]; integers[0]: 0 no mask, 1 causal; numbers: scale. */
  MLX_NATIVE_ATTENTION,
  /* logits, targets. */
  MLX_NATIVE_CROSS_ENTROPY,
  /* The inputs of the kernel, then the gradient of its output; gives the gradients of the inputs. */
  MLX_NATIVE_RMS_NORM_GRADIENT,
  MLX_NATIVE_LAYER_NORM_GRADIENT,
  MLX_NATIVE_ATTENTION_GRADIENT,
  MLX_NATIVE_CROSS_ENTROPY_GRADIENT,
  MLX_NATIVE_CPU_KERNELS
} mlx_native_cpu_kernel;

/* Which kernel, with its attributes. */
typedef struct mlx_native_cpu_call_ {
  int kernel; /* mlx_native_cpu_kernel */
  int64_t integers[8];
  double numbers[4];
} mlx_native_cpu_call;

/* Whether a kernel can compute this and is worth it. Strides are known, data is not there yet. */
typedef bool (*mlx_native_cpu_accepts)(
    const mlx_native_cpu_call* call,
    const mlx_native_buffer* inputs,
    size_t n_inputs,
    const mlx_native_buffer* outputs,
    size_t n_outputs);

/* Computes, on MLX's stream thread. Returns as mlx_native_kernel does; it must not unwind. */
typedef int (*mlx_native_cpu_run)(
    const mlx_native_cpu_call* call,
    const mlx_native_buffer* inputs,
    size_t n_inputs,
    const mlx_native_buffer* outputs,
    size_t n_outputs);

/* From now on CPU streams of this process use these kernels; the first caller's stay. `replaced` gets the number of
 * MLX's own operations whose evaluation was replaced: 0 where this build of MLX is not laid out as expected. */
int mlx_native_cpu_install(int* replaced, mlx_native_cpu_accepts accepts, mlx_native_cpu_run run);
/* How often a kernel has run in this process. */
uint64_t mlx_native_cpu_runs(int kernel);
/* "exp", "fast.rms_norm": the operation, by the number of its kernel. */
const char* mlx_native_cpu_kernel_name(int kernel);

/* From now on MLX's own operations on CPU streams keep sums in a wider type than their result's and compute functions of
 * doubles in double. To be called before mlx_native_cpu_install. `replaced` gets the number of operations: 0 where this
 * build of MLX is not laid out as expected. */
int mlx_native_cpu_widen(int* replaced);

/* From now on powers, remainders, and absolute values and signs of complex numbers have the right derivatives, and
 * factorizations and inverses of matrices have derivatives. `replaced` gets the number of rules: 0 where this build of
 * MLX is not laid out as expected. */
int mlx_native_replace_gradients(int* replaced);

/* mlx_linalg_pinv, with derivatives also where singular values are equal. */
int mlx_native_linalg_pinv(mlx_array* res, const mlx_array a, const mlx_stream s);

/* mlx_fast_*, with a kernel of ours on CPU streams where one applies. */
int mlx_native_fast_rms_norm(
    mlx_array* res,
    const mlx_array x,
    const mlx_array weight /* may be null */,
    float eps,
    const mlx_stream s);
int mlx_native_fast_layer_norm(
    mlx_array* res,
    const mlx_array x,
    const mlx_array weight /* may be null */,
    const mlx_array bias /* may be null */,
    float eps,
    const mlx_stream s);
int mlx_native_fast_rope(
    mlx_array* res,
    const mlx_array x,
    int dims,
    bool traditional,
    mlx_optional_float base,
    float scale,
    const mlx_array offset,
    const mlx_array freqs /* may be null */,
    const mlx_stream s);
int mlx_native_fast_scaled_dot_product_attention(
    mlx_array* res,
    const mlx_array queries,
    const mlx_array keys,
    const mlx_array values,
    float scale,
    const char* mask_mode,
    const mlx_array mask_arr /* may be null */,
    const mlx_array sinks /* may be null */,
    bool force_fused,
    const mlx_stream s);
int mlx_native_fast_cross_entropy(
    mlx_array* res,
    const mlx_array logits,
    const mlx_array targets,
    const mlx_stream s);
/* What mlx.nn calls gelu, gelu_approx and silu, by their number above; composed where no kernel of ours applies. */
int mlx_native_fast_activation(mlx_array* res, int kernel, const mlx_array x, const mlx_stream s);
/* silu(gate) * x. */
int mlx_native_fast_swiglu(mlx_array* res, const mlx_array gate, const mlx_array x, const mlx_stream s);
/* x @ transpose(weight), in the dtype of x and weight together: half-precision weights are read as they are. */
int mlx_native_fast_linear(mlx_array* res, const mlx_array x, const mlx_array weight, const mlx_stream s);

/* ---- Transforms ----------------------------------------------------------------------------------------*/

/* mlx_detail_vmap_replace without its defects: a Scatter whose vectorized axis is not the first one wrote out of
 * bounds, and a long graph overflowed the stack. Axes count from the start. */
int mlx_native_vmap_replace(
    mlx_vector_array* res,
    const mlx_vector_array inputs,
    const mlx_vector_array s_inputs,
    const mlx_vector_array s_outputs,
    const int* in_axes,
    size_t in_axes_num,
    const int* out_axes,
    size_t out_axes_num);

/* mlx_checkpoint and mlx_custom_vjp whose vectorized form is made by the function above. */
int mlx_native_checkpoint(mlx_closure* res, const mlx_closure fun);
int mlx_native_custom_vjp(mlx_closure* res, const mlx_closure fun, const mlx_closure_custom fun_vjp);

/* ---- Graph inspection ----------------------------------------------------------------------------------*/

/* The name of the primitive that will compute `a` ("Add", "RMSNorm", ...), or "" when `a` has none. */
int mlx_native_primitive_name(mlx_string* res, const mlx_array a);
/* The number of distinct unevaluated nodes `a` depends on, itself included. */
int mlx_native_graph_size(size_t* res, const mlx_array a);
/* Whether `a` depends on an argument of a function that MLX is transforming or compiling on this thread. */
int mlx_native_is_tracer(bool* res, const mlx_array a);

/* MLX's transforms unmark what depends on the arguments of functions further out, so that reading it would cut it off
 * from them. A function begins with its arguments; it ends with its outputs or, when it failed, with a list that is
 * NULL. When the transform of it is done, the function further out resumes: `results` (or NULL), and what it gave to
 * functions that have ended, are marked again. Each begin has one end on the same thread. */
int mlx_native_transform_begin(const mlx_vector_array args);
int mlx_native_transform_end(const mlx_vector_array outputs);
int mlx_native_transform_resume(const mlx_vector_array results);

/* ---- Data ----------------------------------------------------------------------------------------------*/

/* The first element of an evaluated array, whatever its dtype; NULL with an error when it is not evaluated. */
const void* mlx_native_data(const mlx_array a);

#ifdef __cplusplus
}
#endif

#endif
