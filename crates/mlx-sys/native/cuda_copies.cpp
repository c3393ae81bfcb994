// Copies of arrays on a stream (`cuda_copies.h`), by the kernel in `cuda/copies.cu`.
#include "cuda_copies.h"

#ifdef __linux__

#include <dlfcn.h>

#include <algorithm>
#include <stdexcept>

namespace cuda {

namespace {

using LaunchKernel = int (*)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);

LaunchKernel launch_kernel() {
  static auto launch = [] {
    auto* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    return library ? reinterpret_cast<LaunchKernel>(dlsym(library, "cuLaunchKernel")) : nullptr;
  }();
  return launch;
}

constexpr unsigned kThreads = 256;

// As many as keep a device busy with one large copy.
constexpr uint64_t kMostBlocks = 512;

} // namespace

void Copies::add(const void* from, void* to, size_t bytes) {
  if (from != to && bytes > 0) {
    copies_.push_back({from, to, bytes});
  }
}

void Copies::run(const mx::Stream& s, void* driver_stream) {
  if (copies_.empty()) {
    return;
  }
  auto* kernel = find("copies", "copies<64>", s);
  if (!kernel || !launch_kernel()) {
    throw std::runtime_error("CUDA program: NVRTC did not compile its copies; MLX_CUDA_PROGRAMS=0 does without");
  }
  for (size_t first = 0; first < copies_.size(); first += kMost) {
    Copy list[kMost] = {};
    size_t n = std::min(kMost, copies_.size() - first);
    std::copy_n(copies_.begin() + first, n, list);
    uint64_t most = 0;
    for (auto& copy : list) {
      most = std::max(most, copy.bytes);
    }
    auto blocks = std::clamp<uint64_t>(most / (kThreads * 32), 1, kMostBlocks);
    void* arguments[] = {list};
    int status = launch_kernel()(
        kernel->function, static_cast<unsigned>(blocks), static_cast<unsigned>(n), 1, kThreads, 1, 1, 0, driver_stream, arguments, nullptr);
    if (status != 0) {
      throw std::runtime_error("CUDA program: copying failed with the driver's status " + std::to_string(status));
    }
  }
  copies_.clear();
}

void* const* address_place(const mx::array::Data& data) {
  // MLX's own layout: the address comes first (`backend/cuda/allocator.h`).
  return static_cast<void* const*>(data.buffer().ptr());
}

char* address_of(const mx::array& x) {
  return static_cast<char*>(*address_place(*x.data_shared_ptr())) + x.offset();
}

} // namespace cuda

#endif
