#include "dump/terminal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <memory>
#include <optional>
#include <unordered_map>

#include "dump/dump.h"
#include "kernel/error.h"

namespace godwit {

namespace {

/// The number of a terminal says nothing about the devpts instance in which it is. A descriptor does, unless
/// others are of the terminal of that number in another instance.
std::optional<struct stat> find_by_descriptor(pid_t pid, dev_t terminal) {
  const Fd directory = open_file(fmt::format("/proc/{}/fd", pid), O_RDONLY | O_DIRECTORY);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(::dup(directory.get())), ::closedir);
  std::optional<struct stat> found;
  while (const dirent* entry = entries ? ::readdir(entries.get()) : nullptr) {
    struct stat status {};
    if (entry->d_name[0] == '.' || ::fstatat(directory.get(), entry->d_name, &status, 0) != 0 ||
        !S_ISCHR(status.st_mode) || status.st_rdev != terminal) {
      continue;
    }
    if (found && found->st_dev != status.st_dev) {
      throw refusal("terminals of the same number ({}:{}) in two devpts instances", major(terminal),
                    minor(terminal));
    }
    found = status;
  }
  return found;
}

void collect(TaskState& leader, NamespaceTable& namespaces, const DumpOptions& options) {
  const procfs::Stat& stat = leader.frozen->stat;
  const std::optional<struct stat> slave = find_by_descriptor(leader.pid(), stat.terminal);
  const std::string path = slave ? namespaces.use_terminal(*slave) : std::string();
  if (path.empty()) {
    throw refusal("a terminal ({}:{}) that controls its session and isn't in a devpts instance of the tree's",
                  major(stat.terminal), minor(stat.terminal));
  }
  if (!options.orphan_terminals) {
    throw refusal("the terminal {}, whose other end is outside the tree,", path)
        .hint("the runtimes of containers take the new one over when they restore");
  }
  namespaces.set_terminal_of_session(leader.pid(), path);
  leader.record.mutable_terminal()->set_path(path);
  leader.record.mutable_terminal()->set_foreground_group(std::max(stat.foreground_group, 0));
}

}  // namespace

void collect_controlling_terminals(std::deque<TaskState>& tasks, NamespaceTable& namespaces,
                                   const DumpOptions& options) {
  std::unordered_map<pid_t, dev_t> of_session;
  for (TaskState& task : tasks) {
    if (task.frozen->zombie() || task.record.session() != task.pid()) {
      continue;
    }
    const dev_t terminal = task.frozen->stat.terminal;
    of_session[task.pid()] = terminal;
    if (terminal != 0) {
      with_context([&] { return fmt::format("task {}", task.pid()); },
                   [&] { collect(task, namespaces, options); });
    }
  }
  for (const TaskState& task : tasks) {
    const auto known = of_session.find(task.record.session());
    const dev_t expected = known == of_session.end() ? 0 : known->second;
    if (!task.frozen->zombie() && task.record.session() != 0 && task.frozen->stat.terminal != expected) {
      throw refusal("task {}, whose terminal isn't that of its session's leader,", task.pid());
    }
  }
}

}  // namespace godwit
