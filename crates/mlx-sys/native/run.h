// One run of a Rust function over the buffers of evaluated inputs and fresh outputs, on a stream's thread.
#ifndef MLX_NATIVE_RUN_H
#define MLX_NATIVE_RUN_H

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlx/allocator.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/private/mlx.h"
#include "mlx_native.h"

using Arrays = std::vector<mlx::core::array>;

extern std::atomic<uint64_t> mlx_native_runs;

// Shapes, strides and pointers of a run, which stay where they are while it lives.
class Buffers {
 public:
  Buffers(const Arrays& inputs, const Arrays& outputs) {
    // Pointers into these are handed out, so they must not move.
    shapes_.reserve(inputs.size() + outputs.size());
    strides_.reserve(inputs.size() + outputs.size());
    this->inputs.reserve(inputs.size());
    this->outputs.reserve(outputs.size());
    for (auto& input : inputs) {
      add(this->inputs, input.shape(), input.strides(), input);
      this->inputs.back().data = const_cast<void*>(static_cast<const void*>(input.data<void>()));
    }
    for (auto& output : outputs) {
      add(this->outputs, output.shape(), mlx::core::Strides(rows(output.shape())), output);
    }
  }

  Buffers(const Buffers&) = delete;

  // Sees all buffers, which have the same layout, as plain runs of `size` elements.
  void flatten(size_t size) {
    for (size_t i = 0; i < shapes_.size(); i++) {
      shapes_[i] = mlx::core::Shape{static_cast<int>(size)};
      strides_[i] = mlx::core::Strides{1};
      auto& buffer = i < inputs.size() ? inputs[i] : outputs[i - inputs.size()];
      buffer.shape = shapes_[i].data();
      buffer.strides = strides_[i].data();
      buffer.ndim = 1;
      buffer.size = size;
    }
  }

  std::vector<mlx_native_buffer> inputs;
  std::vector<mlx_native_buffer> outputs;

 private:
  // The strides of row-major order.
  static mlx::core::Strides rows(const mlx::core::Shape& shape) {
    mlx::core::Strides strides(shape.size(), 1);
    for (int i = static_cast<int>(shape.size()) - 2; i >= 0; i--) {
      strides[i] = strides[i + 1] * shape[i + 1];
    }
    return strides;
  }

  void add(
      std::vector<mlx_native_buffer>& list,
      const mlx::core::Shape& shape,
      mlx::core::Strides strides,
      const mlx::core::array& a) {
    shapes_.push_back(shape);
    strides_.push_back(std::move(strides));
    list.push_back(mlx_native_buffer{
        nullptr, shapes_.back().data(), strides_.back().data(), shape.size(), a.size(), mlx_dtype_to_c(a.dtype())});
  }

  std::vector<mlx::core::Shape> shapes_;
  std::vector<mlx::core::Strides> strides_;
};

// Runs `call` and turns its failure into an exception, which MLX throws where the result is waited for.
template <class Call>
void run_guarded(const char* name, std::atomic<uint64_t>* counter, const Buffers& buffers, const Call& call) {
  mlx_native_error_clear();
  mlx_native_runs.fetch_add(1, std::memory_order_relaxed);
  counter->fetch_add(1, std::memory_order_relaxed);
  int status = 1;
  try {
    status = call();
  } catch (const std::exception& e) {
    mlx_native_error_set(e.what());
  } catch (...) {
    // MLX's stream thread catches nothing else, so that this would end the process.
  }
  if (status == 0) {
    return;
  }
  // MLX goes on with what is queued after this and reports the error at the end: what reads the outputs meanwhile,
  // as indices for one, must find defined values.
  for (auto& output : buffers.outputs) {
    if (status != MLX_NATIVE_OUTPUTS_DEFINED && output.data && output.size) {
      std::memset(output.data, 0, output.size * mlx::core::size_of(mlx_dtype_to_cpp(output.dtype)));
    }
  }
  const char* text = mlx_native_error();
  std::string message = text ? text : std::string(name) + " failed";
  mlx_native_error_clear();
  throw std::runtime_error(message);
}

// Allocates the outputs, row-contiguous, and says where they are.
inline void allocate(Arrays& outputs, Buffers& buffers) {
  for (size_t i = 0; i < outputs.size(); i++) {
    outputs[i].set_data(mlx::core::allocator::malloc(outputs[i].nbytes()));
    buffers.outputs[i].data = outputs[i].data<void>();
  }
}

#endif
