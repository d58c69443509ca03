#include "restore/restore.h"

#include <ctime>

#include "compat/at_last.h"
#include "compat/client_files.h"
#include "compat/operations.h"
#include "compat/outside.h"
#include "images-format/checkpoint_reader.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "program/pidfile.h"

namespace godwit::compat {

namespace {

uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

pid_t run_restore(const Settings& settings, const Workplace& workplace, const Notifier& notifier) {
  log::info("restore from {}", workplace.images_path);
  RestoreTimes times{.began_ns = now_ns()};
  const CheckpointImage image =
      CheckpointImage::open_directory(workplace.images.get(), workplace.images_path);
  notifier.tell("pre-restore", 0);
  Pidfile pidfile(settings.pidfile);
  RestoreCallbacks callbacks;
  callbacks.created = [&](pid_t root) {
    times.created_ns = now_ns();
    notifier.tell("setup-namespaces", root);
    notifier.tell("post-setup-namespaces", root);
  };
  callbacks.barrier = [&](pid_t root) {
    if (!settings.pidfile.empty()) {
      pidfile.write(root);
    }
    notifier.tell("post-restore", root);
    notifier.tell("network-unlock", root);
    notifier.tell("pre-resume", root);
    times.ended_ns = now_ns();
  };
  if (notifier.takes_descriptors()) {
    callbacks.terminal = [&](int master) { notifier.hand_over("orphan-pts-master", master); };
  }
  RestoreOptions options;
  options.sibling = settings.sibling;
  options.root = settings.root;
  options.tcp_established = settings.tcp_established;
  options.network_lock = settings.network_lock;
  options.cgroups = cgroup_roots(settings);
  options.external = outside_paths(settings);
  const pid_t root = restore(image, options, callbacks);
  pidfile.keep();
  at_last([&] { write_restore_stats(image, times); });
  notifier.tell_at_last("post-resume", root);
  if (settings.display_stats) {
    at_last([&] { print_restore_stats(image, times); });
  }
  log::info("restored; the root is task {}", root);
  return root;
}

}  // namespace godwit::compat
