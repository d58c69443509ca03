#include "kernel/ptrace.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <csignal>

#include "kernel/error.h"

namespace godwit::ptrace {

namespace {

// Requests by number: glibc's enum lacks the newer ones.
constexpr long kPeekSignalInfo = 0x4209;
constexpr long kGetSignalMask = 0x420a;
constexpr long kSetSignalMask = 0x420b;
constexpr long kSeccompGetFilter = 0x420c;
constexpr long kSeccompGetMetadata = 0x420d;
constexpr long kGetRseqConfiguration = 0x420f;
constexpr long kGetSyscallUserDispatch = 0x4211;  // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG

template <typename Number, typename Data>
long request(long what, pid_t tid, Number number, Data* data) {
  return ::ptrace(static_cast<__ptrace_request>(what), tid, reinterpret_cast<void*>(number), data);
}

bool request_of_stopped(long what, pid_t tid, uint64_t data, const char* doing) {
  if (request(what, tid, uintptr_t{0}, reinterpret_cast<void*>(data)) == 0) {
    return true;
  }
  if (errno == ESRCH) {
    return false;
  }
  throw errno_error("cannot {} thread {}", doing, tid);
}

}  // namespace

int seize(pid_t tid, uint64_t options) {
  return request(PTRACE_SEIZE, tid, uintptr_t{0}, reinterpret_cast<void*>(options)) == 0 ? 0 : errno;
}

bool set_options(pid_t tid, uint64_t options) {
  return request_of_stopped(PTRACE_SETOPTIONS, tid, options, "set the options of");
}

bool interrupt(pid_t tid) {
  return request_of_stopped(PTRACE_INTERRUPT, tid, 0, "interrupt");
}

bool resume(pid_t tid, int signal) {
  return request_of_stopped(PTRACE_CONT, tid, static_cast<uint64_t>(signal), "resume");
}

bool stands(pid_t tid) {
  unsigned long message = 0;
  return request(PTRACE_GETEVENTMSG, tid, uintptr_t{0}, &message) == 0;
}

bool detach(pid_t tid) {
  return request_of_stopped(PTRACE_DETACH, tid, 0, "detach from");
}

Change classify(int wait_status) {
  if (!WIFSTOPPED(wait_status)) {
    return {};
  }
  const int signal = WSTOPSIG(wait_status);
  const int event = wait_status >> 16;
  if (event == PTRACE_EVENT_STOP) {
    return {signal == SIGTRAP ? Change::Kind::Interrupted : Change::Kind::GroupStop, signal};
  }
  if (event != 0 || signal == (SIGTRAP | 0x80)) {
    return {Change::Kind::Other, signal};
  }
  return {Change::Kind::Signal, signal};
}

std::optional<Change> poll(pid_t tid) {
  int status = 0;
  const pid_t got = ::waitpid(tid, &status, __WALL | WNOHANG);
  if (got == 0) {
    return std::nullopt;
  }
  return got < 0 ? Change{} : classify(status);
}

bool has_ended(pid_t tid) {
  siginfo_t change{};
  if (::waitid(P_PID, static_cast<id_t>(tid), &change, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) {
    return true;
  }
  return change.si_code == CLD_EXITED || change.si_code == CLD_KILLED || change.si_code == CLD_DUMPED;
}

Change wait(pid_t tid) {
  int status = 0;
  while (::waitpid(tid, &status, __WALL) < 0) {
    if (errno != EINTR) {
      return {};
    }
  }
  return classify(status);
}

user_regs_struct registers(pid_t tid) {
  user_regs_struct registers{};
  iovec area{&registers, sizeof(registers)};
  if (request(PTRACE_GETREGSET, tid, uintptr_t{NT_PRSTATUS}, &area) != 0) {
    throw errno_error("cannot read the registers of thread {}", tid);
  }
  return registers;
}

void set_registers(pid_t tid, const user_regs_struct& registers) {
  iovec area{const_cast<user_regs_struct*>(&registers), sizeof(registers)};
  if (request(PTRACE_SETREGSET, tid, uintptr_t{NT_PRSTATUS}, &area) != 0) {
    throw errno_error("cannot set the registers of thread {}", tid);
  }
}

std::vector<std::byte> xsave(pid_t tid) {
  // AMX makes it 11 KiB.
  std::vector<std::byte> bytes(16384);
  iovec area{bytes.data(), bytes.size()};
  if (request(PTRACE_GETREGSET, tid, uintptr_t{NT_X86_XSTATE}, &area) != 0) {
    throw errno_error("cannot read the extended registers of thread {}", tid);
  }
  if (area.iov_len == bytes.size()) {
    throw error("the extended registers of thread {} are larger than {} bytes", tid, bytes.size());
  }
  bytes.resize(area.iov_len);
  return bytes;
}

void set_xsave(pid_t tid, std::span<const std::byte> area) {
  iovec bytes{const_cast<std::byte*>(area.data()), area.size()};
  if (request(PTRACE_SETREGSET, tid, uintptr_t{NT_X86_XSTATE}, &bytes) != 0) {
    throw errno_error("cannot set the extended registers of thread {}", tid);
  }
}

uint64_t signal_mask(pid_t tid) {
  uint64_t mask = 0;
  if (request(kGetSignalMask, tid, sizeof(mask), &mask) != 0) {
    throw errno_error("cannot read the signal mask of thread {}", tid);
  }
  return mask;
}

void set_signal_mask(pid_t tid, uint64_t mask) {
  if (request(kSetSignalMask, tid, sizeof(mask), &mask) != 0) {
    throw errno_error("cannot set the signal mask of thread {}", tid);
  }
}

std::vector<SignalInfo> pending_signals(pid_t tid, bool of_process) {
  constexpr int32_t kBatch = 16;
  struct {
    uint64_t offset;
    uint32_t flags;
    int32_t count;
  } arguments{0, of_process ? 1U : 0U, kBatch};
  std::vector<SignalInfo> all;
  for (;;) {
    std::array<SignalInfo, kBatch> batch;
    const long got = request(kPeekSignalInfo, tid, reinterpret_cast<uintptr_t>(&arguments), batch.data());
    if (got < 0) {
      throw errno_error("cannot read the pending signals of thread {}", tid);
    }
    all.insert(all.end(), batch.begin(), batch.begin() + got);
    if (got < kBatch) {
      return all;
    }
    arguments.offset += static_cast<uint64_t>(got);
  }
}

RseqConfiguration rseq_configuration(pid_t tid) {
  struct {
    uint64_t address;
    uint32_t size;
    uint32_t signature;
    uint32_t flags;
    uint32_t padding;
  } answer{};
  if (request(kGetRseqConfiguration, tid, sizeof(answer), &answer) < 0) {
    throw errno_error("cannot read the rseq configuration of thread {}", tid);
  }
  return {answer.address, answer.size, answer.signature, answer.flags};
}

bool dispatches_system_calls(pid_t tid) {
  struct {
    uint64_t mode;
    uint64_t selector;
    uint64_t offset;
    uint64_t length;
  } answer{};
  if (request(kGetSyscallUserDispatch, tid, sizeof(answer), &answer) == 0) {
    return answer.mode != 0;
  }
  if (errno != EIO && errno != EINVAL) {
    throw errno_error("cannot ask for the syscall user dispatch of thread {}", tid);
  }
  return false;
}

std::optional<std::vector<sock_filter>> seccomp_filter(pid_t tid, uint32_t index) {
  std::vector<sock_filter> instructions(BPF_MAXINSNS);
  const long count = request(kSeccompGetFilter, tid, uintptr_t{index}, instructions.data());
  if (count < 0 && errno == ENOENT) {
    return std::nullopt;
  }
  if (count < 0) {
    throw errno_error("cannot read seccomp filter {} of thread {}", index, tid);
  }
  instructions.resize(static_cast<size_t>(count));
  return instructions;
}

uint32_t seccomp_filter_flags(pid_t tid, uint32_t index) {
  struct {
    uint64_t index;
    uint64_t flags;
  } metadata{index, 0};
  if (request(kSeccompGetMetadata, tid, sizeof(metadata), &metadata) < 0) {
    throw errno_error("cannot read the flags of seccomp filter {} of thread {}", index, tid);
  }
  return static_cast<uint32_t>(metadata.flags);
}

}  // namespace godwit::ptrace
