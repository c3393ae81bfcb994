// Kernels of our own on CUDA: compiled by NVRTC, launched by MLX's encoder (`cuda_kernel.h`).
#include "cuda_kernel.h"

#ifdef __linux__

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <unordered_map>

#include "cuda.h"
#include "cuda_graph.h"
#include "cuda_sources.h"
#include "mlx/ops.h"
#include "mlx/version.h"
#include "mlx_native.h"

namespace cuda {

namespace {

// MLX's own layout, of the version whose headers this was compiled with: `backend/cuda/allocator.h`.
struct Buffer {
  void* data;
  size_t size;
  int device;
};

using Encoder = void;

// What libmlx exports and its headers for the CPU do not declare.
struct Mlx {
  Encoder* (*encoder_of)(mx::Stream);
  void (*set_input)(Encoder*, const mx::array&);
  void (*set_output)(Encoder*, const mx::array&);
  void (*add_kernel)(Encoder*, void* function, Size grid, Size block, Size cluster, unsigned shared, void** arguments);
  void (*add_handler)(Encoder*, std::function<void()>);

  static const Mlx* get() {
    static const Mlx mlx = {
        named<decltype(encoder_of)>("_ZN3mlx4core2cu19get_command_encoderENS0_6StreamE"),
        named<decltype(set_input)>("_ZN3mlx4core2cu14CommandEncoder15set_input_arrayERKNS0_5arrayE"),
        named<decltype(set_output)>("_ZN3mlx4core2cu14CommandEncoder16set_output_arrayERKNS0_5arrayE"),
        named<decltype(add_kernel)>("_ZN3mlx4core2cu14CommandEncoder19add_kernel_node_rawEP9CUfunc_st4dim3S5_S5_jPPv"),
        named<decltype(add_handler)>("_ZN3mlx4core2cu14CommandEncoder21add_completed_handlerESt8functionIFvvEE")};
    bool is_whole = mlx.encoder_of && mlx.set_input && mlx.set_output && mlx.add_kernel && mlx.add_handler;
    return is_whole ? &mlx : nullptr;
  }

 private:
  template <class Function>
  static Function named(const char* symbol) {
    return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, symbol));
  }
};

// Functions of a library that libmlx has loaded.
class Library {
 public:
  explicit Library(std::initializer_list<const char*> names) {
    for (auto* name : names) {
      handle_ = handle_ ? handle_ : dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
    }
  }

  template <class Function>
  bool get(const char* name, Function& function) const {
    function = handle_ ? reinterpret_cast<Function>(dlsym(handle_, name)) : nullptr;
    return function != nullptr;
  }

 private:
  void* handle_ = nullptr;
};

// NVIDIA's compiler.
struct Compiler {
  int (*create)(void**, const char* source, const char* name, int, const char* const*, const char* const*);
  int (*compile)(void*, int, const char* const*);
  int (*add_name)(void*, const char*);
  int (*lowered_name)(void*, const char*, const char**);
  int (*size)(void*, size_t*);
  int (*code)(void*, char*);
  int (*log_size)(void*, size_t*);
  int (*log)(void*, char*);
  int (*destroy)(void**);

  static const Compiler* get() {
    static Compiler nvrtc;
    static const bool is_whole = [] {
      Library library{"libnvrtc.so.13", "libnvrtc.so.12"};
      return library.get("nvrtcCreateProgram", nvrtc.create) && library.get("nvrtcCompileProgram", nvrtc.compile) &&
          library.get("nvrtcAddNameExpression", nvrtc.add_name) && library.get("nvrtcGetLoweredName", nvrtc.lowered_name) &&
          library.get("nvrtcGetCUBINSize", nvrtc.size) && library.get("nvrtcGetCUBIN", nvrtc.code) &&
          library.get("nvrtcGetProgramLogSize", nvrtc.log_size) && library.get("nvrtcGetProgramLog", nvrtc.log) &&
          library.get("nvrtcDestroyProgram", nvrtc.destroy);
    }();
    return is_whole ? &nvrtc : nullptr;
  }
};

// NVIDIA's driver.
struct Driver {
  int (*init)(unsigned);
  int (*device)(int*, int);
  int (*attribute)(int*, int, int);
  int (*load)(void**, const void*);
  int (*function)(void**, void*, const char*);
  int (*set_attribute)(void*, int, int);

  static const Driver* get() {
    static Driver driver;
    static const bool is_whole = [] {
      Library library{"libcuda.so.1"};
      return library.get("cuInit", driver.init) && library.get("cuDeviceGet", driver.device) && library.get("cuDeviceGetAttribute", driver.attribute) &&
          library.get("cuModuleLoadData", driver.load) && library.get("cuModuleGetFunction", driver.function) &&
          library.get("cuFuncSetAttribute", driver.set_attribute);
    }();
    return is_whole ? &driver : nullptr;
  }
};

// The driver's numbers of what is asked of a device and set of a function.
constexpr int kProcessors = 16;
constexpr int kMajor = 75;
constexpr int kMinor = 76;
constexpr int kDynamicShared = 8;

// What a block has without being asked for.
constexpr unsigned kPlainShared = 48 * 1024;

// Of the first device, which is MLX's default: all are taken to be alike.
int attribute(int which) {
  auto* driver = Driver::get();
  int device = 0;
  int value = 0;
  if (!driver || driver->init(0) != 0 || driver->device(&device, 0) != 0 || driver->attribute(&value, which, device) != 0) {
    return 0;
  }
  return value;
}

const char* source_named(const std::string& file) {
  for (auto& source : cuda_sources) {
    if (file == source.name) {
      return source.text;
    }
  }
  return nullptr;
}

void report(const std::string& instance, const Compiler& nvrtc, void* program) {
  if (!std::getenv("MLX_CUDA_KERNELS_LOG")) {
    return;
  }
  size_t size = 0;
  nvrtc.log_size(program, &size);
  std::string log(size, '\0');
  nvrtc.log(program, log.data());
  fprintf(stderr, "%s: %s\n", instance.c_str(), log.c_str());
}

// The code of an instance and its name there; no code when it does not compile.
struct Compiled {
  std::string name;
  std::string code;
};

Compiled compile(const char* file, const char* source, const char* header, const std::string& instance, int architecture) {
  auto* nvrtc = Compiler::get();
  const char* header_name = "numbers.cuh";
  void* program = nullptr;
  if (!nvrtc || nvrtc->create(&program, source, file, 1, &header, &header_name) != 0) {
    return {};
  }
  std::string target = "--gpu-architecture=sm_" + std::to_string(architecture);
  const char* options[] = {target.c_str(), "--std=c++17"};
  Compiled compiled;
  const char* name = nullptr;
  size_t size = 0;
  if (nvrtc->add_name(program, instance.c_str()) == 0 && nvrtc->compile(program, 2, options) == 0 &&
      nvrtc->lowered_name(program, instance.c_str(), &name) == 0 && nvrtc->size(program, &size) == 0) {
    compiled.name = name;
    compiled.code.resize(size);
    if (nvrtc->code(program, compiled.code.data()) != 0) {
      compiled.code.clear();
    }
  } else {
    report(instance, *nvrtc, program);
  }
  nvrtc->destroy(&program);
  return compiled;
}

// Where MLX keeps what it compiles, and we too; empty where that cannot be made.
const std::filesystem::path& cache_folder() {
  static const std::filesystem::path folder = [] {
    std::error_code error;
    auto* choice = std::getenv("MLX_PTX_CACHE_DIR");
    auto path = choice ? std::filesystem::path(choice) : std::filesystem::temp_directory_path(error) / "mlx" / mx::version() / "ptx";
    std::filesystem::create_directories(path, error);
    return error ? std::filesystem::path() : path;
  }();
  return folder;
}

// Compiles, or reads what was compiled before: a file of the instance, its name in the code, and the code, a line each.
Compiled compile_once(const char* file, const std::string& instance, int architecture) {
  auto* source = source_named(std::string(file) + ".cu");
  auto* header = source_named("numbers.cuh");
  if (!source || !header) {
    return {};
  }
  auto key = std::hash<std::string>{}(std::string(header) + source + instance);
  auto path = cache_folder().empty()
      ? std::filesystem::path()
      : cache_folder() / ("own_" + std::to_string(key) + "_sm" + std::to_string(architecture) + ".cubin");
  Compiled compiled;
  std::string kept;
  if (std::ifstream in(path, std::ios::binary); !path.empty() && std::getline(in, kept) && kept == instance && std::getline(in, compiled.name)) {
    compiled.code.assign(std::istreambuf_iterator<char>(in), {});
    if (!compiled.code.empty()) {
      return compiled;
    }
  }
  compiled = compile(file, source, header, instance, architecture);
  if (path.empty() || compiled.code.empty()) {
    return compiled;
  }
  // Whole or not at all, whoever else writes it.
  auto fresh = path;
  fresh += "." + std::to_string(getpid());
  std::ofstream out(fresh, std::ios::binary);
  out << instance << '\n' << compiled.name << '\n' << compiled.code;
  out.close();
  std::error_code error;
  if (out) {
    std::filesystem::rename(fresh, path, error);
  } else {
    std::filesystem::remove(fresh, error);
  }
  return compiled;
}

void* build(const char* file, const std::string& instance, unsigned shared_bytes) {
  auto compiled = compile_once(file, instance, attribute(kMajor) * 10 + attribute(kMinor));
  auto* driver = Driver::get();
  if (compiled.code.empty() || !driver) {
    return nullptr;
  }
  auto held = keep_recordings_out();
  void* module = nullptr;
  void* function = nullptr;
  if (driver->load(&module, compiled.code.data()) != 0 || driver->function(&function, module, compiled.name.c_str()) != 0) {
    return nullptr;
  }
  if (shared_bytes > kPlainShared && driver->set_attribute(function, kDynamicShared, static_cast<int>(shared_bytes)) != 0) {
    return nullptr;
  }
  return function;
}

struct Cache {
  std::mutex lock;
  std::map<std::pair<int, std::string>, Kernel> kernels;
  std::set<const void*> functions;
};

Cache& cache() {
  static auto* cache = new Cache;
  return *cache;
}

// A primitive of MLX's that allocates its output and, given a mask of no elements, does nothing else.
mx::Primitive& allocating(const mx::Stream& s) {
  thread_local std::unordered_map<int, std::shared_ptr<mx::Primitive>> primitives;
  auto& primitive = primitives[s.index];
  if (!primitive) {
    mx::array x({0.5f}, {1});
    auto scattered = mx::masked_scatter(x, mx::array({true}, {1}), x, s);
    while (scattered.primitive().name() != std::string("MaskedScatter")) {
      scattered = mx::array(scattered.inputs().at(0));
    }
    primitive = scattered.primitive_ptr();
  }
  return *primitive;
}

} // namespace

bool kernels_on() {
  static const bool on = [] {
    auto* choice = std::getenv("MLX_CUDA_KERNELS");
    bool is_off = choice && (!std::strcmp(choice, "0") || !std::strcmp(choice, "false") || !std::strcmp(choice, "off"));
    return !is_off && is_cuda() && Mlx::get() && Compiler::get() && attribute(kMajor) >= 8;
  }();
  return on;
}

int processors(const mx::Stream&) {
  static const int n = attribute(kProcessors);
  return n > 0 ? n : 1;
}

const Kernel* find(const char* file, const std::string& instance, const mx::Stream& s, unsigned shared_bytes) {
  // What this thread has found before, without a lock: what a map holds stays where it is.
  thread_local std::unordered_map<std::string, const Kernel*> found;
  thread_local int device = s.device.index;
  if (device != s.device.index) {
    found.clear();
    device = s.device.index;
  }
  auto& known = found[instance];
  if (known) {
    return known;
  }
  auto& all = cache();
  std::lock_guard hold(all.lock);
  auto [at, is_new] = all.kernels.try_emplace({s.device.index, instance});
  if (is_new) {
    at->second = {build(file, instance, shared_bytes), instance};
    all.functions.insert(at->second.function);
  }
  known = at->second.function ? &at->second : nullptr;
  return known;
}

const char* type_name(mx::Dtype dtype) {
  if (dtype == mx::float32) {
    return "float";
  }
  if (dtype == mx::float16) {
    return "float16";
  }
  return dtype == mx::bfloat16 ? "bfloat16" : nullptr;
}

namespace {

char* address(const mx::array& x) {
  auto* buffer = static_cast<const Buffer*>(x.buffer().ptr());
  return static_cast<char*>(buffer->data) + x.offset();
}

} // namespace

int may_read_early(const mx::array& x) {
  auto* recorder = GraphRecorder::current();
  return !recorder || !recorder->has_written(x);
}

bool begins_early(const void* function) {
  // Where kernels can wait for others themselves.
  constexpr int kFirstMajor = 9;
  auto& all = cache();
  std::lock_guard hold(all.lock);
  return function && all.functions.contains(function) && attribute(kMajor) >= kFirstMajor;
}

bool is_aligned(const mx::array& x) {
  return reinterpret_cast<uintptr_t>(address(x)) % 16 == 0;
}

void allocate(mx::array& out, const mx::Stream& s) {
  static const auto* none = new Arrays(3, mx::array(mx::Shape{1, 0}, mx::bool_, nullptr, {}));
  Arrays outputs{out};
  allocating(s).eval_gpu(*none, outputs);
}

mx::array scratch(mx::Shape shape, mx::Dtype dtype, const mx::Stream& s) {
  mx::array array(std::move(shape), dtype, nullptr, {});
  allocate(array, s);
  return array;
}

mx::array computed(mx::array result) {
  if (result.has_primitive()) {
    Arrays outputs{result};
    result.primitive().eval_gpu(result.inputs(), outputs);
  }
  return result;
}

mx::array in_rows(const mx::array& x, const mx::Stream& s) {
  if (x.flags().row_contiguous) {
    return x;
  }
  auto copy = computed(mx::contiguous(x, false, s));
  keep(s, {copy});
  return copy;
}

void keep(const mx::Stream& s, Arrays arrays) {
  if (auto* recorder = GraphRecorder::current()) {
    recorder->hold(arrays);
  }
  at_completion(s, [arrays = std::move(arrays)] {});
}

void at_completion(const mx::Stream& s, std::function<void()> done) {
  auto* mlx = Mlx::get();
  mlx->add_handler(mlx->encoder_of(s), std::move(done));
}

Launch::Launch(const Kernel& kernel, const mx::Stream& s) : kernel_(kernel), encoder_(Mlx::get()->encoder_of(s)) {}

void Launch::pointer(const mx::array& x) {
  value(address(x));
}

Launch& Launch::input(const mx::array& x) {
  Mlx::get()->set_input(encoder_, x);
  pointer(x);
  return *this;
}

Launch& Launch::input(const std::optional<mx::array>& x) {
  return x ? input(*x) : null();
}

Launch& Launch::output(const mx::array& x) {
  Mlx::get()->set_output(encoder_, x);
  if (auto* recorder = GraphRecorder::current()) {
    recorder->note_written(x);
  }
  pointer(x);
  return *this;
}

Launch& Launch::null() {
  return value(uint64_t{0});
}

void Launch::run(Size blocks, unsigned threads, unsigned shared_bytes) {
  void* pointers[kMost];
  for (int i = 0; i < n_; i++) {
    pointers[i] = bytes_ + arguments_[i];
  }
  Mlx::get()->add_kernel(encoder_, kernel_.function, blocks, Size{threads}, Size{}, shared_bytes, pointers);
}

} // namespace cuda

#endif
