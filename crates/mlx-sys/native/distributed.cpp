// Groups of processes by name, and groups whose communication is a Rust function.
//
// Names and groups live here for the process, because evcxr duplicates Rust statics. None is ever removed: an operation
// of a graph may name it at any time.
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "guard.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/private/mlx.h"
#include "mlx/distributed/distributed.h"
#include "mlx/distributed/distributed_impl.h"
#include "mlx_native.h"

namespace mx = mlx::core;
using mx::distributed::Group;
using mx::distributed::detail::GroupImpl;

namespace {

// A group of which every communication is a task on a CPU stream that calls Rust.
class NativeGroup : public GroupImpl {
 public:
  NativeGroup(int rank, int size, mlx_native_collective run, std::shared_ptr<void> payload)
      : rank_(rank), size_(size), run_(run), payload_(std::move(payload)) {}

  mx::Stream communication_stream(mx::StreamOrDevice s) override {
    return mx::to_stream(s, mx::Device::cpu);
  }

  int rank() override {
    return rank_;
  }

  int size() override {
    return size_;
  }

  std::shared_ptr<GroupImpl> split(int, int) override {
    throw std::runtime_error("split: a group is split from Rust");
  }

  void all_sum(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(MLX_NATIVE_ALL_SUM, 0, &input, &output, stream);
  }

  void all_max(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(MLX_NATIVE_ALL_MAX, 0, &input, &output, stream);
  }

  void all_min(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(MLX_NATIVE_ALL_MIN, 0, &input, &output, stream);
  }

  void all_gather(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(MLX_NATIVE_ALL_GATHER, 0, &input, &output, stream);
  }

  void sum_scatter(const mx::array& input, mx::array& output, mx::Stream stream) override {
    dispatch(MLX_NATIVE_SUM_SCATTER, 0, &input, &output, stream);
  }

  void send(const mx::array& input, int to, mx::Stream stream) override {
    dispatch(MLX_NATIVE_SEND, to, &input, nullptr, stream);
  }

  void recv(mx::array& output, int from, mx::Stream stream) override {
    dispatch(MLX_NATIVE_RECV, from, nullptr, &output, stream);
  }

  void* payload() const {
    return payload_.get();
  }

 private:
  struct Bytes {
    void* data = nullptr;
    size_t size = 0;
  };

  static Bytes bytes_of(const mx::array* a) {
    return a ? Bytes{const_cast<void*>(static_cast<const void*>(a->data<void>())), a->nbytes()} : Bytes{};
  }

  void dispatch(
      mlx_native_collective_kind kind,
      int peer,
      const mx::array* input,
      mx::array* output,
      mx::Stream stream) {
    auto& encoder = mx::cpu::get_command_encoder(stream);
    if (input) {
      encoder.set_input_array(*input);
    }
    if (output) {
      encoder.set_output_array(*output);
    }
    auto& typed = input ? *input : *output;
    encoder.dispatch([run = run_,
                      payload = payload_,
                      kind,
                      peer,
                      shape = typed.shape(),
                      dtype = mlx_dtype_to_c(typed.dtype()),
                      in = bytes_of(input),
                      out = bytes_of(output)] {
      mlx_native_error_clear();
      mlx_native_collective_call call{
          kind, peer, dtype, shape.data(), shape.size(), in.data, in.size, out.data, out.size};
      if (run(payload.get(), &call) == 0) {
        return;
      }
      // What is queued after this must find defined values.
      if (out.data && out.size) {
        std::memset(out.data, 0, out.size);
      }
      const char* text = mlx_native_error();
      std::string message = text ? text : "distributed: a communication failed";
      mlx_native_error_clear();
      throw std::runtime_error(message);
    });
  }

  int rank_;
  int size_;
  mlx_native_collective run_;
  std::shared_ptr<void> payload_;
};

struct Groups {
  std::mutex lock;
  std::map<std::string, std::unique_ptr<Group>> by_name;
  // The group that each backend, and "any", stands for.
  std::map<std::string, std::string> current;
  uint64_t formed = 0;
};

Groups& groups() {
  static auto* all = new Groups;
  return *all;
}

void add(const char* name, Group group) {
  auto& all = groups();
  std::lock_guard<std::mutex> hold(all.lock);
  auto& place = all.by_name[name];
  if (place) {
    throw std::runtime_error("distributed: there is a group with the name " + std::string(name) + " already");
  }
  place = std::make_unique<Group>(std::move(group));
}

} // namespace

extern "C" int mlx_native_group_new(
    const char* name,
    int rank,
    int size,
    mlx_native_collective run,
    void* payload,
    void (*dtor)(void*)) {
  std::shared_ptr<void> owned(payload, dtor ? dtor : [](void*) {});
  return guarded("distributed", [&] {
    add(name, Group(std::make_shared<NativeGroup>(rank, size, run, std::move(owned))));
  });
}

extern "C" int mlx_native_group_of_mlx(const char* name, const char* backend, bool strict, int* rank, int* size) {
  return guarded("distributed", [&] {
    auto group = mx::distributed::init(strict, backend);
    *rank = group.rank();
    *size = group.size();
    if (*size > 1) {
      add(name, std::move(group));
    }
  });
}

extern "C" int mlx_native_group_split(const char* name, const char* part, int color, int key) {
  return guarded("split", [&] {
    auto whole = mlx_native_group(name);
    if (!whole.ctx) {
      throw std::runtime_error("there is no group with the name " + std::string(name));
    }
    add(part, static_cast<Group*>(whole.ctx)->split(color, key));
  });
}

extern "C" mlx_distributed_group mlx_native_group(const char* name) {
  auto& all = groups();
  std::lock_guard<std::mutex> hold(all.lock);
  auto found = all.by_name.find(name);
  return {found == all.by_name.end() ? nullptr : found->second.get()};
}

extern "C" void* mlx_native_group_payload(const char* name) {
  auto group = mlx_native_group(name);
  auto* native = group.ctx ? dynamic_cast<NativeGroup*>(static_cast<Group*>(group.ctx)->raw_group().get()) : nullptr;
  return native ? native->payload() : nullptr;
}

extern "C" uint64_t mlx_native_group_count(void) {
  auto& all = groups();
  std::lock_guard<std::mutex> hold(all.lock);
  return all.formed++;
}

extern "C" const char* mlx_native_group_current(const char* backend) {
  auto& all = groups();
  std::lock_guard<std::mutex> hold(all.lock);
  auto found = all.current.find(backend);
  if (found == all.current.end()) {
    return nullptr;
  }
  // The key of a group, which stays where it is.
  auto group = all.by_name.find(found->second);
  return group == all.by_name.end() ? nullptr : group->first.c_str();
}

extern "C" void mlx_native_group_set_current(const char* backend, const char* name) {
  auto& all = groups();
  std::lock_guard<std::mutex> hold(all.lock);
  all.current[backend] = name;
}

extern "C" void mlx_native_group_retire(const char* name) {
  auto& all = groups();
  std::lock_guard<std::mutex> hold(all.lock);
  for (auto it = all.current.begin(); it != all.current.end();) {
    it = it->second == name ? all.current.erase(it) : std::next(it);
  }
}
