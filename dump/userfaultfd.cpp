#include "dump/userfaultfd.h"

#include <sys/syscall.h>

#include <optional>

#include "kernel/error.h"
#include "kernel/pidfd.h"
#include "kernel/remote.h"
#include "kernel/userfaultfd.h"
#include "parasite/parasite.h"

namespace godwit {

namespace {

// Room for the engine, a short script, stack and signal frame.
constexpr size_t kParasiteBytes = size_t{12} * 4096;

uint64_t free_place(const TaskState& task) {
  std::vector<std::pair<uint64_t, uint64_t>> used;
  used.reserve(task.maps.size());
  for (const procfs::Map& map : task.maps) {
    used.emplace_back(map.start, map.end);
  }
  return free_range(used, kParasiteBytes);
}

}  // namespace

Fd make_userfaultfd(const TaskState& task, OwnCodeFinder& finder) {
  const pid_t pid = task.pid();
  const Fd pidfd = open_pidfd(pid);
  // Before the parasite, which may still run it when it ends early.
  std::optional<ScriptBuilder> script;
  Parasite parasite(task.frozen->threads, task.maps, finder, free_place(task), kParasiteBytes);
  script.emplace(parasite.next_script_address());
  const Slot made = script->call_to_slot("make a userfaultfd", SYS_userfaultfd, {userfaultfd::flags()});
  const uint64_t told = script->reserve(sizeof(uint32_t));
  script->store(told, made);
  script->pause(parasite.signal());
  script->call("close the userfaultfd", SYS_close, {made});
  parasite.start(pid, *script);
  Fd copy;
  if (parasite.wait_for_pause(pid)) {
    const auto number = RemoteMemory(pid).read(remote_ptr<int32_t>(told));
    try {
      copy = copy_descriptor(pidfd.get(), number);
    } catch (...) {
      parasite.go_on(pid);
      throw;
    }
    parasite.go_on(pid);
  }
  parasite.collect(pid);
  return copy;
}

}  // namespace godwit
