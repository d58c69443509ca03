#include "parasite/remote_call.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

constexpr std::string_view kSyscallInstruction = "\x0f\x05";

// The requests of ptrace(2) whose glibc constants are an enum that knows no address or data types.
void request(enum __ptrace_request what, pid_t tid, uint64_t address, void* data, const char* doing) {
  if (::ptrace(what, tid, address, data) != 0) {
    throw errno_error("cannot {} thread {}", doing, tid);
  }
}

void set_registers(pid_t tid, user_regs_struct registers) {
  iovec io{&registers, sizeof registers};
  request(PTRACE_SETREGSET, tid, NT_PRSTATUS, &io, "set the registers of");
}

void set_mask(pid_t tid, uint64_t mask) {
  request(PTRACE_SETSIGMASK, tid, sizeof mask, &mask, "set the signal mask of");
}

/// Offset of a `syscall` instruction in the kernel's vdso, which is the same in all processes.
std::optional<uint64_t> offset_in_vdso() {
  static const std::optional<uint64_t> offset = []() -> std::optional<uint64_t> {
    const auto* vdso =
        reinterpret_cast<const char*>(::getauxval(AT_SYSINFO_EHDR));  // NOLINT: an address as a number
    if (vdso == nullptr) {
      return std::nullopt;
    }
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(vdso);
    const auto* segment = reinterpret_cast<const Elf64_Phdr*>(vdso + header->e_phoff);
    for (int i = 0; i < header->e_phnum; ++i, ++segment) {
      if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0) {
        const std::string_view code(vdso + segment->p_offset, segment->p_filesz);
        const size_t at = code.find(kSyscallInstruction);
        if (at != std::string_view::npos) {
          return segment->p_offset + at;
        }
      }
    }
    return std::nullopt;
  }();
  return offset;
}

bool is_syscall_instruction(const RemoteMemory& memory, uint64_t address) {
  std::array<char, 2> code{};
  try {
    memory.read(address, std::as_writable_bytes(std::span(code)));
  } catch (const Error&) {
    return false;
  }
  return std::string_view(code.data(), code.size()) == kSyscallInstruction;
}

uint64_t vdso_address(pid_t pid) {
  const std::string auxv = read_file(fmt::format("/proc/{}/auxv", pid));
  for (size_t at = 0; at + 2 * sizeof(uint64_t) <= auxv.size(); at += 2 * sizeof(uint64_t)) {
    std::array<uint64_t, 2> entry{};
    std::memcpy(entry.data(), auxv.data() + at, sizeof entry);
    if (entry[0] == AT_SYSINFO_EHDR) {
      return entry[1];
    }
  }
  return 0;
}

std::optional<uint64_t> search_code(pid_t pid, const RemoteMemory& memory) {
  const std::string maps = read_file(fmt::format("/proc/{}/maps", pid));
  for (size_t line = 0; line < maps.size(); line = maps.find('\n', line) + 1) {
    uint64_t start = 0;
    uint64_t end = 0;
    std::array<char, 5> protection{};
    if (sscanf(maps.c_str() + line, "%lx-%lx %4s", &start, &end, protection.data()) != 3 ||
        protection[2] != 'x') {
      continue;
    }
    std::vector<char> code(std::min<uint64_t>(end - start, 1 << 20));
    try {
      memory.read(start, std::as_writable_bytes(std::span(code)));
    } catch (const Error&) {
      continue;  // [vsyscall] can't be read
    }
    const size_t at = std::string_view(code.data(), code.size()).find(kSyscallInstruction);
    if (at != std::string_view::npos) {
      return start + at;
    }
  }
  return std::nullopt;
}

}  // namespace

ThreadContext ThreadContext::of(pid_t tid) {
  ThreadContext state;
  state.tid = tid;
  iovec general{&state.general, sizeof state.general};
  request(PTRACE_GETREGSET, tid, NT_PRSTATUS, &general, "read the registers of");
  request(PTRACE_GETSIGMASK, tid, sizeof state.blocked, &state.blocked, "read the signal mask of");
  return state;
}

void ThreadContext::apply(pid_t thread) const {
  set_registers(thread, general);
  set_mask(thread, blocked);
}

void ThreadContext::put_back(pid_t thread) const {
  set_mask(thread, blocked);
  set_registers(thread, general);
}

int wait_for_stop(pid_t tid) {
  for (;;) {
    int status = 0;
    if (::waitpid(tid, &status, __WALL) < 0) {
      if (errno == EINTR) {
        continue;
      }
      status = 0;  // collected by another thread of ours
    }
    if (WIFSTOPPED(status)) {
      return status >> 8;
    }
    throw Error(fmt::format("thread {} has ended", tid), ESRCH);
  }
}

void inject_call(const ThreadContext& before, const CallSite& site, long number,
                 std::initializer_list<uint64_t> args) {
  const pid_t tid = before.tid;
  ThreadContext call = before;
  call.blocked = ~uint64_t{0};
  std::array<uint64_t, 6> values{};
  std::copy(args.begin(), args.end(), values.begin());
  call.general.rax = static_cast<uint64_t>(number);
  call.general.orig_rax = ~0ULL;
  call.general.rip = site.instruction;
  call.general.rsp = site.stack;
  call.general.rdi = values[0];
  call.general.rsi = values[1];
  call.general.rdx = values[2];
  call.general.r10 = values[3];
  call.general.r8 = values[4];
  call.general.r9 = values[5];
  call.general.eflags &= ~uint64_t{0x500};  // direction and trap flag
  call.apply(tid);
  // To the entry of the system call; from there to the next point at which the kernel looks at signals.
  // Only from such a stop does it restart an interrupted system call.
  request(PTRACE_SYSCALL, tid, 0, nullptr, "resume");
  while ((wait_for_stop(tid) & 0xff7f) != SIGTRAP) {
    request(PTRACE_SYSCALL, tid, 0, nullptr, "resume");
  }
  request(PTRACE_INTERRUPT, tid, 0, nullptr, "interrupt");
  request(PTRACE_CONT, tid, 0, nullptr, "resume");
  while (wait_for_stop(tid) >> 8 != PTRACE_EVENT_STOP) {
    request(PTRACE_CONT, tid, 0, nullptr, "resume");
  }
}

uint64_t find_syscall_instruction(pid_t pid, pid_t tid) {
  const RemoteMemory memory(pid);
  if (const auto offset = offset_in_vdso()) {
    const uint64_t vdso = vdso_address(pid);
    if (vdso != 0 && is_syscall_instruction(memory, vdso + *offset)) {
      return vdso + *offset;
    }
  }
  const uint64_t at = ThreadContext::of(tid).general.rip - kSyscallInstruction.size();
  if (is_syscall_instruction(memory, at)) {
    return at;
  }
  if (const auto found = search_code(pid, memory)) {
    return *found;
  }
  throw error("task {} has no code with a system call instruction", pid);
}

}  // namespace godwit
