// Copies of whole arrays: what a recorded graph reads is put in its place before a launch, and its results are taken out
// behind it, all of one call in one launch.
//
// Formula: none, bytes. A row of blocks for each copy; 16 bytes a thread where both ends allow it. The limit is memory, or a
// launch for what is small. `from` may be memory of the host that the device can read.
// Refuses nothing: a list has up to `n` copies, and those behind the last have no bytes.
#include "numbers.cuh"

struct Copy {
  const uint8_t* from;
  uint8_t* to;
  uint64_t bytes;
};

template <int n>
struct Copies {
  Copy of[n];
};

struct alignas(16) Chunk {
  uint32_t words[4];
};

template <int n>
__global__ void copies(Copies<n> list) {
  Copy copy = list.of[blockIdx.y];
  uint64_t first = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  uint64_t step = uint64_t(gridDim.x) * blockDim.x;
  bool is_aligned = (reinterpret_cast<uint64_t>(copy.from) | reinterpret_cast<uint64_t>(copy.to)) % 16 == 0;
  uint64_t chunks = is_aligned ? copy.bytes / 16 : 0;
  for (uint64_t i = first; i < chunks; i += step) {
    reinterpret_cast<Chunk*>(copy.to)[i] = reinterpret_cast<const Chunk*>(copy.from)[i];
  }
  for (uint64_t i = chunks * 16 + first; i < copy.bytes; i += step) {
    copy.to[i] = copy.from[i];
  }
}
