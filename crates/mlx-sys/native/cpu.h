// Kernels of ours on the CPU: how MLX's operations and our own primitives reach them.
#ifndef MLX_NATIVE_CPU_H
#define MLX_NATIVE_CPU_H

#include "mlx/primitives.h"
#include "run.h"

using Call = mlx_native_cpu_call;

// Whether there are kernels for this stream.
bool kernels_on(const mlx::core::Stream& stream);

// Whether a kernel takes this; the buffers' data is not looked at.
bool kernel_accepts(const Call& call, const Buffers& buffers);

// Queues the kernel on the stream: buffers have their data, or will have it when the stream gets there.
void run_kernel(const Call& call, const Arrays& inputs, Arrays& outputs, std::shared_ptr<Buffers> buffers, mlx::core::Stream stream);

// "host kernel fast.rms_norm", by the kernel's number.
const char* kernel_name(int kernel);

// Replaces MLX's own evaluation on the CPU and returns for how many operations that was done.
int replace_evaluations();

#endif
