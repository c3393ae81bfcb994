// Threads that compute on one NVIDIA GPU.
//
// MLX records what cuBLAS, cuDNN and cuFFT launch into graphs ("captures" it), each thread on a stream of its own. Work of
// another thread that CUDA does not allow meanwhile makes the recording invalid: making and destroying the handles of those
// libraries waits for the whole device, and every thread of MLX makes its own and destroys them at its end. The end of an
// invalid recording is found in a destructor, where MLX throws: that ended the process.
//
// libmlx calls these functions through its symbol table, where functions of this file take their places:
// - one recording at a time, and no handle is made, no module loaded meanwhile;
// - handles of threads that have ended serve the next ones, and none is ever destroyed;
// - a recording that has become invalid all the same is ended here, and is an error of the evaluation.
#include "cuda.h"

#include <stdexcept>
#include <string>

#ifdef __linux__

#include <map>
#include <mutex>
#include <vector>

#include "cuda_graph.h"
#include "elf_table.h"
#include "mlx/version.h"

namespace {

// Held while something is recorded; never destroyed, as threads end after globals.
std::recursive_mutex& recording() {
  static auto* lock = new std::recursive_mutex;
  return *lock;
}

using Hold = std::lock_guard<std::recursive_mutex>;

// Functions of NVIDIA's driver, which is loaded when there is a GPU.
template <class Function>
Function of_driver(const char* name) {
  static void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  return driver ? reinterpret_cast<Function>(dlsym(driver, name)) : nullptr;
}

// The context of this thread's device: handles belong to it.
void* context() {
  static auto get = of_driver<int (*)(void**)>("cuCtxGetCurrent");
  void* current = nullptr;
  return get && get(&current) == 0 ? current : nullptr;
}

// MLX's own layouts, of the version whose headers this was compiled with: `backend/cuda/device.h`.
struct Encoder {
  void* device;
  void* stream;
};
struct Recording {
  void* graph;
  Encoder* encoder;
  bool is_discarded;
};

void (*begin_of_mlx)(Recording*, Encoder*);
void (*end_of_mlx)(Recording*);

// Work of this thread that was lost, in the driver's words.
thread_local bool is_lost = false;

void begin(Recording* recorded, Encoder* encoder) {
  recording().lock();
  try {
    begin_of_mlx(recorded, encoder);
  } catch (...) {
    recording().unlock();
    throw;
  }
}

// Ends a recording that MLX's destructor would throw for; false when it is in order.
bool end_invalid(Recording& recorded) {
  constexpr int kInvalidated = 2;
  static auto is_capturing = of_driver<int (*)(void*, int*)>("cuStreamIsCapturing");
  static auto end_capture = of_driver<int (*)(void*, void**)>("cuStreamEndCapture");
  int status = 0;
  if (!is_capturing || !end_capture || is_capturing(recorded.encoder->stream, &status) != 0 || status != kInvalidated) {
    return false;
  }
  void* graph = nullptr;
  end_capture(recorded.encoder->stream, &graph);
  return true;
}

void end(Recording* recorded) {
  if (end_invalid(*recorded)) {
    is_lost = true;
  } else {
    end_of_mlx(recorded);
  }
  recording().unlock();
}

// Handles of one library: those that no thread has, by context.
struct Handles {
  int (*create)(void**) = nullptr;
  std::map<void*, std::vector<void*>> idle;
  std::map<void*, void*> owners;

  int take(void** handle) {
    Hold hold(recording());
    auto* here = context();
    auto& free = idle[here];
    if (!free.empty()) {
      *handle = free.back();
      free.pop_back();
      return 0;
    }
    int status = create(handle);
    if (status == 0) {
      owners[*handle] = here;
    }
    return status;
  }

  int give_back(void* handle) {
    Hold hold(recording());
    idle[owners[handle]].push_back(handle);
    return 0;
  }
};

enum Library { kCublasLt, kCudnn, kCusolver, kLibraries };

Handles& handles(Library library) {
  static auto* all = new Handles[kLibraries];
  return all[library];
}

template <Library library>
int take(void** handle) {
  return handles(library).take(handle);
}

template <Library library>
int give_back(void* handle) {
  return handles(library).give_back(handle);
}

// A function that may load code or wait for the device: not while something is recorded.
template <int place, class... Arguments>
struct Held {
  static inline int (*before)(Arguments...) = nullptr;

  static int call(Arguments... arguments) {
    Hold hold(recording());
    return before(arguments...);
  }
};

// Plans of cuDNN's that recorded graphs may use are never destroyed.
struct ForgetPlan {
  static inline int (*before)(void*) = nullptr;

  static int call(void* plan) {
    Hold hold(recording());
    return cuda::live_graphs() > 0 ? 0 : before(plan);
  }
};

// Replaces a function of libmlx or one that it imports, if it calls one of that name; keeps what was called.
template <class Function>
bool replace(const link_map& mlx, void* library, const char* name, Function now, Function& before) {
  before = reinterpret_cast<Function>(dlsym(library, name));
  return before && elf::replace_imported(mlx, name, reinterpret_cast<void*>(now)) > 0;
}

template <Library library>
void pool_handles(const link_map& mlx, void* mlx_library, const char* create, const char* destroy) {
  int (*unused)(void*) = nullptr;
  if (replace(mlx, mlx_library, create, &take<library>, handles(library).create)) {
    replace(mlx, mlx_library, destroy, &give_back<library>, unused);
  }
}

// When this library is loaded, right after libmlx; other builds of MLX have none of the names.
__attribute__((constructor(102))) void serialize_captures() {
  auto* map = elf::library_of(reinterpret_cast<const void*>(&mlx::core::version));
  void* mlx = map ? dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  constexpr auto kBegin = "_ZN3mlx4core2cu14CommandEncoder14CaptureContextC1ERS2_";
  constexpr auto kEnd = "_ZN3mlx4core2cu14CommandEncoder14CaptureContextD1Ev";
  if (!mlx || !dlsym(mlx, kBegin) || !dlsym(mlx, kEnd)) {
    return;
  }
  replace(*map, mlx, kBegin, &begin, begin_of_mlx);
  replace(*map, mlx, kEnd, &end, end_of_mlx);
  pool_handles<kCublasLt>(*map, mlx, "cublasLtCreate", "cublasLtDestroy");
  pool_handles<kCudnn>(*map, mlx, "cudnnCreate", "cudnnDestroy");
  pool_handles<kCusolver>(*map, mlx, "cusolverDnCreate", "cusolverDnDestroy");
  using Load = Held<0, void**, const void*, unsigned, int*, void**>;
  replace(*map, mlx, "cuModuleLoadDataEx", &Load::call, Load::before);
  using Unload = Held<1, void*>;
  replace(*map, mlx, "cuModuleUnload", &Unload::call, Unload::before);
  using Plan = Held<2, void*>;
  replace(*map, mlx, "cudnnBackendFinalize", &Plan::call, Plan::before);
  // At the end of a thread too, with the plans that it kept.
  replace(*map, mlx, "cudnnBackendDestroyDescriptor", &ForgetPlan::call, ForgetPlan::before);
  using Destroy = Held<5, int>;
  replace(*map, mlx, "cufftDestroy", &Destroy::call, Destroy::before);
  using Choose = Held<3, void*, void*, void*, void*, void*, void*, void*, int, void*, int*>;
  replace(*map, mlx, "cublasLtMatmulAlgoGetHeuristic", &Choose::call, Choose::before);
}

} // namespace

std::unique_lock<std::recursive_mutex> keep_recordings_out() {
  return std::unique_lock(recording());
}

bool is_cuda() {
  return begin_of_mlx != nullptr;
}

void check_captures() {
  if (std::exchange(is_lost, false)) {
    throw std::runtime_error(
        "CUDA could not record work of this thread: another program or library used the GPU in a way that ends recordings");
  }
}

#else

void check_captures() {}

#endif
