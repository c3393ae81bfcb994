// Keeps what MLX and OpenBLAS compute with alive while the process exits.
//
// `exit` destroys globals while other threads still compute. MLX's tables of encoders, its allocator and its thread pools
// go then, and the memory and the dispatch table of OpenBLAS: a process that exits meanwhile crashed, or waited for ever
// for threads. The system takes everything back anyway, so nothing here is destroyed at all:
// - libmlx and this library register no destructors of globals (`__cxa_atexit`, in their relocated tables of functions);
// - OpenBLAS's own, listed in its dynamic section, which the loader reads at exit, become none.
// Destructors of a thread's storage are another function and stay.
//
// OpenBLAS ends its threads before a fork as well, and waits for them. A product that runs meanwhile never ends then, and
// neither does the fork. They are not needed in the child, where MLX is refused: its handler is taken away.
#ifdef __linux__

#include <utility>

#include "elf_table.h"
#include "mlx/version.h"

extern "C" void __cxa_finalize(void* dso_handle);

using namespace elf;

namespace {

int register_nothing(void (*)(void*), void*, void*) {
  return 0;
}

void register_no_destructors(const void* address_in_library) {
  if (auto* map = library_of(address_in_library)) {
    replace_imported(*map, "__cxa_atexit", reinterpret_cast<void*>(&register_nothing));
  }
}

void run_no_destructors(const void* address_in_library) {
  auto* map = library_of(address_in_library);
  if (auto* size = map ? entry_of(*map, DT_FINI_ARRAYSZ) : nullptr) {
    write_value(size->d_un.d_val, ElfW(Xword){0});
  }
}

// `fork` knows a library by the address of its `__dso_handle`, a pointer that points to itself: the table of relocations
// says which do. Libraries are forgotten by this function when they are closed; it asks for their exit functions too, of
// which OpenBLAS registers none.
void handle_no_forks(const void* address_in_library) {
  auto* map = library_of(address_in_library);
  auto* relocations = map ? table_of<const ElfW(Rela)>(*map, DT_RELA) : nullptr;
  size_t count = relocations ? size_of(*map, DT_RELASZ) / sizeof(ElfW(Rela)) : 0;
  for (size_t i = 0; i < count; i++) {
    bool has_symbol = ELF64_R_SYM(relocations[i].r_info) != STN_UNDEF;
    if (!has_symbol && static_cast<ElfW(Addr)>(relocations[i].r_addend) == relocations[i].r_offset) {
      __cxa_finalize(reinterpret_cast<void*>(map->l_addr + relocations[i].r_offset));
    }
  }
}

// When this library is loaded, right after libmlx, and before its own globals are made.
__attribute__((constructor(101))) void keep_globals() {
  register_no_destructors(reinterpret_cast<const void*>(&mlx::core::version));
  register_no_destructors(reinterpret_cast<const void*>(&keep_globals));
  const void* in_openblas = dlsym(RTLD_DEFAULT, "scipy_cblas_sgemm");
  run_no_destructors(in_openblas);
  handle_no_forks(in_openblas);
}

} // namespace

#endif
