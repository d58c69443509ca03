#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "images-format/checkpoint_name.h"
#include "kernel/fd.h"

/// What a dump and a keeper (dump/keeper.h) tell each other, one message a datagram of a SOCK_SEQPACKET
/// socket. Both are godwit on one machine: numbers stand as they are in memory.
namespace godwit::keeper {

/// A task, and no other that has its pid later.
struct TaskIdentity {
  pid_t pid = 0;
  uint32_t reserved = 0;
  uint64_t start_time = 0;  // clock ticks since boot, proc_pid_stat(5)
  auto operator<=>(const TaskIdentity&) const = default;
};

/// Where the sockets of keepers are, for their maker's user alone.
inline constexpr const char* kDirectory = "/run/godwit";
/// The keeper of the tree with that root.
[[nodiscard]] std::string socket_path(const TaskIdentity& root);

/// The checkpoint since which writes have been tracked, and which of its memory objects has the pages.
struct Base {
  CheckpointName checkpoint;
  uint64_t object = 0;  // 0: there is none; all pages count as written
};

struct Message {
  enum class Kind : uint32_t {
    // From the keeper.
    Kept = 1,  // one address space: task, base, and its userfaultfd
    End,       // of the list, with which each conversation begins
    Done,      // Forget or Commit has been done; `error`, if not
    // From the dump.
    Hold,    // an address space from now on: task, its userfaultfd and its pidfd
    Settle,  // task and base, for Commit
    Forget,  // no base of this task counts any more; at once
    Commit,  // what was held and settled holds; without it, it goes with the conversation
  };
  static constexpr uint32_t kVersion = 0x67770001;

  uint32_t version = kVersion;
  Kind kind = {};
  TaskIdentity task = {};
  Base base = {};
  int32_t error = 0;  // errno
  uint32_t reserved = 0;
};

/// Throws Error: the other end has gone, or doesn't listen.
void send(int socket, const Message& message, const std::vector<int>& descriptors = {});

struct Received {
  Message message;
  std::vector<Fd> descriptors;
};
/// Nothing: the other end has gone. Throws Error for what isn't a message of this version, and when a
/// time-out of the socket's (SO_RCVTIMEO) runs out.
[[nodiscard]] std::optional<Received> receive(int socket);

}  // namespace godwit::keeper
