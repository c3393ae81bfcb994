// Many small arrays side by side in one large buffer.
#include <cstring>
#include <memory>
#include <vector>

#include "guard.h"
#include "mlx/allocator.h"
#include "mlx/c/private/mlx.h"

namespace mx = mlx::core;

namespace {

constexpr size_t kLine = 64;

// MLX's allocator for the CPU keeps a buffer's size in front of its data.
constexpr size_t kHeader = sizeof(size_t);

// Whether buffers are plain memory behind such a header: not on a GPU.
bool has_plain_buffers() {
  static const bool is_plain = [] {
    auto data = mx::allocator::malloc(kLine);
    auto buffer = data.buffer();
    return static_cast<char*>(buffer.raw_ptr()) - static_cast<char*>(buffer.ptr()) == kHeader &&
        mx::allocator::allocator().size(buffer) >= kLine;
  }();
  return is_plain;
}

bool can_move(const mx::array& array) {
  return array.is_available() && !array.has_primitive() && array.flags().row_contiguous &&
      array.data_size() == array.size() && array.nbytes() > 0;
}

uintptr_t line_after(uintptr_t address) {
  return (address + kLine - 1) / kLine * kLine;
}

} // namespace

extern "C" int mlx_native_compact(mlx_vector_array* res, const mlx_vector_array arrays) {
  return guarded("compact", [&] {
    auto all = mlx_vector_array_get_(arrays);
    size_t total = 2 * kLine;
    for (auto& array : all) {
      if (can_move(array)) {
        total += line_after(kHeader + array.nbytes()) + kLine;
      }
    }
    if (has_plain_buffers() && total > 2 * kLine) {
      // Lives until the last of the arrays in it.
      auto whole = std::make_shared<mx::allocator::Data>(mx::allocator::malloc(total));
      auto next = reinterpret_cast<uintptr_t>(whole->buffer().raw_ptr());
      for (auto& array : all) {
        if (!can_move(array)) {
          continue;
        }
        auto place = line_after(next + kHeader);
        size_t size = array.nbytes();
        std::memcpy(reinterpret_cast<void*>(place - kHeader), &size, kHeader);
        std::memcpy(reinterpret_cast<void*>(place), array.data<void>(), size);
        next = place + size;
        mx::allocator::Data part(
            mx::allocator::Buffer{reinterpret_cast<void*>(place - kHeader)}, [whole](mx::allocator::Buffer) {});
        array = mx::array(std::move(part), array.shape(), array.dtype());
      }
    }
    mlx_vector_array_set_(*res, all);
  });
}
