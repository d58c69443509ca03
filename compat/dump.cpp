#include "dump/dump.h"

#include <csignal>

#include "compat/client_files.h"
#include "compat/operations.h"
#include "compat/outside.h"
#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit::compat {

namespace {

DumpOptions translate(const Settings& settings, const Workplace& workplace) {
  if (settings.pid <= 0) {
    throw Error("no pid of a tree was given", EINVAL);
  }
  // Clients tell this case by its number.
  if (::kill(settings.pid, 0) != 0 && errno == ESRCH) {
    throw Error(fmt::format("dump of process {}", settings.pid), ESRCH);
  }
  DumpOptions options;
  options.pid = settings.pid;
  options.directory = workplace.images_path;
  options.directory_fd = workplace.images.get();
  options.shell_job = settings.shell_job;
  set_outside(settings, options);
  if (settings.leave_running) {
    options.after = DumpOptions::After::LeaveRunning;
  } else if (settings.leave_stopped) {
    options.after = DumpOptions::After::LeaveStopped;
  }
  return options;
}

/// The network is locked from network-lock on. Whatever happens then, whoever locked it hears when it may be
/// unlocked, except where the tree has been ended.
class NetworkLock {
 public:
  NetworkLock(const Notifier& notifier, pid_t root) : notifier_(notifier), root_(root) {}
  NetworkLock(const NetworkLock&) = delete;
  NetworkLock& operator=(const NetworkLock&) = delete;
  ~NetworkLock() { unlock(); }

  void lock() {
    locked_ = true;
    notifier_.tell("network-lock", root_);
  }
  void leave_locked() { locked_ = false; }

 private:
  void unlock() noexcept {
    try {
      if (locked_) {
        notifier_.tell("network-unlock", root_);
      }
    } catch (const Error& e) {
      log::warning("network-unlock: {}", e.what());
    }
  }

  const Notifier& notifier_;
  pid_t root_;
  bool locked_ = false;
};

/// The checkpoint is complete, and the tree may be gone: it is too late to fail.
void write_client_files(const Workplace& workplace, const DumpReport& report) {
  try {
    write_inventory(workplace.images.get());
    write_dump_stats(report);
  } catch (const Error& e) {
    log::warning("{}", e.what());
  }
}

}  // namespace

void run_dump(const Settings& settings, const Workplace& workplace, const Notifier& notifier) {
  const DumpOptions options = translate(settings, workplace);
  log::info("dump of process {} to {}", options.pid, workplace.images_path);
  notifier.tell("pre-dump", options.pid);
  NetworkLock network(notifier, options.pid);
  DumpCallbacks callbacks;
  callbacks.frozen = [&] {
    network.lock();
    notifier.ask("query-ext-files", options.pid);
  };
  if (notifier.wanted()) {
    callbacks.complete = [&] { notifier.tell("post-dump", options.pid); };
  }
  const DumpReport report = dump(options, callbacks);
  if (options.after == DumpOptions::After::Kill) {
    network.leave_locked();
  }
  write_client_files(workplace, report);
  if (settings.display_stats) {
    print_dump_stats(report);
  }
  log::info("dumped {} tasks, {} threads, {} pages; frozen for {} us", report.tasks, report.threads,
            report.pages, report.frozen_ns / 1000);
}

}  // namespace godwit::compat
