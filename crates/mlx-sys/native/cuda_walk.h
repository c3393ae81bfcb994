// Evaluating lazy arrays in the middle of an evaluation on CUDA: MLX's own `eval` would give the GPU what it gathers.
#ifndef MLX_NATIVE_CUDA_WALK_H
#define MLX_NATIVE_CUDA_WALK_H

#ifdef __linux__

#include <deque>
#include <string>

#include "cuda_graph.h"

namespace cuda {

// Arrays in an order of evaluation, one for each primitive.
using Tape = std::deque<mx::array>;

// What has to be evaluated for these arrays.
Tape tape_of(const Arrays& outputs);

// Why these arrays cannot be computed by one graph on this stream; nothing if they can.
std::string why_not(const Arrays& outputs, const mx::Stream& s);

// Waits for evaluated inputs that other streams compute.
void wait_for_leaves(const Tape& tape, const Arrays& outputs, const mx::Stream& s);

// Evaluates, and keeps all memory that was read or that nothing reads in `held`. A recorder, if there is one, gives up where that
// is more than `most_bytes`; from then on, as without one, the GPU gets work as it comes, and memory is free once it is done.
void walk(Tape tape, Datas& held, const mx::Stream& s, GraphRecorder* recorder, size_t most_bytes);

} // namespace cuda

#endif

#endif
