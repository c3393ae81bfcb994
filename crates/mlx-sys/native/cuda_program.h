// A function of arrays as a program on CUDA: what it launches is recorded once and launched again as one graph.
#ifndef MLX_NATIVE_CUDA_PROGRAM_H
#define MLX_NATIVE_CUDA_PROGRAM_H

#ifdef __linux__

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda_copies.h"
#include "cuda_graph.h"

namespace cuda {

using Function = std::function<Arrays(const Arrays&)>;

// The memory of an input that the graph reads.
struct Place {
  enum Kind {
    // The function does not need it.
    kUnused,
    // Memory of the program: the input is copied there before each launch, unless it is there already.
    kCopied,
    // The caller's own: weights and the like, which are the same arrays in all calls.
    kBound
  };
  Kind kind = kUnused;
  std::shared_ptr<mx::array::Data> data;
  char* address = nullptr;
  size_t bytes = 0;
  // Of bound memory.
  mx::Strides strides;
};

// One recorded graph with all memory that its nodes point to.
struct Recording {
  Recording() = default;
  Recording(const Recording&) = delete;
  ~Recording();

  Graph graph;
  std::vector<Place> places;
  Arrays results;
  // For each result the input in whose place it is; -1 where it is elsewhere.
  std::vector<int> origins;
  // The results that are constants, or bound inputs: nothing writes there.
  std::vector<bool> is_constant;
  // For each result what callers hold of that place, if they do.
  std::vector<std::weak_ptr<mx::array::Data>> exposed;
  // What all of it takes beside the inputs that are bound.
  size_t bytes = 0;
  // Where all memory was when it was recorded: MLX moves what the host reads.
  std::vector<std::pair<void* const*, void*>> addresses;

  // Says what is where, once everything has been recorded: `buffers` are those of the places, `is_leaf` says which results were
  // not computed.
  void settle(const std::vector<const void*>& buffers, const std::vector<bool>& is_leaf);

  // What of the results is copied out in each call.
  size_t copied_bytes() const;

  bool has_moved() const;
  // Whether the caller of a result that is in an input's place has given it back, at the latest as an input of this call.
  bool is_free(const Arrays& inputs) const;
};

// What a recording begins with: copies of inputs, what they are copied from, which is used until the GPU has done that, and
// memory that the graph uses as long as there is one.
struct Prepared {
  Copies copies;
  std::shared_ptr<Datas> copied = std::make_shared<Datas>();
  std::shared_ptr<Datas> used = std::make_shared<Datas>();
};

class Program : public std::enable_shared_from_this<Program> {
 public:
  explicit Program(Function function) : function_(std::move(function)) {}

  // The function's results, lazy, as a program where that is possible.
  Arrays call(const Arrays& inputs);

  // Computes the results: with evaluated inputs, in the middle of an evaluation.
  std::vector<std::optional<mx::array>> run(const Arrays& inputs, const mx::Stream& s);

  // What runs, in words.
  std::string report() const;

 private:
  bool wants(const Arrays& inputs);
  bool has_types_of(const Arrays& inputs) const;
  std::shared_ptr<Recording> fitting(const Arrays& inputs);
  bool is_bound_otherwise(const Recording& recording, const Arrays& inputs);
  std::vector<std::optional<mx::array>> record(const Arrays& inputs, const mx::Stream& s);
  std::vector<std::optional<mx::array>> compute(const Arrays& inputs, const mx::Stream& s);
  bool is_to_be_bound(size_t i, const mx::array& input) const;
  Place place_for(size_t i, const mx::array& input, mx::array& placeholder, Prepared& prepared, const mx::Stream& s) const;
  std::vector<std::optional<mx::array>> take_results(const std::shared_ptr<Recording>& recording, const mx::Stream& s) const;

  Function function_;
  size_t n_calls_ = 0;
  // Why nothing is recorded.
  std::string refusal_;
  // Of the inputs and the results, since the second call.
  std::vector<std::pair<mx::Shape, mx::Dtype>> input_types_;
  std::vector<std::pair<mx::Shape, mx::Dtype>> result_types_;
  std::optional<mx::Stream> stream_;
  // The inputs that were other arrays in a later call.
  std::vector<bool> is_changing_;
  std::vector<std::shared_ptr<Recording>> recordings_;
  size_t n_recorded_ = 0;
  size_t n_nodes_ = 0;
  size_t n_early_ = 0;
};

// Whether functions run as programs: unless `MLX_CUDA_PROGRAMS=0`.
bool programs_on();

} // namespace cuda

#endif

#endif
