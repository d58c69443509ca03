#include "dump/dump.h"

#include <csignal>

#include "compat/at_last.h"
#include "compat/client_files.h"
#include "compat/operations.h"
#include "compat/outside.h"
#include "dump/pre_dump.h"
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
  options.parent = settings.parent;
  options.track = settings.track_mem && (settings.leave_running || settings.leave_stopped);
  options.shell_job = settings.shell_job;
  options.orphan_terminals = settings.orphan_terminals;
  options.tcp_established = settings.tcp_established;
  options.network_lock = settings.network_lock;
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
  ~NetworkLock() {
    if (locked_) {
      notifier_.tell_at_last("network-unlock", root_);
    }
  }

  void lock() {
    locked_ = true;
    notifier_.tell("network-lock", root_);
  }
  void leave_locked() { locked_ = false; }

 private:
  const Notifier& notifier_;
  pid_t root_;
  bool locked_ = false;
};

void tell_statistics(const Settings& settings, const DumpReport& report) {
  at_last([&] { write_dump_stats(report); });
  if (settings.display_stats) {
    at_last([&] { print_dump_stats(report); });
  }
  log::info("dumped {} tasks, {} threads, {} pages, {} are in the parent; frozen for {} us", report.tasks,
            report.threads, report.pages, report.in_parent_pages, report.frozen_ns / 1000);
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
  Inventory inventory(workplace.images.get());
  // A tree that runs on waits for this only if somebody wants to know.
  const bool wait = notifier.wanted() || options.after != DumpOptions::After::LeaveRunning;
  if (wait) {
    callbacks.complete = [&] {
      inventory.write();
      notifier.tell("post-dump", options.pid);
      inventory.keep();
    };
  }
  const DumpReport report = dump(options, callbacks);
  if (options.after == DumpOptions::After::Kill) {
    network.leave_locked();
  }
  if (!wait) {
    at_last([&] { inventory.write(); });
    inventory.keep();
  }
  tell_statistics(settings, report);
}

void run_pre_dump(const Settings& settings, const Workplace& workplace, const Notifier& notifier) {
  const DumpOptions options = translate(settings, workplace);
  log::info("pre-dump of process {} to {}", options.pid, workplace.images_path);
  notifier.tell("pre-dump", options.pid);
  tell_statistics(settings, pre_dump(options));
}

}  // namespace godwit::compat
