#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernel/procfs.h"
#include "parasite/own_code.h"
#include "parasite/remote_call.h"
#include "parasite/signal_frame.h"

namespace godwit {

/// By which a thread into which system calls and the engine are injected gets rid of them and back to where
/// it was, alone, should its tracer die at any moment: signal frames in the unused part of its stack, below
/// the red zone, reached through the task's own code (OwnCode), one to unmap the engine's memory, one to
/// resume.
class WayHome {
 public:
  /// Lays it for a thread that is `before`, in a stop; [address, address + bytes) is, or will be, the
  /// engine's memory. Nothing: the thread doesn't stand on the main stack, where what lies below is known to
  /// be unused, or there is no room, or no such code. Throws Error.
  static std::optional<WayHome> lay(pid_t pid, const ThreadContext& before,
                                    const std::vector<procfs::Map>& maps, OwnCodeFinder& finder,
                                    uint64_t address, size_t bytes);
  /// Puts back what was in the stack. The thread must be on the way no more. Throws Error.
  void take_up() const;

  /// Where to make injected system calls, with one of the two stack pointers.
  [[nodiscard]] uint64_t call() const { return code_.call; }
  /// After the call the engine's memory is unmapped, then the thread resumes.
  [[nodiscard]] uint64_t stack_to_unmap() const { return stack_; }
  /// After the call the thread resumes.
  [[nodiscard]] uint64_t stack_to_resume() const { return unmap_frame() + kSignalContextBytes; }
  /// Stack pointers for rt_sigreturn(2), with the same two ends.
  [[nodiscard]] uint64_t unmap_frame() const { return stack_ + head_bytes(); }
  [[nodiscard]] uint64_t resume_frame() const { return stack_to_resume() + head_bytes(); }

 private:
  WayHome(pid_t pid, const OwnCode& code) : pid_(pid), code_(code) {}
  [[nodiscard]] size_t head_bytes() const { return (code_.call_words + 1) * sizeof(uint64_t); }
  [[nodiscard]] bool find_place(const ThreadContext& before, const std::vector<procfs::Map>& maps,
                                size_t vector_bytes);
  [[nodiscard]] bool read_what_is_there();
  void write(const ThreadContext& before, std::span<const std::byte> vectors, uint64_t address, size_t bytes);

  pid_t pid_;
  OwnCode code_;
  uint64_t stack_ = 0;
  uint64_t vectors_ = 0;
  std::vector<std::byte> was_there_;
};

}  // namespace godwit
