// Copies of arrays beside what MLX's encoder gathers: all in one launch, on the stream itself.
#ifndef MLX_NATIVE_CUDA_COPIES_H
#define MLX_NATIVE_CUDA_COPIES_H

#ifdef __linux__

#include <cstdint>
#include <vector>

#include "cuda_kernel.h"

namespace cuda {

class Copies {
 public:
  void add(const void* from, void* to, size_t bytes);

  // Launches the copies behind what the stream has been given.
  void run(const mx::Stream& s, void* driver_stream);

 private:
  struct Copy {
    const void* from;
    void* to;
    uint64_t bytes;
  };
  static constexpr size_t kMost = 64;

  std::vector<Copy> copies_;
};

// Where an array's first element is.
char* address_of(const mx::array& x);

// Where MLX keeps the address of an array's memory.
void* const* address_place(const mx::array::Data& data);

} // namespace cuda

#endif

#endif
