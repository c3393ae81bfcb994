// The CPU backend as this library sees it: operations as bytes, three questions to Rust, and how a kernel is queued.
#ifndef MLX_NATIVE_CPU_H
#define MLX_NATIVE_CPU_H

#include "mlx/primitives.h"
#include "mlx_ops.h"
#include "run.h"

// An operation, or its gradient.
struct CpuOp {
  ops::Bytes bytes;
  bool is_gradient = false;

  mlx_native_op raw() const {
    return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), is_gradient};
  }

  // "host kernel fast.rms_norm", "host kernel fast.rms_norm gradient".
  const char* name() const;
};

// Whether there is a backend for this stream.
bool kernels_on(const mlx::core::Stream& stream);

// Whether a kernel computes an operation of arrays of these types, and how it takes them.
bool prepare(const CpuOp& op, const Arrays& inputs, mlx_native_prepared& prepared);

// Whether a kernel computes an operation of buffers with this layout; their data is not read.
bool supports(const CpuOp& op, const Buffers& buffers);

// Queues the kernel on the stream: buffers have their data, or will have it when the stream gets there.
void run_kernel(const CpuOp& op, const Arrays& inputs, Arrays& outputs, std::shared_ptr<Buffers> buffers, mlx::core::Stream stream);

// Patches the evaluation of MLX's classes and returns for how many that was done.
int hook_evaluations();

#endif
