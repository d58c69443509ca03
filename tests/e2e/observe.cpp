#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "kernel/error.h"
#include "tests/e2e/known_differences.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/snapshot.h"

namespace godwit::e2e {

namespace {

constexpr long kIoprioWhoProcess = 1;

/// Kernel objects without a name that outlives them, numbered as they appear.
class ObjectNumbers {
 public:
  std::string of(unsigned long device, unsigned long inode) {
    const auto [it, added] = numbers_.try_emplace({device, inode}, numbers_.size() + 1);
    return "#" + std::to_string(it->second);
  }

 private:
  std::map<std::pair<unsigned long, unsigned long>, size_t> numbers_;
};

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool has_lasting_name(std::string_view name) {
  return name.starts_with('/') && !ends_with(name, " (deleted)");
}

/// The name of an unlinked file in its directory isn't kept, nor would anything tell: what is left is that
/// it has none, and its directory. "pipe:[123]" loses its number.
std::string canonical_name(const std::string& name) {
  if (name.starts_with("/memfd:") || name.starts_with("/dev/zero") || name.starts_with("/SYSV")) {
    return name;
  }
  if (ends_with(name, " (deleted)")) {
    return name.substr(0, name.rfind('/') + 1) + "? (deleted)";
  }
  const size_t bracket = name.find(":[");
  return bracket == std::string::npos || name.starts_with('/') ? name : name.substr(0, bracket);
}

/// Can adjacent mappings of this kind have merged, or not, by the order in which they were made?
bool can_merge(const SmapsEntry& entry) {
  return entry.inode == 0 && (entry.name.empty() || entry.name.starts_with("[anon:"));
}

/// The order in which children are listed isn't kept: it is that of their births, or of their adoption.
std::string sorted_words(std::vector<pid_t> pids) {
  std::sort(pids.begin(), pids.end());
  std::string text;
  for (const pid_t pid : pids) {
    text += std::to_string(pid) + " ";
  }
  return text;
}

std::vector<pid_t> children_of(const std::string& thread_directory) {
  std::vector<pid_t> children;
  for (const std::string& child : words_of(try_read(thread_directory + "/children").value_or(""))) {
    children.push_back(std::stoi(child));
  }
  return children;
}

bool of_no_use_to_the_dead(const std::pair<std::string, std::string>& field) {
  return std::any_of(std::begin(kKnownDifferencesOfZombies), std::end(kKnownDifferencesOfZombies),
                     [&](const KnownDifference& known) { return known.field == field.first; });
}

class Observer {
 public:
  explicit Observer(pid_t root) { result_.pids = tree_of(root); }

  Snapshot run() {
    for (const pid_t pid : result_.pids) {
      task(pid);
    }
    result_.facts[{"tree", "tasks", "pids"}] = sorted_words(result_.pids);
    shared_tables();
    shared_descriptions();
    return std::move(result_);
  }

 private:
  void add(const std::string& owner, const std::string& source, const std::string& field, std::string value) {
    result_.facts[{owner, source, field}] = std::move(value);
  }

  void add_all(const std::string& owner, const std::string& source,
               const std::vector<std::pair<std::string, std::string>>& fields) {
    for (const auto& [name, value] : fields) {
      add(owner, source, name, value);
    }
  }

  void add_file(const std::string& owner, const std::string& directory, const std::string& name) {
    if (auto text = try_read(directory + "/" + name)) {
      add(owner, name, "content", *text);
    }
  }

  /// Ours by number, those of the tree by the order of their first appearance.
  std::string namespace_name(const std::string& link, const std::string& kind) {
    if (try_read_link("/proc/self/ns/" + kind) == link) {
      return link;
    }
    const size_t next = namespaces_.size() + 1;
    return fmt::format("of its own, number {}", namespaces_.emplace(link, next).first->second);
  }

  void task(pid_t pid) {
    const std::string owner = "task " + std::to_string(pid);
    const std::string directory = "/proc/" + std::to_string(pid);
    std::string threads;
    for (const int tid : numbers_in(directory + "/task")) {
      threads += std::to_string(tid) + " ";
      thread(owner + " thread " + std::to_string(tid), directory, tid);
    }
    add(owner, "task", "threads", threads);
    const auto state = state_of(pid);
    if (!state) {
      throw error("task {} vanished while it was looked at", pid);
    }
    if (*state == 'Z') {
      return;
    }
    for (const char* name : {"limits", "timers", "cmdline", "environ", "auxv", "oom_score_adj",
                             "coredump_filter", "cgroup", "uid_map"}) {
      add_file(owner, directory, name);
    }
    for (const char* name : {"cwd", "root", "exe"}) {
      add(owner, "links", name, canonical_name(try_read_link(directory + "/" + name).value_or("-")));
    }
    for (const char* name :
         {"mnt", "pid", "pid_for_children", "net", "uts", "ipc", "user", "cgroup", "time"}) {
      add(owner, "ns", name, namespace_name(try_read_link(directory + "/ns/" + name).value_or("-"), name));
    }
    mappings(owner, directory);
    descriptors(owner, pid, directory);
  }

  void thread(const std::string& owner, const std::string& directory, int tid) {
    const std::string own = directory + "/task/" + std::to_string(tid);
    auto status = fields_of(try_read(own + "/status").value_or(""));
    for (auto& [name, value] : status) {
      if (name == "State") {
        value = state_class(value.empty() ? '?' : value[0]);
      }
    }
    if (state_of(tid) == 'Z') {
      std::erase_if(status, of_no_use_to_the_dead);
    }
    add_all(owner, "status", status);
    auto stat = parse_stat(try_read(own + "/stat").value_or(""));
    if (state_of(tid) == 'Z') {
      std::erase_if(stat, of_no_use_to_the_dead);
    }
    for (auto& [name, value] : stat) {
      if (name == "state") {
        value = state_class(value.empty() ? '?' : value[0]);
      } else if (name == "flags") {
        value = std::to_string(std::stoul(value) & ~kFlagsOfTheMoment);
      }
    }
    add_all(owner, "stat", stat);
    for (const char* name : {"comm", "syscall", "personality"}) {
      add_file(owner, own, name);
    }
    add(owner, "children", "pids", sorted_words(children_of(own)));
    // Only the top-level directory has it, which there is for every thread, though it isn't listed.
    add_file(owner, "/proc/" + std::to_string(tid), "timerslack_ns");
    scheduling(owner, tid);
    robust_list(owner, tid);
  }

  /// Running or sleeping is a matter of the moment; stopped and dead are states.
  static std::string state_class(char state) {
    return state == 'R' || state == 'S' || state == 'D' ? "alive" : std::string(1, state);
  }

  void scheduling(const std::string& owner, int tid) {
    struct {
      uint32_t size, policy;
      uint64_t flags;
      int32_t nice;
      uint32_t priority;
      uint64_t runtime, deadline, period;
      uint32_t util_min, util_max;
    } attributes{};
    if (syscall(SYS_sched_getattr, tid, &attributes, sizeof attributes, 0) == 0) {
      add(owner, "sched_getattr", "attributes",
          fmt::format("policy {} flags {:#x} nice {} priority {} runtime {} deadline {} period {} util {}-{}",
                      attributes.policy, attributes.flags, attributes.nice, attributes.priority,
                      attributes.runtime, attributes.deadline, attributes.period, attributes.util_min,
                      attributes.util_max));
    }
    add(owner, "ioprio_get", "priority", std::to_string(syscall(SYS_ioprio_get, kIoprioWhoProcess, tid)));
  }

  void robust_list(const std::string& owner, int tid) {
    void* head = nullptr;
    size_t length = 0;
    if (syscall(SYS_get_robust_list, tid, &head, &length) == 0) {
      add(owner, "get_robust_list", "head", fmt::format("{} length {}", head, length));
    }
  }

  void mappings(const std::string& owner, const std::string& directory) {
    const std::vector<SmapsEntry> all = parse_smaps(try_read(directory + "/smaps").value_or(""));
    std::vector<SmapsEntry> merged;
    unsigned long anonymous_pss = 0;
    for (SmapsEntry entry : all) {
      for (const auto& [name, value] : entry.kilobytes) {
        anonymous_pss += name == "Pss" && entry.inode == 0 ? value : 0;
      }
      std::erase_if(entry.flags, [](const std::string& flag) {
        return std::any_of(std::begin(kKnownVmFlags), std::end(kKnownVmFlags),
                           [&](const KnownDifference& known) { return known.field == flag; });
      });
      if (!merged.empty() && can_merge(merged.back()) && can_merge(entry) &&
          merged.back().end == entry.start && merged.back().permissions == entry.permissions &&
          merged.back().flags == entry.flags && merged.back().name == entry.name) {
        merged.back().end = entry.end;
        continue;
      }
      merged.push_back(entry);
    }
    for (const SmapsEntry& entry : merged) {
      std::string flags;
      for (const std::string& flag : entry.flags) {
        flags += " " + flag;
      }
      add(owner, "maps", fmt::format("{:x}-{:x}", entry.start, entry.end),
          fmt::format("{} {:x} {} {} flags{}", entry.permissions, entry.inode == 0 ? 0 : entry.offset,
                      canonical_name(entry.name), file_identity(entry), flags));
    }
    add(owner, "memory", "Pss_Anon", std::to_string(anonymous_pss));
  }

  std::string file_identity(const SmapsEntry& entry) {
    if (entry.inode == 0) {
      return "-";
    }
    if (has_lasting_name(entry.name)) {
      return fmt::format("{} {}", entry.device, entry.inode);
    }
    unsigned major = 0;
    unsigned minor = 0;
    sscanf(entry.device.c_str(), "%x:%x", &major, &minor);
    return objects_.of((static_cast<unsigned long>(major) << 32) | minor, entry.inode);
  }

  void descriptors(const std::string& owner, pid_t pid, const std::string& directory) {
    for (const int fd : numbers_in(directory + "/fd")) {
      const std::string path = directory + "/fd/" + std::to_string(fd);
      const std::string source = "fd " + std::to_string(fd);
      const std::string name = try_read_link(path).value_or("-");
      add(owner, source, "link", canonical_name(name));
      struct stat status {};
      if (stat(path.c_str(), &status) == 0) {
        const unsigned long device =
            (static_cast<unsigned long>(major(status.st_dev)) << 32) | minor(status.st_dev);
        add(owner, source, "file",
            has_lasting_name(name) ? fmt::format("{:x} {}", device, status.st_ino)
                                   : objects_.of(device, status.st_ino));
        add(owner, source, "mode",
            fmt::format("{:o} uid {} gid {}", status.st_mode, status.st_uid, status.st_gid));
        descriptions_[{device, status.st_ino}].emplace_back(pid, fd);
      }
      fdinfo(owner, source, directory + "/fdinfo/" + std::to_string(fd));
    }
  }

  void fdinfo(const std::string& owner, const std::string& source, const std::string& path) {
    std::map<std::string, int> repeated;
    std::vector<std::string> lines = lines_of(try_read(path).value_or(""));
    // epoll lists its watches by the addresses of kernel objects.
    std::sort(lines.begin(), lines.end());
    for (auto [name, value] : fields_of([&] {
           std::string text;
           for (const std::string& line : lines) {
             text += line + "\n";
           }
           return text;
         }())) {
      const bool known =
          std::any_of(std::begin(kKnownFdinfoDifferences), std::end(kKnownFdinfoDifferences),
                      [&, n = name](const KnownDifference& difference) { return difference.field == n; });
      if (known) {
        continue;
      }
      if (name == "tfd") {
        value = watch_without_identity(value);
      } else if (name == "inotify wd") {
        value = inotify_watch_without_identity(value);
      } else if (name == "lock") {
        // "1: POSIX ADVISORY WRITE pid major:minor:inode start end": the number is a serial number.
        value = value.substr(value.find(':') + 1);
      }
      const int n = repeated[name]++;
      add(owner, source, n == 0 ? name : name + " " + std::to_string(n), value);
    }
  }

  /// Of "13 events: 40000000 data: b pos:0 ino:64 sdev:3" what lasts.
  static std::string watch_without_identity(const std::string& value) {
    const std::vector<std::string> words = words_of(value);
    if (words.size() < 5) {
      return value;
    }
    return fmt::format("{} events {:x} data {}", words[0],
                       strtoul(words[2].c_str(), nullptr, 16) | kEventsOfEveryWatch,
                       words[words[3] == "data:" ? 4 : 3]);
  }

  /// Of "1 ino:64008 sdev:fe00000 mask:100 ignored_mask:0 fhandle-…" what lasts: a file without a name has
  /// another inode; the inotify workload checks of which files they are.
  static std::string inotify_watch_without_identity(const std::string& value) {
    const std::vector<std::string> words = words_of(value);
    return words.size() < 5 ? value : fmt::format("{} {} {}", words[0], words[3], words[4]);
  }

  static bool same(pid_t a, pid_t b, int type, unsigned long index_a = 0, unsigned long index_b = 0) {
    return syscall(SYS_kcmp, a, b, type, index_a, index_b) == 0;
  }

  /// Which tasks share what: each is said to have the table of the first that has the same.
  void shared_tables() {
    static constexpr std::pair<int, const char*> kKinds[] = {{KCMP_VM, "memory"},
                                                             {KCMP_FILES, "descriptor table"},
                                                             {KCMP_FS, "cwd and root"},
                                                             {KCMP_SIGHAND, "signal actions"}};
    std::vector<pid_t> alive;
    for (const pid_t pid : result_.pids) {
      if (state_of(pid).value_or('Z') != 'Z') {
        alive.push_back(pid);
      }
    }
    for (const auto& kind : kKinds) {
      std::vector<pid_t> first;
      for (const pid_t pid : alive) {
        const auto it = std::find_if(first.begin(), first.end(),
                                     [&](pid_t other) { return same(other, pid, kind.first); });
        const pid_t owner = it == first.end() ? first.emplace_back(pid) : *it;
        add("task " + std::to_string(pid), "kcmp", kind.second, "of " + std::to_string(owner));
      }
    }
  }

  /// Descriptions of one file are told apart by kcmp(2), which puts them in some order: so thousands can be.
  void shared_descriptions() {
    using Holder = std::pair<pid_t, int>;
    for (const auto& [file, holders] : descriptions_) {
      const auto before = [](const Holder& a, const Holder& b) {
        return syscall(SYS_kcmp, a.first, b.first, KCMP_FILE, a.second, b.second) == 1;
      };
      std::set<Holder, decltype(before)> first(before);
      for (const Holder& holder : holders) {
        const auto [owner, number] = *first.insert(holder).first;
        add("task " + std::to_string(holder.first), "fd " + std::to_string(holder.second),
            "open file description", fmt::format("of task {} fd {}", owner, number));
      }
    }
  }

  Snapshot result_;
  ObjectNumbers objects_;
  std::map<std::string, size_t> namespaces_;
  std::map<std::pair<unsigned long, unsigned long>, std::vector<std::pair<pid_t, int>>> descriptions_;
};

}  // namespace

std::vector<pid_t> tree_of(pid_t root) {
  std::vector<pid_t> found;
  if (!state_of(root)) {
    return found;
  }
  found.push_back(root);
  for (size_t i = 0; i < found.size(); ++i) {
    const std::string directory = "/proc/" + std::to_string(found[i]) + "/task";
    for (const int tid : numbers_in(directory)) {
      for (const std::string& child :
           words_of(try_read(directory + "/" + std::to_string(tid) + "/children").value_or(""))) {
        found.push_back(std::stoi(child));
      }
    }
  }
  return found;
}

Snapshot observe(pid_t root) {
  return with_context([&] { return fmt::format("looking at the tree of {}", root); },
                      [&] { return Observer(root).run(); });
}

}  // namespace godwit::e2e
