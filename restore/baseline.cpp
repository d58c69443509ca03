#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "restore/state.h"

namespace godwit {

Baseline Baseline::of_this_process() {
  Baseline b;
  b.status = procfs::read_status(getpid(), getpid());
  for (size_t resource = 0; resource < b.limits.size(); ++resource) {
    ::getrlimit(static_cast<__rlimit_resource>(resource), &b.limits[resource]);
  }
  b.scheduling = read_scheduling(0);
  b.oom_score_adj = procfs::read_number("/proc/self/oom_score_adj");
  b.securebits = static_cast<uint32_t>(::prctl(PR_GET_SECUREBITS));
  return b;
}

void apply_oom_and_core(const image::Task& task, const Baseline& baseline) {
  const pid_t pid = task.pid(0);
  const auto set = [&](const char* name, const std::string& value) {
    try {
      const std::string path = fmt::format("/proc/{}/{}", pid, name);
      const Fd file = open_file(path, O_WRONLY);
      write_all(file.get(), std::as_bytes(std::span(value)), path);
    } catch (const Error& e) {
      log::warning("task {}: {} can't be set to {}: {}", pid, name, value, e.what());
    }
  };
  if (task.oom_score_adj() != baseline.oom_score_adj) {
    set("oom_score_adj", std::to_string(task.oom_score_adj()));
  }
  constexpr uint32_t kDefaultFilter = 0x33;
  if (task.coredump_filter() != kDefaultFilter) {
    set("coredump_filter", fmt::format("{:#x}", task.coredump_filter()));
  }
}

}  // namespace godwit
