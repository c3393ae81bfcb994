// What MLX's encoder gathers during a call, as a CUDA graph of its own that can be launched again.
//
// MLX records kernels as nodes of a graph and launches it when enough have been gathered (`CommandEncoder::commit`). Its
// function that does so is called through its symbol table, where a function of this file takes its place: while a
// recording ends, it makes an executable graph of the same nodes.
#ifndef MLX_NATIVE_CUDA_GRAPH_H
#define MLX_NATIVE_CUDA_GRAPH_H

#ifdef __linux__

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cuda_kernel.h"

namespace cuda {

using Datas = std::vector<std::shared_ptr<mx::array::Data>>;

// An executable graph of the driver's.
class Executable {
 public:
  Executable() = default;
  explicit Executable(void* handle) : handle_(handle) {}
  Executable(Executable&& other) noexcept;
  Executable& operator=(Executable&& other) noexcept;
  ~Executable();

  void launch(void* stream) const;

 private:
  void* handle_ = nullptr;
};

struct Graph {
  Executable executable;
  size_t n_nodes = 0;
  // Edges whose second kernel begins before the first has ended.
  size_t n_early = 0;
  // What its nodes use and no array holds.
  Datas held;
};

// Whether graphs can be recorded: MLX's encoder gathers them and is laid out as in the headers of this version.
bool can_record();

// The driver's stream under a stream of MLX's.
void* driver_stream(const mx::Stream& s);

// Gives the GPU what was gathered so far.
void commit(const mx::Stream& s);

// From construction to `finish`: work given to the encoder of this thread's stream becomes one graph.
class GraphRecorder {
 public:
  explicit GraphRecorder(const mx::Stream& s);
  ~GraphRecorder();
  GraphRecorder(const GraphRecorder&) = delete;

  // Gives the gathered work to the GPU. Returns why there is no graph of it, or nothing: then `graph` is one.
  std::string finish(Graph& graph);

  // Gives recording up, for this reason.
  void refuse(std::string why);

  bool is_recording() const {
    return refusal_.empty();
  }

  // Called where MLX commits.
  void at_commit(void* encoder);

  // Keeps arrays for as long as the graph.
  void hold(const Arrays& arrays);

  // Notes that a kernel of ours writes an array.
  void note_written(const mx::array& x);

  // Notes bytes of weights that are unpacked in the graph, which keeps them. Recording is given up beyond the most.
  void note_unpacked(size_t bytes, size_t most);

  bool has_written(const mx::array& x) const;

  // The recorder of this thread, if it records.
  static GraphRecorder* current();

 private:
  std::string take(void* encoder);

  mx::Stream stream_;
  bool is_finishing_ = false;
  bool is_taken_ = false;
  std::string refusal_;
  Graph graph_;
  std::set<const void*> written_;
  size_t n_unpacked_ = 0;
};

// How many executable graphs there are.
int live_graphs();

} // namespace cuda

#endif

#endif
