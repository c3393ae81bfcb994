// Kernels of our own on CUDA: how one is found, compiled and launched.
//
// The sources are in `cuda/`, one file for each family, and are part of this library as text. NVRTC compiles an instance of a
// template at its first use; the module stays for the process. MLX's encoder launches it, in the graph that it gathers.
#ifndef MLX_NATIVE_CUDA_KERNEL_H
#define MLX_NATIVE_CUDA_KERNEL_H

#ifdef __linux__

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "mlx/primitives.h"

namespace cuda {

namespace mx = mlx::core;

using Arrays = std::vector<mx::array>;

// As in CUDA: what it launches by value.
struct Size {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

// A compiled kernel of one device.
struct Kernel {
  void* function;
  std::string name;
};

// Whether kernels of our own are used at all: a device from compute capability 8.0 on, an MLX that exports what launches
// them, NVRTC, and no `MLX_CUDA_KERNELS=0`.
bool kernels_on();

// How many multiprocessors the device has.
int processors(const mx::Stream& s);

// The instance of a template, as in `norm<float, true, 256, 4, 4>`, of the source file with this name; nothing where NVRTC
// or the driver refuses it, and then the caller leaves the work to MLX.
const Kernel* find(const char* file, const std::string& instance, const mx::Stream& s, unsigned shared_bytes = 0);

// The name of a type of elements in the sources; null for those that kernels do not take.
const char* type_name(mx::Dtype dtype);

// 1 where no kernel of ours writes this array in the graph that is being recorded, so that one may read it before the kernels
// that it depends on have ended; else 0.
int may_read_early(const mx::array& x);

// Whether the driver's function is one of ours, which begin before those that they depend on have ended.
bool begins_early(const void* function);

// Whether a pointer to the first element of this array may be read by 16 bytes.
bool is_aligned(const mx::array& x);

// Gives an array without data memory of the device, in row-major order.
void allocate(mx::array& out, const mx::Stream& s);

// An array of this type for use within one evaluation. `keep` it.
mx::array scratch(mx::Shape shape, mx::Dtype dtype, const mx::Stream& s);

// Computes an array of one operation whose inputs are computed: in the middle of an evaluation.
mx::array computed(mx::array result);

// The array in row-major order: itself or a copy, which is `keep`t.
mx::array in_rows(const mx::array& x, const mx::Stream& s);

// Keeps arrays until the GPU has done what was given to it so far, and as long as a graph that is being recorded.
void keep(const mx::Stream& s, Arrays arrays);

// Has MLX call and drop a function when the GPU has done what was given to it up to the next commit.
void at_completion(const mx::Stream& s, std::function<void()> done);

// One launch: arguments in the order of the kernel's parameters.
class Launch {
 public:
  Launch(const Kernel& kernel, const mx::Stream& s);

  Launch& input(const mx::array& x);
  Launch& input(const std::optional<mx::array>& x);
  Launch& output(const mx::array& x);
  Launch& null();

  // A number, or numbers side by side.
  template <class Value>
  Launch& value(Value value) {
    static_assert(std::is_trivially_copyable_v<Value> && sizeof(Value) <= kMostBytes / 2);
    arguments_[n_++] = n_bytes_;
    __builtin_memcpy(bytes_ + n_bytes_, &value, sizeof value);
    n_bytes_ += (sizeof value + 7) / 8 * 8;
    return *this;
  }

  void run(Size blocks, unsigned threads, unsigned shared_bytes = 0);

 private:
  void pointer(const mx::array& x);

  static constexpr int kMost = 24;
  static constexpr size_t kMostBytes = 2048;

  const Kernel& kernel_;
  void* encoder_;
  // Where each argument begins.
  size_t arguments_[kMost];
  int n_ = 0;
  size_t n_bytes_ = 0;
  alignas(8) char bytes_[kMostBytes];
};

} // namespace cuda

#endif

#endif
