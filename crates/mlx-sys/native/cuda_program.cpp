// Programs on CUDA (`cuda_program.h`): what is recorded, which memory it uses, and when it may be launched again.
#include "cuda_program.h"

#ifdef __linux__

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <unordered_map>

#include "cuda_hook.h"
#include "cuda_walk.h"
#include "mlx/memory.h"
#include "owners.h"

namespace cuda {

namespace {

using Results = std::vector<std::optional<mx::array>>;

// Inputs up to this size, in bytes, are copied in each call, whoever holds them.
constexpr size_t kSmall = 64 << 10;

// Recordings that are kept: more than one is needed while a caller keeps the results of an earlier call.
constexpr size_t kMostRecordings = 3;

// How often a function is recorded before it is left to MLX.
constexpr size_t kMostRecorded = 24;

// What copying a byte and launching a kernel take, in seconds: a graph whose results take longer to copy out of it than
// its kernels to launch one by one is not worth it.
constexpr double kCopiedByte = 2 / 3e12;
constexpr double kLaunchedKernel = 2e-6;

// The share of the memory limit that all recordings may take together.
constexpr size_t kShareOfMemory = 4;

// What recordings take, in bytes.
std::atomic<size_t> recorded_bytes{0};

// What is left for another one.
size_t bytes_left() {
  auto all = mx::get_memory_limit() / kShareOfMemory, taken = recorded_bytes.load();
  return all > taken ? all - taken : 0;
}

bool is_in_rows(const mx::array& x) {
  return x.flags().row_contiguous && x.data_size() == x.size();
}

bool is_placed(const Place& place, const mx::array& x) {
  return is_in_rows(x) && x.offset() == 0 && x.nbytes() == place.bytes;
}

// Computes one call; its results are taken by primitives of one output each, so that MLX holds none of them longer than its
// caller does.
struct Call {
  std::shared_ptr<Program> program;
  Results results;
};

class CallPrimitive : public mx::Primitive {
 public:
  CallPrimitive(mx::Stream s, std::shared_ptr<Call> call) : Primitive(s), call_(std::move(call)) {}

  void eval_cpu(const Arrays&, Arrays&) override {
    throw std::runtime_error("CUDA program: it runs on CUDA only");
  }

  void eval_gpu(const Arrays& inputs, Arrays& outputs) override {
    call_->results = call_->program->run(inputs, stream());
    allocate(outputs[0], stream());
  }

  const char* name() const override {
    return "CudaProgram";
  }

 private:
  std::shared_ptr<Call> call_;
};

class ResultPrimitive : public mx::Primitive {
 public:
  ResultPrimitive(mx::Stream s, std::shared_ptr<Call> call, size_t number) : Primitive(s), call_(std::move(call)), number_(number) {}

  void eval_cpu(const Arrays&, Arrays&) override {
    throw std::runtime_error("CUDA program: it runs on CUDA only");
  }

  void eval_gpu(const Arrays&, Arrays& outputs) override {
    auto& result = call_->results.at(number_);
    if (!result) {
      throw std::runtime_error("CUDA program: wanted a result, got none");
    }
    outputs[0].copy_shared_buffer(*result);
    result.reset();
  }

  const char* name() const override {
    return "CudaProgramResult";
  }

 private:
  std::shared_ptr<Call> call_;
  size_t number_;
};

// Whether a transform is working on this thread: only then is an array that is marked as one of its tracers one.
bool is_in_transform() {
  mx::array marked(mx::Shape{0}, mx::bool_, nullptr, {});
  marked.set_tracer(true);
  return marked.is_tracer();
}

// Keeps what was launched or gathered while it lived until the GPU is done with it, also when something is thrown.
class KeptWhileRunning {
 public:
  KeptWhileRunning(const mx::Stream& s, std::shared_ptr<void> used) : stream_(s), used_(std::move(used)) {}
  KeptWhileRunning(const KeptWhileRunning&) = delete;

  ~KeptWhileRunning() {
    at_completion(stream_, [used = std::move(used_)] {});
  }

 private:
  mx::Stream stream_;
  std::shared_ptr<void> used_;
};

} // namespace

bool programs_on() {
  static const bool on = [] {
    auto* choice = std::getenv("MLX_CUDA_PROGRAMS");
    bool is_off = choice && (!std::strcmp(choice, "0") || !std::strcmp(choice, "false") || !std::strcmp(choice, "off"));
    return !is_off && kernels_on() && can_record();
  }();
  return on;
}

Recording::~Recording() {
  recorded_bytes -= bytes;
}

bool Recording::has_moved() const {
  return std::any_of(addresses.begin(), addresses.end(), [](auto& one) { return *one.first != one.second; });
}

bool Recording::is_free(const Arrays& inputs) const {
  for (size_t j = 0; j < results.size(); j++) {
    auto held = exposed[j].lock();
    if (!held) {
      continue;
    }
    auto& input = inputs[origins[j]];
    // By the input and `held`, and the input by the list of inputs.
    if (input.data_shared_ptr() != held || owners(input) != 1 || held.use_count() != 2) {
      return false;
    }
  }
  return true;
}

bool Program::has_types_of(const Arrays& inputs) const {
  auto is_same = [](const mx::array& input, auto& type) { return input.shape() == type.first && input.dtype() == type.second; };
  return std::equal(inputs.begin(), inputs.end(), input_types_.begin(), input_types_.end(), is_same);
}

// Whether this call is to be a program; the first is not, as many functions are called once.
bool Program::wants(const Arrays& inputs) {
  if (!programs_on() || is_in_transform() || !refusal_.empty() || n_calls_++ == 0) {
    return false;
  }
  if (stream_) {
    return has_types_of(inputs);
  }
  Arrays placeholders;
  for (auto& input : inputs) {
    placeholders.emplace_back(input.shape(), input.dtype(), nullptr, Arrays{});
    input_types_.emplace_back(input.shape(), input.dtype());
  }
  auto lazy = function_(placeholders);
  for (auto& result : lazy) {
    result_types_.emplace_back(result.shape(), result.dtype());
    if (!stream_ && result.has_primitive()) {
      stream_ = result.primitive().stream();
    }
  }
  if (!stream_ || stream_->device != mx::Device::gpu) {
    refusal_ = "it does not compute on a GPU";
  } else {
    refusal_ = why_not(lazy, *stream_);
  }
  is_changing_.resize(inputs.size());
  return refusal_.empty();
}

Arrays Program::call(const Arrays& inputs) {
  if (!wants(inputs)) {
    return function_(inputs);
  }
  auto call = std::make_shared<Call>(Call{shared_from_this(), {}});
  mx::array done(mx::Shape{}, mx::bool_, std::make_shared<CallPrimitive>(*stream_, call), inputs);
  Arrays results;
  for (size_t j = 0; j < result_types_.size(); j++) {
    auto& [shape, dtype] = result_types_[j];
    results.emplace_back(shape, dtype, std::make_shared<ResultPrimitive>(*stream_, call, j), Arrays{done});
  }
  return results;
}

// Whether a bound input is another array now; it will be copied from now on.
bool Program::is_bound_otherwise(const Recording& recording, const Arrays& inputs) {
  bool is_other = false;
  for (size_t i = 0; i < inputs.size(); i++) {
    auto& place = recording.places[i];
    bool is_same = place.kind != Place::kBound || (address_of(inputs[i]) == place.address && inputs[i].strides() == place.strides);
    if (!is_same) {
      is_changing_[i] = true;
      is_other = true;
    }
  }
  return is_other;
}

std::shared_ptr<Recording> Program::fitting(const Arrays& inputs) {
  std::erase_if(recordings_, [&](auto& recording) { return recording->has_moved() || is_bound_otherwise(*recording, inputs); });
  std::shared_ptr<Recording> found;
  for (auto& recording : recordings_) {
    if (recording->is_free(inputs)) {
      bool is_in_place = std::any_of(
          recording->exposed.begin(), recording->exposed.end(), [](auto& one) { return !one.expired(); });
      if (!found || is_in_place) {
        found = recording;
      }
    }
  }
  return found;
}

Results Program::run(const Arrays& given, const mx::Stream& s) {
  auto recording = refusal_.empty() ? fitting(given) : nullptr;
  if (!recording) {
    bool has_room = recordings_.size() < kMostRecordings && n_recorded_ < kMostRecorded;
    return refusal_.empty() && has_room ? record(given, s) : compute(given, s);
  }
  auto used = std::make_shared<std::pair<std::shared_ptr<Recording>, Arrays>>(recording, Arrays{});
  Copies copies;
  for (size_t i = 0; i < given.size(); i++) {
    auto& place = recording->places[i];
    if (place.kind == Place::kCopied) {
      auto input = is_in_rows(given[i]) ? given[i] : in_rows(given[i], s);
      copies.add(address_of(input), place.address, place.bytes);
      if (input.id() != given[i].id()) {
        used->second.push_back(std::move(input));
      }
    }
  }
  commit(s);
  KeptWhileRunning kept(s, used);
  auto* stream = driver_stream(s);
  copies.run(s, stream);
  recording->graph.executable.launch(stream);
  count_cuda_kernel("CudaProgram");
  return take_results(recording, s);
}

// Takes the results of a launch out of the program's memory, but for those that are in an input's place.
Results Program::take_results(const std::shared_ptr<Recording>& recording, const mx::Stream& s) const {
  Results results;
  Copies copies;
  for (size_t j = 0; j < recording->results.size(); j++) {
    auto& result = recording->results[j];
    mx::array taken(result.shape(), result.dtype(), nullptr, {});
    if (recording->is_constant[j] || result.size() == 0) {
      taken.copy_shared_buffer(result);
    } else if (recording->origins[j] >= 0) {
      auto data = mx::array::Data(result.buffer(), [recording](mx::allocator::Buffer) {});
      taken.set_data(std::move(data), result.data_size(), result.strides(), result.flags());
      recording->exposed[j] = taken.data_shared_ptr();
    } else {
      allocate(taken, s);
      copies.add(address_of(result), address_of(taken), result.nbytes());
    }
    taken.set_status(mx::array::Status::evaluated);
    results.push_back(std::move(taken));
  }
  copies.run(s, driver_stream(s));
  return results;
}

// Leaves a call to MLX's own way, within this evaluation.
Results Program::compute(const Arrays& inputs, const mx::Stream& s) {
  auto lazy = function_(inputs);
  auto tape = tape_of(lazy);
  wait_for_leaves(tape, lazy, s);
  auto held = std::make_shared<Datas>();
  KeptWhileRunning kept(s, held);
  walk(std::move(tape), *held, s, nullptr, 0);
  return {lazy.begin(), lazy.end()};
}

// Whether an input's memory is read where it is: it is large, another holder has it too, and it was the same so far.
bool Program::is_to_be_bound(size_t i, const mx::array& input) const {
  bool is_shared = owners(input) > 1 || input.data_shared_ptr().use_count() > 1;
  return input.nbytes() > kSmall && is_shared && input.data_shared_ptr()->is_owned() && !is_changing_[i];
}

// Gives the placeholder of an input the memory where the graph reads it.
Place Program::place_for(size_t i, const mx::array& input, mx::array& placeholder, Prepared& prepared, const mx::Stream& s) const {
  Place place;
  place.bytes = input.nbytes();
  placeholder.set_status(mx::array::Status::available);
  if (input.size() == 0) {
    placeholder.copy_shared_buffer(input);
    return place;
  }
  if (is_to_be_bound(i, input)) {
    place.kind = Place::kBound;
    place.data = input.data_shared_ptr();
    place.address = address_of(input);
    place.strides = input.strides();
    placeholder.copy_shared_buffer(input);
    return place;
  }
  place.kind = Place::kCopied;
  allocate(placeholder, s);
  place.address = address_of(placeholder);
  auto rows = is_in_rows(input) ? input : in_rows(input, s);
  prepared.copies.add(address_of(rows), place.address, place.bytes);
  prepared.copied->push_back(rows.data_shared_ptr());
  return place;
}

Results Program::record(const Arrays& given, const mx::Stream& s) {
  auto recording = std::make_shared<Recording>();
  auto before = mx::get_active_memory();
  Prepared prepared;
  Arrays placeholders;
  std::vector<const void*> buffers;
  for (size_t i = 0; i < given.size(); i++) {
    placeholders.emplace_back(given[i].shape(), given[i].dtype(), nullptr, Arrays{});
    recording->places.push_back(place_for(i, given[i], placeholders.back(), prepared, s));
    buffers.push_back(placeholders.back().buffer().ptr());
  }
  auto lazy = function_(placeholders);
  // Held by what reads them only, which may then write in their place.
  placeholders.clear();
  std::vector<bool> is_leaf;
  for (auto& result : lazy) {
    is_leaf.push_back(result.status() != mx::array::Status::unscheduled);
  }
  auto tape = tape_of(lazy);
  wait_for_leaves(tape, lazy, s);
  GraphRecorder recorder(s);
  KeptWhileRunning kept(s, prepared.used), copied(s, prepared.copied);
  prepared.copies.run(s, driver_stream(s));
  walk(std::move(tape), *prepared.used, s, &recorder, bytes_left());
  for (auto& result : lazy) {
    prepared.used->push_back(result.data_shared_ptr());
    recording->results.push_back(is_in_rows(result) ? result : in_rows(result, s));
  }
  n_recorded_++;
  refusal_ = recorder.finish(recording->graph);
  if (!refusal_.empty()) {
    recordings_.clear();
    return {lazy.begin(), lazy.end()};
  }
  n_nodes_ = recording->graph.n_nodes;
  n_early_ = recording->graph.n_early;
  auto after = mx::get_active_memory();
  recording->bytes = after - std::min(before, after);
  recorded_bytes += recording->bytes;
  recording->graph.held.insert(recording->graph.held.end(), prepared.used->begin(), prepared.used->end());
  recording->settle(buffers, is_leaf);
  count_cuda_kernel("CudaProgramRecorded");
  if (recording->copied_bytes() * kCopiedByte > n_nodes_ * kLaunchedKernel) {
    refusal_ = "copying " + std::to_string(recording->copied_bytes() >> 20) + " MiB of results takes longer than launching " +
        std::to_string(n_nodes_) + " kernels";
    recordings_.clear();
  } else {
    recordings_.push_back(recording);
  }
  return take_results(recording, s);
}

size_t Recording::copied_bytes() const {
  size_t bytes = 0;
  for (size_t j = 0; j < results.size(); j++) {
    bytes += is_constant[j] || origins[j] >= 0 ? 0 : results[j].nbytes();
  }
  return bytes;
}

void Recording::settle(const std::vector<const void*>& buffers, const std::vector<bool>& is_leaf) {
  std::unordered_map<const void*, std::shared_ptr<mx::array::Data>> memory;
  auto add = [&](const std::shared_ptr<mx::array::Data>& data) {
    if (data && data->buffer().ptr()) {
      memory[data->buffer().ptr()] = data;
    }
  };
  std::for_each(graph.held.begin(), graph.held.end(), add);
  for (auto& result : results) {
    add(result.data_shared_ptr());
  }
  std::unordered_map<const void*, int> place_in;
  for (size_t i = 0; i < places.size(); i++) {
    auto& place = places[i];
    auto at = memory.find(buffers[i]);
    if (place.kind == Place::kCopied && at == memory.end()) {
      place.kind = Place::kUnused;
    } else if (place.kind == Place::kCopied) {
      place.data = at->second;
      place_in[buffers[i]] = static_cast<int>(i);
    } else {
      add(place.data);
    }
  }
  for (size_t j = 0; j < results.size(); j++) {
    auto at = place_in.find(results[j].buffer().ptr());
    bool is_input = at != place_in.end() && is_placed(places[at->second], results[j]) && !is_leaf[j];
    origins.push_back(is_input ? at->second : -1);
    is_constant.push_back(is_leaf[j] && at == place_in.end());
    if (is_input) {
      // For one result only: a second one is copied.
      place_in.erase(at);
    }
  }
  exposed.resize(results.size());
  for (auto& [buffer, data] : memory) {
    addresses.emplace_back(address_place(*data), *address_place(*data));
  }
}

std::string Program::report() const {
  if (!refusal_.empty()) {
    return "no CUDA graph: " + refusal_;
  }
  if (n_nodes_ == 0) {
    return "";
  }
  return "one CUDA graph of " + std::to_string(n_nodes_) + " nodes, " + std::to_string(n_early_) +
      " begun before the last one has ended, recorded " + std::to_string(n_recorded_) + " times";
}

} // namespace cuda

#endif
