#include <sys/user.h>

#include <cstddef>

#include "dump/collectors.h"
#include "kernel/error.h"
#include "kernel/ptrace.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

// struct rseq and struct rseq_cs, include/uapi/linux/rseq.h.
constexpr uint64_t kSectionPointerOffset = 8;
struct Section {
  uint32_t version;
  uint32_t flags;
  uint64_t start;
  uint64_t length;
  uint64_t abort;
};
static_assert(sizeof(Section) == 32);
constexpr int kInstructionPointer = offsetof(user_regs_struct, rip) / sizeof(uint64_t);

}  // namespace

void collect_rseq(pid_t pid, ThreadState& thread) {
  const ptrace::RseqConfiguration configuration = ptrace::rseq_configuration(thread.tid);
  if (configuration.address == 0) {
    return;
  }
  image::Rseq& record = *thread.record->mutable_rseq();
  record.set_address(configuration.address);
  record.set_size(configuration.size);
  record.set_signature(configuration.signature);
  record.set_flags(configuration.flags);

  const RemoteMemory memory(pid);
  const uint64_t pointer = configuration.address + kSectionPointerOffset;
  const auto descriptor = memory.read(remote_ptr<uint64_t>(pointer));
  if (descriptor == 0) {
    return;
  }
  // A pointer that leads nowhere kills the task as soon as it runs; that is for the kernel to say.
  const auto section = memory.read(remote_ptr<Section>(descriptor));
  image::Registers& registers = *thread.record->mutable_registers();
  if (registers.general(kInstructionPointer) - section.start < section.length) {
    thread.critical_section = CriticalSection{pointer, descriptor};
    registers.set_general(kInstructionPointer, section.abort);
  }
}

void clear_critical_section(pid_t pid, const ThreadState& thread) {
  if (thread.critical_section) {
    RemoteMemory(pid).write(remote_ptr<uint64_t>(thread.critical_section->pointer), uint64_t{0});
  }
}

void give_back_critical_sections(std::deque<TaskState>& tasks) noexcept {
  for (TaskState& task : tasks) {
    for (ThreadState& thread : task.threads) {
      if (!thread.critical_section) {
        continue;
      }
      try {
        RemoteMemory(task.pid())
            .write(remote_ptr<uint64_t>(thread.critical_section->pointer),
                   thread.critical_section->descriptor);
      } catch (const Error&) {
        // The task has been killed.
      }
      thread.critical_section.reset();
    }
  }
}

}  // namespace godwit
