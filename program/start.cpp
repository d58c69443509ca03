// Where the program begins: it has the kernel map all of its code and data with a few calls, instead of page
// by page when they are touched, then goes on to the C library's entry. (A page fault takes 14 µs on the
// virtual machine that docs/performance.md measures; a command took a hundred of them.)
#include <elf.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstdint>

extern "C" const Elf64_Ehdr __ehdr_start;  // NOLINT: the linker's name

namespace {

/// madvise(2), MADV_POPULATE_*: since Linux 5.14. Only a hint: nothing depends on its success, so its result
/// isn't looked at. Nothing of the C library may be used yet, not even errno.
inline void populate(uint64_t start, uint64_t end, int advice) {
  uint64_t result = SYS_madvise;
  start &= ~uint64_t{4095};
  asm volatile("syscall"
               : "+a"(result)
               : "D"(start), "S"((end - start + 4095) & ~uint64_t{4095}),
                 "d"(uint64_t{static_cast<unsigned>(advice)})
               : "rcx", "r11", "memory");
}

/// Where the tables begin by which exceptions unwind, which the linker puts behind all code and constants;
/// `end` if that isn't in [start, end). Only failures need them, a seventh of the program.
inline uint64_t unwinding_tables(const Elf64_Phdr* segments, uint64_t start, uint64_t end) {
  for (int i = 0; i < __ehdr_start.e_phnum; ++i) {
    const uint64_t tables = segments[i].p_vaddr;
    if (segments[i].p_type == PT_GNU_EH_FRAME && start <= tables && tables < end) {
      return tables;
    }
  }
  return end;
}

}  // namespace

extern "C" [[gnu::used]] void godwit_map_at_once() {
  const auto* segments = reinterpret_cast<const Elf64_Phdr*>(reinterpret_cast<const char*>(&__ehdr_start) +
                                                             __ehdr_start.e_phoff);
  for (int i = 0; i < __ehdr_start.e_phnum; ++i) {
    const Elf64_Phdr& segment = segments[i];
    const uint64_t end = segment.p_vaddr + segment.p_memsz;
    if (segment.p_type == PT_LOAD) {
      if ((segment.p_flags & PF_W) != 0) {
        populate(segment.p_vaddr, end, MADV_POPULATE_WRITE);
      } else {
        populate(segment.p_vaddr, unwinding_tables(segments, segment.p_vaddr, end), MADV_POPULATE_READ);
      }
    }
  }
}

// The stack is as the kernel made it, and %rdx must reach _start as it is (System V ABI, AMD64, 3.4.1).
asm(R"(
  .section .text
  .globl godwit_start
  .type godwit_start, @function
godwit_start:
  pushq %rdx
  pushq %rdx
  call godwit_map_at_once
  popq %rdx
  popq %rdx
  jmp _start
  .size godwit_start, . - godwit_start
)");
