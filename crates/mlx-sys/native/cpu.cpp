// The backend that Rust has installed, how often each of its kernels has run, and how one is queued.
#include "cpu.h"

#include <array>
#include <mutex>

#include "guard.h"

namespace mx = mlx::core;

namespace {

// Written once, before `is_installed` is set.
mlx_native_cpu_backend backend{};
std::atomic<bool> is_installed{false};

constexpr size_t kOps = std::size(ops::kNames);
// Of operations, then of their gradients.
std::array<std::atomic<uint64_t>, 2 * kOps> counters{};

size_t number_of(uint16_t id, bool is_gradient) {
  return id + (is_gradient ? kOps : 0);
}

} // namespace

const char* CpuOp::name() const {
  // Never destroyed: kernels run until the very end of the process.
  static const auto* names = [] {
    auto* made = new std::vector<std::string>;
    for (bool is_gradient : {false, true}) {
      for (auto* name : ops::kNames) {
        made->push_back(std::string("host kernel ") + name + (is_gradient ? " gradient" : ""));
      }
    }
    return made;
  }();
  return names->at(number_of(ops::id_of(bytes), is_gradient)).c_str();
}

bool kernels_on(const mx::Stream& stream) {
  return is_installed.load(std::memory_order_acquire) && stream.device.type == mx::Device::cpu;
}

bool prepare(const CpuOp& op, const Arrays& inputs, mlx_native_prepared& prepared) {
  std::array<mlx_native_buffer, MLX_NATIVE_MAX_INPUTS> buffers;
  if (inputs.size() > buffers.size()) {
    return false;
  }
  for (size_t i = 0; i < inputs.size(); i++) {
    auto& x = inputs[i];
    buffers[i] = {nullptr, x.shape().data(), nullptr, x.ndim(), x.size(), mlx_dtype_to_c(x.dtype())};
  }
  auto raw = op.raw();
  return backend.prepare(&raw, buffers.data(), inputs.size(), &prepared);
}

bool supports(const CpuOp& op, const Buffers& buffers) {
  auto raw = op.raw();
  return backend.supports(&raw, buffers.inputs.data(), buffers.inputs.size(), &buffers.outputs[0]);
}

void run_kernel(const CpuOp& op, const Arrays& inputs, Arrays& outputs, std::shared_ptr<Buffers> buffers, mx::Stream stream) {
  auto& encoder = mx::cpu::get_command_encoder(stream);
  for (auto& input : inputs) {
    encoder.set_input_array(input);
  }
  for (auto& output : outputs) {
    encoder.set_output_array(output);
  }
  auto* counter = &counters[number_of(ops::id_of(op.bytes), op.is_gradient)];
  encoder.dispatch([op, counter, buffers = std::move(buffers)] {
    run_guarded(op.name(), counter, *buffers, [&] {
      auto raw = op.raw();
      return backend.run(
          &raw, buffers->inputs.data(), buffers->inputs.size(), buffers->outputs.data(), buffers->outputs.size());
    });
  });
}

extern "C" int mlx_native_cpu_install(int* hooked, mlx_native_cpu_backend given) {
  return guarded("cpu_install", [&] {
    static std::mutex lock;
    static int done = 0;
    std::lock_guard<std::mutex> hold(lock);
    if (!is_installed.load()) {
      backend = given;
      is_installed.store(true, std::memory_order_release);
      done = hook_evaluations();
    }
    *hooked = done;
  });
}

extern "C" uint64_t mlx_native_cpu_runs(int op, bool is_gradient) {
  bool is_known = op >= 0 && static_cast<size_t>(op) < kOps;
  return is_known ? counters[number_of(static_cast<uint16_t>(op), is_gradient)].load(std::memory_order_relaxed) : 0;
}

extern "C" uint64_t mlx_native_op_table(void) {
  return ops::kFingerprint;
}
