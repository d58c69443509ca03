// What an ipc namespace holds: its limits. Objects in it can't be made again yet.
#include <algorithm>
#include <cerrno>
#include <string>

#include "dump/namespace.h"
#include "kernel/error.h"
#include "kernel/ipc_settings.h"
#include "kernel/mount.h"

namespace godwit {

namespace {

/// A mqueue mount of our own, since the tasks needn't have one. It shows the namespace that we are in.
void refuse_message_queues() {
  Fd mount;
  try {
    mount = make_superblock("mqueue", "", {});
  } catch (Error& e) {
    if (e.code() == ENODEV) {
      return;  // a kernel without them
    }
    e.in("cannot look for POSIX message queues");
    throw;
  }
  if (!is_empty_directory(mount.get())) {
    throw refusal("a POSIX message queue");
  }
}

void refuse_objects() {
  struct Table {
    const char* path;
    const char* name;
  };
  for (const Table& table : {Table{"/proc/sysvipc/shm", "System V shared memory"},
                             Table{"/proc/sysvipc/sem", "System V semaphores"},
                             Table{"/proc/sysvipc/msg", "a System V message queue"}}) {
    const std::string lines = read_file(table.path);
    if (std::count(lines.begin(), lines.end(), '\n') > 1) {
      throw refusal("{}", table.name);
    }
  }
  refuse_message_queues();
}

}  // namespace

void collect_ipc_namespace(image::IpcNamespace& record) {
  refuse_objects();
  for (const char* name : kIpcSettings) {
    const Fd file(::open(fmt::format("/proc/sys/{}", name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
      continue;  // a kernel without it
    }
    std::string value = read_all(file.get(), name);
    value.resize(std::min(value.size(), value.find('\n')));
    image::Setting& setting = *record.add_settings();
    setting.set_name(name);
    setting.set_value(std::move(value));
  }
}

}  // namespace godwit
