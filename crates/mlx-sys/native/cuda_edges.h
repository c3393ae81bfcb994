// The order of a recorded graph's kernels.
#ifndef MLX_NATIVE_CUDA_EDGES_H
#define MLX_NATIVE_CUDA_EDGES_H

#ifdef __linux__

#include <cstddef>
#include <vector>

namespace cuda {

// Which node comes behind which, without what follows from other edges.
//
// Where both nodes are kernels of ours the second is launched as soon as all blocks of the first are there, and waits itself for
// its end ("programmatic dependent launch", from compute capability 9.0 and CUDA 12.3 on); else when the first has ended.
// An edge that follows from a path is left out. That is sound with both kinds, since such a kernel waits before it ends: behind
// the last node of a path all others of it have ended.
class Edges {
 public:
  // From each node of `from` to that of `to` at the same place; `nodes` are all nodes of the graph.
  Edges(const std::vector<void*>& nodes, const std::vector<void*>& from, const std::vector<void*>& to);

  // Adds them to a graph of the driver's; false where it refuses.
  bool add(void* graph) const;

  // Has all of the graph's edges wait for the end of the first node.
  bool make_plain(void* graph);

  // Edges whose second kernel begins early.
  size_t n_early() const {
    return early_from_.size();
  }

 private:
  void reduce(const std::vector<void*>& nodes);

  std::vector<void*> from_, to_, early_from_, early_to_;
};

} // namespace cuda

#endif

#endif
