#pragma once

#include <string>

#include "runtimes/client.h"
#include "runtimes/container.h"
#include "runtimes/inspected.h"

/// Containers that Podman or Docker looks after. A dump goes through their clients, and so does a restore:
/// they would take a container that ended under their hands for one that crashed.
namespace godwit::runtimes {

struct ManagedContainer {
  InspectedContainer inspected;
  std::string directory;  // in which its manager keeps checkpoints of it
};

/// Finds a container, whether it runs or not. Throws Error if there is none by that name, if the client can't
/// be run, or if what it says can't be believed.
[[nodiscard]] ManagedContainer find_managed_container(const Client& client, const std::string& name);

/// What /proc confirms of one that runs. Throws Error if it doesn't run, if it is one that couldn't be
/// brought back as it was, or that wouldn't stay ended for it. `ends`: the dump is to end it.
[[nodiscard]] Container check_dumpable(const Client& client, const ManagedContainer& managed, bool ends);

/// In a checkpoint, beside the files of the dumper and of the runtime's: whose container it is of.
inline constexpr const char* kContainerFile = "container.json";

struct ManagedDump {
  std::string directory;  // final name of the checkpoint
  bool leave_running = false;
  bool tcp_established = false;  // connections are kept; Podman alone can be told
  bool sync = true;
};

/// Has the manager dump the container by our `criu`, and puts a copy of the checkpoint, which the manager
/// loses with the container, in a directory of its own. Once the manager has begun, a signal doesn't break it
/// off. Throws Error; then the container runs as it did, or the error says where its checkpoint is.
void dump_managed_container(const Client& client, const ManagedContainer& container, const ManagedDump& dump);

struct ManagedRestore {
  std::string name;       // of the container
  std::string directory;  // of the checkpoint
  bool tcp_established = false;
};

/// Puts the checkpoint in `directory`, which is well-formed, where the manager looks for it, and has the
/// manager restore the container. Throws Error; then the container hasn't been restored, and what the manager
/// had of checkpoints is where it was.
void restore_managed_container(const Client& client, const ManagedRestore& restore);

}  // namespace godwit::runtimes
