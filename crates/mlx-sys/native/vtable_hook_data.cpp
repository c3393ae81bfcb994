// vtable patching: the hooks (`hook.h`) on MLX's classes that copy, join, index, scan and order elements, draw random
// bits, and transform.
#include "hook.h"

#include <algorithm>

#include "mlx/fft.h"
#include "mlx/random.h"

namespace hooks {

namespace {

// Lets the two lines below name a private member: access is not checked for the arguments of an instantiation.
template <auto Member>
struct ReachFlag {
  friend bool allows_col_major(const mx::Contiguous& contiguous) {
    return contiguous.*Member;
  }
};
bool allows_col_major(const mx::Contiguous& contiguous);
template struct ReachFlag<&mx::Contiguous::allow_col_major_>;

// Elements in row-major order.
ops::Bytes copy_in_rows() {
  return ops::encode(ops::Contiguous{false});
}

// A copy, unless MLX would share the memory.
ops::Bytes read_contiguous(const mx::Contiguous& contiguous, Arrays& inputs, const mx::array&) {
  auto& x = inputs[0];
  bool shares = x.flags().row_contiguous || (allows_col_major(contiguous) && x.flags().col_contiguous);
  return shares ? ops::Bytes{} : copy_in_rows();
}

// Whether an array of another shape cannot be a view of these elements, and their row-major copy is needed.
//
// Axes are joined where one step along the outer is as far as all of the inner: each axis of the new shape must be part of
// one of the joined ones.
bool reshape_copies(const mx::array& x, const mx::array& out) {
  if (x.size() == 0 || x.flags().row_contiguous || x.ndim() == 0) {
    return false;
  }
  std::vector<std::pair<int64_t, int64_t>> joined; // size, stride
  for (int i = 0; i < static_cast<int>(x.ndim()); i++) {
    int64_t size = x.shape(i);
    int64_t stride = x.strides(i);
    if (size == 1) {
      continue;
    }
    if (!joined.empty() && joined.back().second == stride * size) {
      joined.back() = {joined.back().first * size, stride};
    } else {
      joined.emplace_back(size, stride);
    }
  }
  size_t at = 0;
  int64_t left = joined.empty() ? 1 : joined[0].first;
  for (int64_t size : out.shape()) {
    if (size == 1) {
      continue;
    }
    while (left == 1 && at + 1 < joined.size()) {
      left = joined[++at].first;
    }
    if (left % size != 0) {
      return true;
    }
    left /= size;
  }
  return false;
}

template <class Class>
ops::Bytes read_reshape(const Class&, Arrays& inputs, const mx::array& out) {
  return reshape_copies(inputs[0], out) ? copy_in_rows() : ops::Bytes{};
}

ops::Bytes read_full(const mx::Full&) {
  return copy_in_rows();
}

ops::Bytes read_concatenate(const mx::Concatenate& concatenate) {
  return ops::encode(ops::Concatenate{concatenate.state()});
}

ops::Bytes read_pad(const mx::Pad& pad) {
  auto [axes, low, high] = pad.state();
  return ops::encode(ops::Pad{list(axes), list(low), list(high), ops::PadMode::Constant});
}

ops::Bytes read_gather(const mx::Gather& gather) {
  auto [axes, sizes] = gather.state();
  return ops::encode(ops::Gather{list(axes), list(sizes)});
}

ops::Bytes read_gather_axis(const mx::GatherAxis& gather) {
  return ops::encode(ops::TakeAlongAxis{gather.state()});
}

// In MLX the updates come last, in the table after the array.
ops::Bytes read_scatter(const mx::Scatter& scatter, Arrays& inputs, const mx::array&) {
  auto [kind, axes] = scatter.state();
  std::rotate(inputs.begin() + 1, inputs.end() - 1, inputs.end());
  switch (kind) {
    case mx::Scatter::Max:
      return ops::encode(ops::ScatterMax{list(axes)});
    case mx::Scatter::Min:
      return ops::encode(ops::ScatterMin{list(axes)});
    case mx::Scatter::Sum:
      return ops::encode(ops::ScatterAdd{list(axes)});
    case mx::Scatter::Prod:
      return ops::encode(ops::ScatterProd{list(axes)});
    default:
      return ops::encode(ops::Scatter{list(axes)});
  }
}

ops::Bytes read_scatter_axis(const mx::ScatterAxis& scatter) {
  auto [kind, axis] = scatter.state();
  return kind == mx::ScatterAxis::Sum ? ops::encode(ops::ScatterAddAxis{axis}) : ops::encode(ops::PutAlongAxis{axis});
}

ops::Bytes read_slice_update(const mx::SliceUpdate& update) {
  auto [kind, start, stop, strides] = update.state();
  switch (kind) {
    case mx::SliceUpdate::Max:
      return ops::encode(ops::SliceUpdateMax{list(start), list(stop), list(strides)});
    case mx::SliceUpdate::Min:
      return ops::encode(ops::SliceUpdateMin{list(start), list(stop), list(strides)});
    case mx::SliceUpdate::Sum:
      return ops::encode(ops::SliceUpdateAdd{list(start), list(stop), list(strides)});
    case mx::SliceUpdate::Prod:
      return ops::encode(ops::SliceUpdateProd{list(start), list(stop), list(strides)});
    default:
      return ops::encode(ops::SliceUpdate{list(start), list(stop), list(strides)});
  }
}

ops::Bytes read_sort(const mx::Sort& sort) {
  return ops::encode(ops::Sort{sort.state()});
}

ops::Bytes read_argsort(const mx::ArgSort& sort) {
  return ops::encode(ops::Argsort{sort.state()});
}

ops::Bytes read_partition(const mx::Partition& partition) {
  auto [kth, axis] = partition.state();
  return ops::encode(ops::Partition{kth, axis});
}

ops::Bytes read_argpartition(const mx::ArgPartition& partition) {
  auto [kth, axis] = partition.state();
  return ops::encode(ops::Argpartition{kth, axis});
}

ops::Bytes read_arg_reduce(const mx::ArgReduce& reduce) {
  auto [kind, axis] = reduce.state();
  return kind == mx::ArgReduce::ArgMin ? ops::encode(ops::Argmin{axis, true}) : ops::encode(ops::Argmax{axis, true});
}

ops::Bytes read_scan(const mx::Scan& scan) {
  auto [kind, axis, reverse, inclusive] = scan.state();
  switch (kind) {
    case mx::Scan::Max:
      return ops::encode(ops::Cummax{axis, reverse, inclusive});
    case mx::Scan::Min:
      return ops::encode(ops::Cummin{axis, reverse, inclusive});
    case mx::Scan::Sum:
      return ops::encode(ops::Cumsum{axis, reverse, inclusive});
    case mx::Scan::Prod:
      return ops::encode(ops::Cumprod{axis, reverse, inclusive});
    default:
      return ops::encode(ops::Logcumsumexp{axis, reverse, inclusive});
  }
}

ops::Bytes read_random_bits(const mx::RandomBits& bits) {
  auto [shape, width] = bits.state();
  return ops::encode(ops::RandomBits{list(shape), width});
}

// MLX's primitive is not scaled, but for inverse transforms by the number of elements.
ops::Bytes read_fft(const mx::FFT& fft, Arrays& inputs, const mx::array& out) {
  auto [axes, inverse, real, odd_out] = fft.state();
  std::vector<int32_t> n;
  for (auto axis : axes) {
    n.push_back(real && !inverse ? inputs[0].shape(axis) : out.shape(axis));
  }
  auto at = list(axes);
  if (real) {
    return inverse ? ops::encode(ops::Irfftn{n, at, ops::FftNorm::Backward})
                   : ops::encode(ops::Rfftn{n, at, ops::FftNorm::Backward});
  }
  return inverse ? ops::encode(ops::Ifftn{n, at, ops::FftNorm::Backward})
                 : ops::encode(ops::Fftn{n, at, ops::FftNorm::Backward});
}

#if defined(__linux__)

int hook_copies(const mx::array& x, const mx::Stream& s) {
  int done = 0;
  done += hook_with_inputs<mx::Contiguous, read_contiguous>(mx::contiguous(mx::transpose(x, s), false, s), "Contiguous");
  done += hook_with_inputs<mx::Reshape, read_reshape<mx::Reshape>>(mx::reshape(x, {4, 1}, s), "Reshape");
  done += hook_with_inputs<mx::Flatten, read_reshape<mx::Flatten>>(mx::flatten(x, s), "Flatten");
  done += hook_with_inputs<mx::Unflatten, read_reshape<mx::Unflatten>>(mx::unflatten(x, 0, {2, 1}, s), "Unflatten");
  done += hook<mx::Full, read_full>(mx::full({2, 2}, x, s), "Full");
  done += hook<mx::Concatenate, read_concatenate>(mx::concatenate({x, x}, 0, s), "Concatenate");
  done += hook<mx::Pad, read_pad>(mx::pad(x, 1, mx::array(0.0f), "constant", s), "Pad");
  return done;
}

int hook_indexing(const mx::array& x, const mx::Stream& s) {
  mx::array index({0, 0}, mx::uint32);
  auto along = mx::zeros({2, 2}, mx::uint32, s);
  auto update = mx::zeros({2, 1, 2}, mx::float32, s);
  auto row = mx::zeros({1, 2}, mx::float32, s);
  int done = 0;
  done += hook<mx::Gather, read_gather>(mx::gather(x, index, 0, {1, 2}, s), "Gather");
  done += hook<mx::GatherAxis, read_gather_axis>(mx::take_along_axis(x, along, 0, s), "GatherAxis");
  done += hook_with_inputs<mx::Scatter, read_scatter, Kind::Update>(mx::scatter(x, index, update, 0, s), "Scatter");
  done += hook<mx::ScatterAxis, read_scatter_axis, Kind::Update>(
      mx::scatter_add_axis(x, along, x, 0, s), "ScatterAxis Sum");
  done += hook<mx::SliceUpdate, read_slice_update, Kind::Update>(
      mx::slice_update(x, row, mx::Shape{0, 0}, mx::Shape{1, 2}, s), "SliceUpdate");
  return done;
}

#endif

} // namespace

#if defined(__linux__)

int hook_data(const mx::Stream& s) {
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  auto z = mx::zeros({2, 2}, mx::complex64, s);
  int done = hook_copies(x, s) + hook_indexing(x, s);
  done += hook<mx::Sort, read_sort>(mx::sort(x, -1, s), "Sort");
  done += hook<mx::ArgSort, read_argsort>(mx::argsort(x, -1, s), "ArgSort");
  done += hook<mx::Partition, read_partition>(mx::partition(x, 1, -1, s), "Partition");
  done += hook<mx::ArgPartition, read_argpartition>(mx::argpartition(x, 1, -1, s), "ArgPartition");
  done += hook<mx::ArgReduce, read_arg_reduce>(mx::argmax(x, -1, true, s), "ArgReduce");
  done += hook<mx::Scan, read_scan>(mx::cumsum(x, -1, false, true, s), "CumSum");
  done += hook<mx::RandomBits, read_random_bits>(mx::random::bits({4}, 4, mx::random::key(0), s), "RandomBits");
  done += hook_with_inputs<mx::FFT, read_fft>(mx::fft::fft(z, -1, mx::fft::FFTNorm::Backward, s), "FFT");
  return done;
}

#endif

} // namespace hooks
