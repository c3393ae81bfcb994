// Lets OpenBLAS be when the process exits.
//
// Its destructor gives back memory that products on other threads are working in, and the table of functions that they
// go through, so that a process that exits meanwhile crashed, or hung where OpenBLAS had threads of its own to wait for.
// The system takes everything back anyway. Destructors are listed in the library's dynamic section, which the loader
// reads when the process exits: here their number becomes zero.
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

extern "C" void scipy_cblas_sgemm();

namespace {

ElfW(Dyn)* entry_of(link_map* map, ElfW(Sxword) tag) {
  for (auto* entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == tag) {
      return entry;
    }
  }
  return nullptr;
}

void write_value(ElfW(Dyn)& entry, ElfW(Xword) value) {
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto start = reinterpret_cast<uintptr_t>(&entry.d_un.d_val) & ~(page - 1);
  auto* address = reinterpret_cast<void*>(start);
  // Read-only once relocated. A value lies within a page: it is aligned.
  if (mprotect(address, page, PROT_READ | PROT_WRITE) == 0) {
    entry.d_un.d_val = value;
    mprotect(address, page, PROT_READ);
  }
}

__attribute__((constructor)) void drop_destructors() {
  Dl_info info;
  link_map* map = nullptr;
  auto* inside = reinterpret_cast<void*>(&scipy_cblas_sgemm);
  if (!dladdr1(inside, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) || !map) {
    return;
  }
  if (auto* size = entry_of(map, DT_FINI_ARRAYSZ)) {
    write_value(*size, 0);
  }
}

} // namespace
