/* What mlx-c does not offer and a safe Rust wrapper needs. Built into the same shared library as mlx-c. */
#ifndef MLX_NATIVE_H
#define MLX_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mlx/c/mlx.h"

/* Raised with every change of this header. */
#define MLX_NATIVE_VERSION 3

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

/* Versions this library was compiled against: "0.32.2" and "0.7.0", and the version of this header. */
const char* mlx_native_compiled_mlx_version(void);
const char* mlx_native_compiled_mlxc_version(void);
int mlx_native_version(void);
/* A number that no other call in this process returns. Lives here because evcxr duplicates Rust statics. */
uint64_t mlx_native_next_id(void);

/* True for the first caller in this process and false ever after: for set-up that must happen once. */
bool mlx_native_first(void);

/* ---- The stream of this thread --------------------------------------------------------------------------
 * Operations go to the innermost scope's stream, or to the default stream of the default device. Scopes belong
 * to a thread, and live here rather than in Rust because evcxr duplicates Rust statics. */

/* Borrowed until the scope changes or this is called again; an empty handle with an error when there is no stream.
 * Outside of scopes the default stream is looked up again only when the default device has changed since. */
mlx_stream mlx_native_stream(void);
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
 * What MLX 0.32.2 does with an error: the stream's thread keeps the first text and goes on with everything that is
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
 * it may be empty, in which case they are errors. With `row_contiguous`, inputs are made row-contiguous first.
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
    uint64_t identity,
    const mlx_stream s);

/* Number of host kernel executions (not applications) since the process started. */
uint64_t mlx_native_host_kernel_runs(void);

/* The same count for kernels with this name. */
uint64_t mlx_native_host_kernel_runs_of(const char* name);

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

/* ---- Data ----------------------------------------------------------------------------------------------*/

/* The first element of an evaluated array, whatever its dtype; NULL with an error when it is not evaluated. */
const void* mlx_native_data(const mlx_array a);

#ifdef __cplusplus
}
#endif

#endif
