// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/module/redirect.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace redline::kernels::onednn {
namespace {

// The parts of a loaded library that name its imports and where their addresses are kept.
struct Imports {
  const link_map* map = nullptr;
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const ElfW(Rela) * tables[2] = {};  // of functions, of all else
  size_t counts[2] = {};
  uintptr_t read_only_begin = 0, read_only_end = 0;  // pages that are protected after binding
};

bool find_imports(const void* address, Imports* out) {
  dl_find_object object;
  if (_dl_find_object(const_cast<void*>(address), &object) != 0) return false;
  const link_map* map = object.dlfo_link_map;
  out->map = map;
  // Some loaders leave the addresses in the dynamic section relative.
  const auto pointer = [&](const ElfW(Dyn) & entry) {
    return entry.d_un.d_ptr < map->l_addr ? entry.d_un.d_ptr + map->l_addr : entry.d_un.d_ptr;
  };
  for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    switch (entry->d_tag) {
      case DT_SYMTAB:
        out->symbols = reinterpret_cast<const ElfW(Sym)*>(pointer(*entry));
        break;
      case DT_STRTAB:
        out->names = reinterpret_cast<const char*>(pointer(*entry));
        break;
      case DT_JMPREL:
        out->tables[0] = reinterpret_cast<const ElfW(Rela)*>(pointer(*entry));
        break;
      case DT_PLTRELSZ:
        out->counts[0] = entry->d_un.d_val / sizeof(ElfW(Rela));
        break;
      case DT_RELA:
        out->tables[1] = reinterpret_cast<const ElfW(Rela)*>(pointer(*entry));
        break;
      case DT_RELASZ:
        out->counts[1] = entry->d_un.d_val / sizeof(ElfW(Rela));
        break;
    }
  }
  return out->symbols != nullptr && out->names != nullptr && out->tables[0] != nullptr;
}

int note_read_only_pages(dl_phdr_info* info, size_t, void* context) {
  auto* imports = static_cast<Imports*>(context);
  if (info->dlpi_addr != imports->map->l_addr) return 0;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_GNU_RELRO) continue;
    imports->read_only_begin = (info->dlpi_addr + header.p_vaddr) & ~(page - 1);
    imports->read_only_end = (info->dlpi_addr + header.p_vaddr + header.p_memsz) & ~(page - 1);
  }
  return 1;
}

// Calls fn(name, slot) for each imported function until it returns true.
template <class Fn>
void visit_imports(const Imports& imports, Fn&& fn) {
  for (int t = 0; t < 2; ++t) {
    for (size_t i = 0; i < imports.counts[t]; ++i) {
      const ElfW(Rela)& entry = imports.tables[t][i];
      const auto type = ELF64_R_TYPE(entry.r_info);
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) continue;
      const ElfW(Sym)& import = imports.symbols[ELF64_R_SYM(entry.r_info)];
      auto* slot = reinterpret_cast<void**>(imports.map->l_addr + entry.r_offset);
      if (fn(imports.names + import.st_name, slot)) return;
    }
  }
}

void** find_slot(const Imports& imports, const char* symbol) {
  void** found = nullptr;
  visit_imports(imports, [&](const char* name, void** slot) {
    if (std::strcmp(name, symbol) == 0) found = slot;
    return found != nullptr;
  });
  return found;
}

bool write_slot(const Imports& imports, void** slot, const void* value) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<uintptr_t>(slot);
  const bool read_only = at >= imports.read_only_begin && at < imports.read_only_end;
  auto* start = reinterpret_cast<void*>(at & ~(page - 1));
  if (read_only && mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return false;
  std::atomic_ref<void*>(*slot).store(const_cast<void*>(value));
  if (read_only) mprotect(start, page, PROT_READ);
  return true;
}

}  // namespace

bool in_same_library(const void* a, const void* b) {
  dl_find_object object;
  if (_dl_find_object(const_cast<void*>(a), &object) != 0) return false;
  return b >= object.dlfo_map_start && b < object.dlfo_map_end;
}

int count_imports(const void* address, const void* provider) {
  int count = 0;
  Imports imports;
  if (!find_imports(address, &imports)) return 0;
  visit_imports(imports, [&](const char*, void** slot) {
    count += in_same_library(*slot, provider);
    return false;
  });
  return count;
}

bool redirect_imports(const void* address, const void* provider, std::span<Redirect> redirects) {
  constexpr size_t kMaxRedirects = 8;
  Imports imports;
  if (redirects.size() > kMaxRedirects || !find_imports(address, &imports)) return false;
  dl_iterate_phdr(note_read_only_pages, &imports);
  void** slots[kMaxRedirects];
  for (size_t i = 0; i < redirects.size(); ++i) {
    slots[i] = find_slot(imports, redirects[i].symbol);
    if (slots[i] == nullptr) return false;
    redirects[i].original = *slots[i];
    // Also one that is not bound yet: its first call would undo what is written here.
    if (!in_same_library(redirects[i].original, provider)) return false;
  }
  for (size_t i = 0; i < redirects.size(); ++i) {
    if (write_slot(imports, slots[i], redirects[i].replacement)) continue;
    for (size_t j = 0; j < i; ++j) write_slot(imports, slots[j], redirects[j].original);
    return false;
  }
  return true;
}

}  // namespace redline::kernels::onednn
