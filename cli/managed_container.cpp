#include "cli/managed_container.h"

#include "cli/checkpoint_text.h"
#include "images-format/checkpoint_reader.h"
#include "images-format/task.pb.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "program/output.h"
#include "runtimes/managed.h"

namespace godwit::cli {

namespace {

std::string report(const std::string& directory, const runtimes::Container& container, bool json) {
  const CheckpointImage image = CheckpointImage::open_directory(directory);
  const auto tasks = image.all<image::Task>();
  uint64_t threads = 0;
  for (const image::Task* task : tasks) {
    threads += static_cast<uint64_t>(task->threads_size());
  }
  uint64_t bytes = 0;
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    bytes += count_pages(*object).stored_bytes;
  }
  return json ? fmt::format("{{\"container\": {}, \"tasks\": {}, \"threads\": {}, \"payload_bytes\": {}}}\n",
                            container_json(container), tasks.size(), threads, bytes)
              : fmt::format("{}: {}, {}, {}\n", directory, format_count(tasks.size(), "task"),
                            format_count(threads, "thread"), format_bytes(bytes));
}

}  // namespace

void check_managed_connections(const ContainerFlags& flags, bool tcp_established) {
  if (tcp_established && !flags.docker.empty()) {
    throw UsageError(
        "Docker can't be told of --tcp-established; a line 'tcp-established' in /etc/criu/runc.conf can");
  }
}

void check_managed_dump(const ContainerFlags& flags, const DumpOptions& options) {
  if (options.after == DumpOptions::After::LeaveStopped) {
    throw UsageError(fmt::format("with {} a container runs on by --leave-running, or ends", flags.option()));
  }
  if (options.shell_job || !options.external.empty() || !options.mounts.external.empty() ||
      !options.mounts.skip.empty() || !options.mounts.enable.empty() ||
      options.writer.codec != image::PageBlock::NONE) {
    throw UsageError(
        fmt::format("{} can't be told of --shell-job, --external, --skip-mnt, --enable-fs and "
                    "--compress",
                    flags.client().name()));
  }
}

void dump_managed(const ContainerFlags& flags, const DumpOptions& options, bool json) {
  const runtimes::Client client = flags.client();
  const bool leave_running = options.after == DumpOptions::After::LeaveRunning;
  const runtimes::ManagedContainer managed = runtimes::find_managed_container(client, flags.name());
  const runtimes::Container container = runtimes::check_dumpable(client, managed, !leave_running);
  if (!json) {
    print_out(container_text(container));
  }
  runtimes::dump_managed_container(client, managed,
                                   {.directory = options.directory,
                                    .leave_running = leave_running,
                                    .tcp_established = options.tcp_established,
                                    .sync = options.writer.sync});
  try {
    print_out(report(options.directory, container, json));
  } catch (const Error& e) {
    log::warning("the dump is done, but {}", e.what());
  }
}

}  // namespace godwit::cli
