// The kernels that Rust has installed, how often each has run, and how one is queued.
#include "cpu.h"

#include <array>
#include <mutex>

#include "guard.h"

namespace mx = mlx::core;

namespace {

struct Installed {
  mlx_native_cpu_accepts accepts = nullptr;
  mlx_native_cpu_run run = nullptr;
  int replaced = 0;
};

// Written once, before `is_installed` is set.
Installed installed;
std::atomic<bool> is_installed{false};

std::array<std::atomic<uint64_t>, MLX_NATIVE_CPU_KERNELS> counters{};

constexpr const char* kNames[] = {
    "host kernel exp",
    "host kernel log",
    "host kernel sin",
    "host kernel cos",
    "host kernel tanh",
    "host kernel sigmoid",
    "host kernel erf",
    "host kernel square",
    "host kernel sqrt",
    "host kernel rsqrt",
    "host kernel negative",
    "host kernel abs",
    "host kernel fast.gelu",
    "host kernel fast.gelu_approx",
    "host kernel fast.silu",
    "host kernel add",
    "host kernel subtract",
    "host kernel multiply",
    "host kernel divide",
    "host kernel maximum",
    "host kernel minimum",
    "host kernel fast.swiglu",
    "host kernel softmax",
    "host kernel logsumexp",
    "host kernel reduce",
    "host kernel matmul",
    "host kernel addmm",
    "host kernel fast.linear",
    "host kernel conv1d",
    "host kernel quantized_matmul",
    "host kernel fast.rms_norm",
    "host kernel fast.layer_norm",
    "host kernel fast.rope",
    "host kernel fast.scaled_dot_product_attention",
    "host kernel fast.cross_entropy",
    "host kernel fast.rms_norm gradient",
    "host kernel fast.layer_norm gradient",
    "host kernel fast.scaled_dot_product_attention gradient",
    "host kernel fast.cross_entropy gradient",
};
static_assert(std::size(kNames) == MLX_NATIVE_CPU_KERNELS);

} // namespace

const char* kernel_name(int kernel) {
  return kernel >= 0 && kernel < MLX_NATIVE_CPU_KERNELS ? kNames[kernel] : "host kernel ";
}

bool kernels_on(const mx::Stream& stream) {
  return is_installed.load(std::memory_order_acquire) && stream.device.type == mx::Device::cpu;
}

bool kernel_accepts(const Call& call, const Buffers& buffers) {
  return installed.accepts(
      &call, buffers.inputs.data(), buffers.inputs.size(), buffers.outputs.data(), buffers.outputs.size());
}

void run_kernel(const Call& call, const Arrays& inputs, Arrays& outputs, std::shared_ptr<Buffers> buffers, mx::Stream stream) {
  auto& encoder = mx::cpu::get_command_encoder(stream);
  for (auto& input : inputs) {
    encoder.set_input_array(input);
  }
  for (auto& output : outputs) {
    encoder.set_output_array(output);
  }
  encoder.dispatch([call, buffers = std::move(buffers)] {
    run_guarded(kernel_name(call.kernel), &counters[call.kernel], *buffers, [&] {
      return installed.run(
          &call, buffers->inputs.data(), buffers->inputs.size(), buffers->outputs.data(), buffers->outputs.size());
    });
  });
}

extern "C" int mlx_native_cpu_install(int* replaced, mlx_native_cpu_accepts accepts, mlx_native_cpu_run run) {
  return guarded("cpu_install", [&] {
    static std::mutex lock;
    std::lock_guard<std::mutex> hold(lock);
    if (!is_installed.load()) {
      installed.accepts = accepts;
      installed.run = run;
      is_installed.store(true, std::memory_order_release);
      installed.replaced = replace_evaluations();
    }
    *replaced = installed.replaced;
  });
}

extern "C" uint64_t mlx_native_cpu_runs(int kernel) {
  return kernel >= 0 && kernel < MLX_NATIVE_CPU_KERNELS ? counters[kernel].load(std::memory_order_relaxed) : 0;
}

extern "C" const char* mlx_native_cpu_kernel_name(int kernel) {
  return kernel_name(kernel) + sizeof("host kernel ") - 1;
}
