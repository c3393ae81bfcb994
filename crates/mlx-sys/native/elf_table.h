// A loaded library's tables, and what its imported functions are replaced with (Linux).
#ifndef MLX_NATIVE_ELF_TABLE_H
#define MLX_NATIVE_ELF_TABLE_H

#ifdef __linux__

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace elf {

inline link_map* library_of(const void* address) {
  Dl_info info;
  link_map* map = nullptr;
  bool found = address && dladdr1(address, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP);
  return found ? map : nullptr;
}

inline ElfW(Dyn)* entry_of(const link_map& map, ElfW(Sxword) tag) {
  for (auto* entry = map.l_ld; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == tag) {
      return entry;
    }
  }
  return nullptr;
}

inline size_t size_of(const link_map& map, ElfW(Sxword) tag) {
  auto* entry = entry_of(map, tag);
  return entry ? entry->d_un.d_val : 0;
}

// The table that an entry points to; most loaders have added the library's address already.
template <class T>
T* table_of(const link_map& map, ElfW(Sxword) tag) {
  auto* entry = entry_of(map, tag);
  if (!entry) {
    return nullptr;
  }
  auto address = entry->d_un.d_ptr;
  return reinterpret_cast<T*>(address < map.l_addr ? address + map.l_addr : address);
}

// Writes an aligned value that the loader may have made read-only; the page stays writable.
template <class T>
void write_value(T& place, T value) {
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* start = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(&place) & ~(page - 1));
  if (mprotect(start, page, PROT_READ | PROT_WRITE) == 0) {
    place = value;
  }
}

inline int replace_in(const link_map& map, const ElfW(Rela)* relocations, size_t bytes, const char* name, void* function) {
  auto* symbols = table_of<const ElfW(Sym)>(map, DT_SYMTAB);
  auto* names = table_of<const char>(map, DT_STRTAB);
  if (!relocations || !symbols || !names) {
    return 0;
  }
  int count = 0;
  for (size_t i = 0; i < bytes / sizeof(ElfW(Rela)); i++) {
    auto symbol = ELF64_R_SYM(relocations[i].r_info);
    if (symbol != STN_UNDEF && std::strcmp(names + symbols[symbol].st_name, name) == 0) {
      write_value(*reinterpret_cast<void**>(map.l_addr + relocations[i].r_offset), function);
      count++;
    }
  }
  return count;
}

// Puts `function` in the place of one that a library calls through its symbol table; returns in how many places.
inline int replace_imported(const link_map& map, const char* name, void* function) {
  int count = 0;
  for (auto [table, size] : {std::pair{DT_JMPREL, DT_PLTRELSZ}, {DT_RELA, DT_RELASZ}}) {
    count += replace_in(map, table_of<const ElfW(Rela)>(map, table), size_of(map, size), name, function);
  }
  return count;
}

} // namespace elf

#endif
#endif
