#include "dump/alike.h"

#include <sched.h>
#include <sys/resource.h>

#include "images-format/stream_sink.h"
#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit {

namespace {

std::unique_ptr<CheckpointWriter> make_stream_writer(const DumpOptions& options,
                                                     const DumpCallbacks& callbacks) {
  if (callbacks.complete) {
    throw error("a checkpoint that is written to a stream can't be taken back");
  }
  const Delivery delivery = delivery_of(options.stream);
  if (options.after == DumpOptions::After::Kill && delivery == Delivery::Unknown) {
    throw Error(
        fmt::format("{} is a device: nobody can tell what becomes of a checkpoint that is written to it",
                    options.file),
        0, "write it to a file or a pipe, or leave the tree running or stopped");
  }
  if (options.after == DumpOptions::After::Kill && delivery == Delivery::Sent) {
    log::warning(
        "the tree is ended when the other host's kernel has the checkpoint; whether somebody reads it "
        "there can't be known");
  }
  return CheckpointWriter::create_stream(options.stream, options.file, options.writer);
}

}  // namespace

unsigned usable_cpus() {
  cpu_set_t set;
  const bool known = ::sched_getaffinity(0, sizeof(set), &set) == 0;
  return known ? static_cast<unsigned>(CPU_COUNT(&set)) : 1;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

std::unique_ptr<CheckpointWriter> make_writer(const DumpOptions& options, const DumpCallbacks& callbacks) {
  if (options.stream >= 0) {
    return make_stream_writer(options, callbacks);
  }
  if (!options.file.empty()) {
    return CheckpointWriter::create_file(options.file, options.writer);
  }
  if (options.directory_fd >= 0) {
    return CheckpointWriter::create_in_directory(options.directory_fd, options.directory, options.writer);
  }
  return CheckpointWriter::create_directory(options.directory, options.writer);
}

void report_totals(const MemoryCopier::Totals& totals, DumpReport& report) {
  report.pages = totals.pages;
  report.zero_pages = totals.zero_pages;
  report.inherited_pages = totals.inherited_pages;
  report.in_parent_pages = totals.in_parent_pages;
  report.payload_bytes = totals.stored_bytes;
}

}  // namespace godwit
