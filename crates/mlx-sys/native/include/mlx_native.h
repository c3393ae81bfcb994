/* What mlx-c does not offer and a safe Rust wrapper needs. Built into the same shared library as mlx-c. */
#ifndef MLX_NATIVE_H
#define MLX_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mlx/c/mlx.h"

/* Raised with every change of this header, and of how operations are encoded. */
#define MLX_NATIVE_VERSION 12

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
/* As mlx_eval and mlx_synchronize. What is queued on CPU streams runs on this thread where nothing is queued before it. */
int mlx_native_eval(const mlx_vector_array outputs);
int mlx_native_synchronize(const mlx_stream s);
/* A stream for this thread. When the thread has ended, others get its CPU streams. */
int mlx_native_stream_new(mlx_stream* res, const mlx_device device);
/* Makes a copy of `s` this thread's innermost scope. */
int mlx_native_stream_push(const mlx_stream s);
/* Ends the innermost scope; nothing happens when there is none. */
void mlx_native_stream_pop(void);
bool mlx_native_stream_is_gpu(const mlx_stream s);

/* ---- The default random key of this thread ----------------------------------------------------------------
 * The two words of the key, the first in the high half, that the next key is split off. Lives here because evcxr
 * duplicates Rust statics. */

/* Returns whether this thread has a default key, and writes it to `key`. */
bool mlx_native_random_key(uint64_t* key);
void mlx_native_random_key_set(uint64_t key);
/* What a function that is being traced on this thread takes its keys from, or NULL: a pointer that only Rust reads. */
void* mlx_native_key_source(void);
/* Replaces it and returns the one before. */
void* mlx_native_key_source_swap(void* source);

/* ---- Groups of processes ---------------------------------------------------------------------------------
 * By name, for the process: operations of a graph name their group. A group whose communication is a Rust function, or
 * one of MLX's own. */

typedef enum mlx_native_collective_kind_ {
  MLX_NATIVE_ALL_SUM,
  MLX_NATIVE_ALL_MAX,
  MLX_NATIVE_ALL_MIN,
  MLX_NATIVE_ALL_GATHER,
  MLX_NATIVE_SUM_SCATTER,
  MLX_NATIVE_SEND,
  MLX_NATIVE_RECV
} mlx_native_collective_kind;

/* One communication: the shape and dtype are those of the input, or of the output where there is none. Both are
 * row-contiguous, and may be the same memory. */
typedef struct mlx_native_collective_call_ {
  mlx_native_collective_kind kind;
  int peer; /* of send and recv */
  mlx_dtype dtype;
  const int* shape;
  size_t ndim;
  const void* input;
  size_t input_size; /* in bytes */
  void* output;
  size_t output_size;
} mlx_native_collective_call;

/* Runs on a CPU stream's thread. On failure it leaves its text in the error slot and returns non-zero. */
typedef int (*mlx_native_collective)(void* payload, const mlx_native_collective_call* call);

/* Gives `name` to a group that communicates by `run`; `payload` is freed with `dtor` on failure only: groups live as long
 * as the process. */
int mlx_native_group_new(
    const char* name,
    int rank,
    int size,
    mlx_native_collective run,
    void* payload,
    void (*dtor)(void*));
/* Forms MLX's own group of a backend, and gives it `name` if it has more than one rank. */
int mlx_native_group_of_mlx(const char* name, const char* backend, bool strict, int* rank, int* size);
/* What `mlx_native_group_new` was given; NULL for groups of MLX's own. */
void* mlx_native_group_payload(const char* name);
/* As MLX's `split`, of one of its own groups. */
int mlx_native_group_split(const char* name, const char* part, int color, int key);
/* Borrowed for ever; empty when there is none. */
mlx_distributed_group mlx_native_group(const char* name);
/* How often this was called before: for names of groups. */
uint64_t mlx_native_group_count(void);
/* The name of the group that a backend stands for, or NULL. Valid for ever. */
const char* mlx_native_group_current(const char* backend);
void mlx_native_group_set_current(const char* backend, const char* name);
/* Makes no backend stand for this group any more. */
void mlx_native_group_retire(const char* name);

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
 * the kernel must read strides. `origins` may be null; otherwise output `i` starts with the elements of input
 * `origins[i]`, of its type, unless that is -1: in that input's memory if that is not needed elsewhere, copied otherwise. The
 * kernel sees such an input without elements. `captured` may be empty; otherwise the kernel sees these arrays, which are
 * evaluated, after `inputs`, with whatever strides they have, and `composed` does not: they are no part of MLX's graph.
 * `identity`: two applications with equal non-zero identity and equal inputs may be merged by MLX's compiler;
 * 0 never merges. `payload` is freed with `dtor` (which may run on any thread) after the last use, also
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

/* An exporter of a function, to free with mlx_function_exporter_free. Named inputs reach the function behind the others, in
 * the order of their names. */
int mlx_native_function_exporter(
    mlx_function_exporter* res,
    const char* file,
    const mlx_closure fun,
    bool shapeless);

/* Traces and writes the function for these inputs, of which the last `count` have names. */
int mlx_native_function_exporter_apply(
    const mlx_function_exporter exporter,
    const mlx_vector_array inputs,
    const char* const* names,
    size_t count);

/* Copies small evaluated arrays side by side into one buffer, which lives as long as any of them; others come back as
 * they are, and all do on a GPU. Network weights read one after the other are read faster from there. */
int mlx_native_compact(mlx_vector_array* res, const mlx_vector_array arrays);

/* ---- The CPU backend -----------------------------------------------------------------------------------
 * Kernels in Rust compute on CPU streams in the place of MLX's code. Two ways lead to them: mlx_native_fast, whose
 * operations become a primitive of this library, and MLX's own classes (Exp, Softmax, Matmul, ...), whose virtual function
 * `eval_cpu` is patched when the backend is installed, so that gradients, vmap and compiled graphs use the kernels too.
 *
 * The backend decides everything about an operation; this library only asks. An operation crosses the border as bytes:
 * its place in the operation table (crates/mlx/src/op/table.rs), two bytes with the low one first, then its attributes in
 * the table's order. mlx_ops.h, generated from the table, has a struct for each. */

typedef struct mlx_native_op_ {
  const uint8_t* bytes;
  size_t size;
  bool is_gradient; /* the gradient: inputs are those of the operation, then the gradient of its output */
} mlx_native_op;

/* A number that changes with the operation table: callers that were built with another one must not go on. */
uint64_t mlx_native_op_table(void);

/* The most inputs that an operation with a kernel has, the gradient of its output among them. */
#define MLX_NATIVE_MAX_INPUTS 6

/* How a kernel takes the inputs of an operation that is being applied. */
typedef struct mlx_native_prepared_ {
  mlx_dtype input_dtypes[MLX_NATIVE_MAX_INPUTS]; /* what each input is cast to */
  int broadcast_input; /* the input that is then broadcast to `broadcast_shape`; -1 for none */
  int broadcast_shape[4];
  mlx_dtype output_dtype;
  int output_like; /* the input whose shape the output has */
  int output_last; /* but for the size of its last axis; -1 to keep that too */
  size_t n_gradients; /* the gradient has a kernel, which gives that of the first n inputs; 0 for none */
  uint32_t batched_inputs; /* vmap over axis 0 of exactly these inputs (a bit each) is the kernel on them; 0 for never */
} mlx_native_prepared;

/* Whether a kernel computes an operation of inputs of these types, and how. Strides and data are null. */
typedef bool (*mlx_native_cpu_prepare)(
    const mlx_native_op* op,
    const mlx_native_buffer* inputs,
    size_t n_inputs,
    mlx_native_prepared* res);

/* Whether a kernel computes an operation of MLX's that is being evaluated. Strides are known, data is null or not yet
 * computed. */
typedef bool (*mlx_native_cpu_supports)(
    const mlx_native_op* op,
    const mlx_native_buffer* inputs,
    size_t n_inputs,
    const mlx_native_buffer* output);

/* Computes, on MLX's stream thread. Returns as mlx_native_kernel does; it must not unwind. */
typedef int (*mlx_native_cpu_run)(
    const mlx_native_op* op,
    const mlx_native_buffer* inputs,
    size_t n_inputs,
    const mlx_native_buffer* outputs,
    size_t n_outputs);

typedef struct mlx_native_cpu_backend_ {
  mlx_native_cpu_prepare prepare;
  mlx_native_cpu_supports supports;
  mlx_native_cpu_run run;
} mlx_native_cpu_backend;

/* From now on CPU streams of this process use this backend; the first caller's stays. `hooked` gets the number of MLX's
 * classes whose evaluation was patched: 0 where this build of MLX is not laid out as expected. */
int mlx_native_cpu_install(int* hooked, mlx_native_cpu_backend backend);
/* How often the kernel of an operation, by its place in the table, or of its gradient has run in this process. */
uint64_t mlx_native_cpu_runs(int op, bool is_gradient);

/* An operation of mlx::core::fast, or of mlx.nn, on inputs in the table's order: by a kernel where there is one, in MLX's
 * own operations elsewhere. */
int mlx_native_fast(
    mlx_array* res,
    const uint8_t* op,
    size_t op_size,
    const mlx_array* inputs,
    size_t n_inputs,
    const mlx_stream s);

/* ---- Patches of virtual function tables ----------------------------------------------------------------*/

/* From now on MLX's own operations on CPU streams keep sums in a wider type than their result's and compute functions of
 * doubles in double. To be called before mlx_native_cpu_install. `hooked` gets the number of classes: 0 where this build
 * of MLX is not laid out as expected. */
int mlx_native_cpu_widen(int* hooked);

/* From now on powers, remainders, and absolute values and signs of complex numbers have the right derivatives, and
 * factorizations and inverses of matrices have derivatives. `hooked` gets the number of rules: 0 where this build of MLX
 * is not laid out as expected. */
int mlx_native_replace_gradients(int* hooked);

/* How many virtual functions have been patched in this process so far. */
int mlx_native_vtable_hooks(void);

/* mlx_linalg_pinv, with derivatives also where singular values are equal. */
int mlx_native_linalg_pinv(mlx_array* res, const mlx_array a, const mlx_stream s);

/* Whether kernels of our own compute on CUDA streams: with NVRTC, on devices from compute capability 8.0 on, unless
 * `MLX_CUDA_KERNELS=0`. */
bool mlx_native_cuda_kernels(void);
/* How often kernels of our own have computed on CUDA in the place of a class of MLX's: "LayerNorm", "QuantizedMatmul", ...
 * 0 too where there are none. */
uint64_t mlx_native_cuda_kernel_runs(const char* name);

/* Notes the moment at which the GPU has done everything that this thread gave to its default stream there: an event of
 * CUDA's, or null where the GPU is not one of NVIDIA's. */
int mlx_native_gpu_moment(void** moment);
/* The time between two moments, on the GPU's clock. Waits for the second one. */
int mlx_native_gpu_time_between(double* microseconds, void* start, void* end);
void mlx_native_gpu_moment_free(void* moment);

/* A function of arrays that runs as a program: on CUDA what it launches is recorded at the second call with inputs of these
 * types, and launched again as one graph by later calls. Elsewhere, under transforms, and where that is not possible, a call is
 * one of the function. */
typedef struct mlx_native_program_ {
  void* ctx;
} mlx_native_program;

int mlx_native_program_new(mlx_native_program* res, const mlx_closure function);
int mlx_native_program_call(mlx_vector_array* res, const mlx_native_program program, const mlx_vector_array inputs);
/* What runs, in words, valid until the next call on this thread: empty while nothing has been recorded. */
const char* mlx_native_program_report(const mlx_native_program program);
int mlx_native_program_free(mlx_native_program program);

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

/* mlx_checkpoint whose vectorized form is made by the function above. */
int mlx_native_checkpoint(mlx_closure* res, const mlx_closure fun);

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
