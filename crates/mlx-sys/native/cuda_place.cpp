// Positions of caches (`cuda_place.h`).
#include "cuda_place.h"

#ifdef __linux__

#include <string_view>

namespace cuda {

namespace {

bool fits_into(const mx::array& update) {
  if (update.primitive().name() != std::string_view("DynamicSliceUpdate")) {
    return false;
  }
  auto &cache = update.inputs()[0], &from = update.inputs()[1], &start = update.inputs()[2];
  auto is_ready = [](const mx::array& x) { return x.status() != mx::array::Status::unscheduled; };
  if (!is_ready(cache) || !is_ready(start) || cache.ndim() != 4 || from.ndim() != 4) {
    return false;
  }
  auto axes = static_cast<mx::DynamicSliceUpdate&>(update.primitive()).state();
  bool is_one = from.shape(2) == 1 && from.shape(0) == cache.shape(0) && from.shape(1) == cache.shape(1) && from.shape(3) == cache.shape(3);
  return axes == std::vector<int>{2} && is_one && start.dtype() == mx::int32 && start.size() == 1 && from.dtype() == cache.dtype() &&
      cache.flags().row_contiguous && cache.is_donatable();
}

} // namespace

CachePosition::CachePosition(mx::array& update) : update_(update), fits_(fits_into(update)) {}

void CachePosition::take() const {
  update_.copy_shared_buffer(cache());
}

Place CachePosition::place() const {
  return {cache().strides(0), cache().strides(1), cache().strides(2), cache().shape(3), cache().shape(2) - 1};
}

} // namespace cuda

#endif
