#include "dump/paused_cgroup.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "dump/backoff.h"
#include "kernel/cgroup.h"
#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/fdinfo.h"
#include "kernel/log.h"

namespace godwit {

namespace {

constexpr uint64_t kPauseLimit = 1'000'000'000;

std::string value_of(const std::string& file) {
  const Fd opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text = opened ? read_all(opened.get(), file) : std::string();
  text.resize(std::min(text.size(), text.find('\n')));
  return text;
}

void write_value(const std::string& file, std::string_view value) {
  const Fd opened = open_file(file, O_WRONLY);
  write_all(opened.get(), std::as_bytes(std::span(value)), file);
}

/// Processes in it and below.
void add_processes(const std::string& directory, std::vector<pid_t>& processes) {
  const std::string text = read_file(directory + "/cgroup.procs");
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    processes.push_back(parse_number<pid_t>(line, 10, "cgroup.procs"));
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_directory()) {
      add_processes(entry.path(), processes);
    }
  }
}

}  // namespace

PausedCgroup::PausedCgroup(pid_t process) {
  std::optional<CgroupMounts> mounts;
  for (const Cgroup& cgroup : parse_cgroups(read_file(fmt::format("/proc/{}/cgroup", process)))) {
    const bool unified = cgroup.has("");
    if ((!unified && !cgroup.has("freezer")) || cgroup.path == "/" || !file_.empty()) {
      continue;  // the root can't be paused
    }
    if (!mounts) {
      mounts.emplace();
    }
    if (const CgroupMounts::Place place = mounts->find(cgroup); !place.directory.empty()) {
      find(place.directory, place.top, unified);
    }
  }
}

/// The one that is paused itself: those below it are, too.
void PausedCgroup::find(const std::string& directory, const std::string& top, bool unified) {
  for (std::string at = directory; at != top && at.size() > top.size(); at.resize(at.rfind('/'))) {
    const bool paused = value_of(at + (unified ? "/cgroup.freeze" : "/freezer.self_freezing")) == "1";
    if (paused) {
      directory_ = at;
      file_ = at + (unified ? "/cgroup.freeze" : "/freezer.state");
      unified_ = unified;
      return;
    }
  }
}

bool PausedCgroup::holds_stopped(pid_t pid, pid_t tid) const {
  if (file_.empty() || unified_ || thawed_) {
    return false;
  }
  // In stat and status the pause hides everything else. A thread that is still on its way into the pause
  // waits nowhere.
  Backoff backoff;
  const uint64_t start = monotonic_ns();
  std::string where;
  do {
    where = value_of(fmt::format("/proc/{}/task/{}/wchan", pid, tid));
    if (monotonic_ns() - start > kPauseLimit) {
      throw error("task {} is paused, and the kernel doesn't tell whether it is stopped, too", pid)
          .hint(fmt::format("resume cgroup {} first", directory_));
    }
    backoff.rest();
  } while (where.empty() || where == "0");
  return where.starts_with("do_signal_stop") ||
         where.starts_with("get_signal");  // which may be inlined there
}

void PausedCgroup::thaw(const std::unordered_set<pid_t>& interrupted) {
  std::vector<pid_t> processes;
  add_processes(directory_, processes);
  for (const pid_t process : processes) {
    if (!interrupted.contains(process)) {
      throw error("cgroup {} is paused and has process {} in it, which isn't of the tree", directory_,
                  process)
          .hint("resume it first, or end that process");
    }
  }
  write_value(file_, unified_ ? "0" : "THAWED");
  thawed_ = true;
}

void PausedCgroup::pause() noexcept {
  if (!thawed_) {
    return;
  }
  try {
    write_value(file_, unified_ ? "1" : "FROZEN");
    thawed_ = false;
  } catch (const std::exception& e) {
    log::warning("cgroup {} stays resumed: {}", directory_, e.what());
  }
}

}  // namespace godwit
