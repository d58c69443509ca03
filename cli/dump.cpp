#include "dump/dump.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "cli/cgroups.h"
#include "cli/command_line.h"
#include "cli/container.h"
#include "cli/managed_container.h"
#include "cli/network_lock.h"
#include "cli/progress.h"
#include "dump/pre_dump.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "kernel/procfs.h"
#include "program/output.h"
#include "runtimes/runc.h"

namespace godwit::cli {

namespace {

constexpr CommandText kText{
    "dump",
    "(-t PID | --runc NAME) (-D DIR | -o FILE) [--leave-running | --leave-stopped] [--shell-job]\n"
    "                   [--external KIND[WHAT]:NAME]... [--compress zstd|none] [--no-sync] [-v] [--json]\n"
    "                   [--parent CHECKPOINT] [--track]\n"
    "       godwit dump --pre-dump -t PID -D DIR [--parent CHECKPOINT] [--compress zstd|none] [--no-sync]\n"
    "       godwit dump (--podman NAME | --docker NAME) -D DIR [--leave-running] [--runtime-option "
    "OPTION]...\n"
    "                   [--runtime-root DIR] [--no-sync] [--json]",
    "Freezes the task PID with all its threads, its children and theirs, and writes their whole state to\n"
    "a checkpoint: the directory DIR, or the file FILE. When that is complete the tree is ended. If\n"
    "anything fails, the tree runs on as it was and there is no checkpoint.\n\n"
    "With -o - the checkpoint goes to standard output, and what was dumped is reported on standard error.\n"
    "The tree stands still until the reader has read it to the last byte; then it is ended. If the reader\n"
    "goes earlier, the tree runs on. godwit restore -i - reads the last byte when it has checked all in\n"
    "front of it and keeps a copy. Of other readers, such as ssh, nobody can know what they have made of it\n"
    "by then: say --leave-stopped, and end the tree when the checkpoint is known to be safe.\n\n"
    "With --pre-dump only memory is saved, while the tree runs, and it runs on; the kernel notes what is\n"
    "written from then on. A later dump, or pre-dump, that names this one by --parent saves that alone, so\n"
    "that the tree stands still for a short time only. It needs its parent to be restored, where it is now\n"
    "as seen from DIR.\n\n"
    "A container of runc's is dumped by its name, as 'runc checkpoint' would do it: what was found of it is\n"
    "printed, and DIR is for 'godwit restore --runc'. To runc it has then ended.\n\n"
    "Podman and Docker dump theirs themselves, by the criu beside godwit, so that they know of it; godwit\n"
    "puts the checkpoint at DIR. (Docker's daemon finds that criu if it was started with its directory "
    "first\n"
    "in PATH.) If anything fails, the container runs on.\n",
    "  godwit dump -t 4711 -D /var/tmp/redis                     save the tree of task 4711 and end it\n"
    "  godwit dump -t 4711 -D /var/tmp/redis --leave-running     save it; it runs on\n"
    "  godwit dump -t 4711 -o /var/tmp/redis.checkpoint          save it as one file\n"
    "  godwit dump -t 4711 -o - | godwit restore -i - --detach   bring it back at once\n"
    "  godwit dump -t 4711 -o - --leave-stopped | ssh there 'cat > redis.checkpoint'\n"
    "  godwit dump -t $(pidof top) -D /var/tmp/top --shell-job   something started from an interactive "
    "shell\n"
    "  godwit dump --runc web -D /var/tmp/web                    a container of runc's\n"
    "  godwit dump --pre-dump -t 4711 -D /var/tmp/redis.1        save most of its memory in advance, and\n"
    "  godwit dump -t 4711 -D /var/tmp/redis --parent /var/tmp/redis.1    the rest when it stands still\n"
    "  godwit dump --podman web -D /var/tmp/web                  one of Podman's\n"
    "  godwit dump --podman web -D /var/tmp/web --runtime-option=--runtime=runc\n"
    "  godwit dump --docker web -D /var/tmp/web --leave-running  one of Docker's; it runs on"};

constexpr const char* kCgroupsHelp =
    "Save the cgroups of the tree, and which thread is in which: none (without their properties), "
    "props, soft, full, strict (with them); ignore (the default): only what to warn about";

struct Flags {
  std::optional<int> pid;
  ContainerFlags container;
  bool leave_running = false;
  bool leave_stopped = false;
  bool pre_dump = false;
  std::string parent;
  bool no_sync = false;
  bool json = false;
  std::string compress = "none";
  std::string cgroups = "ignore";
  std::string network_lock = "nftables";
  std::vector<std::string> external;
};

void add_options(CommandLine& line, DumpOptions& options, Flags& flags) {
  line.option("-t", "PID", flags.pid, "The root of the tree");
  add_container_options(line, flags.container, "Instead of -t: a container that runc started");
  line.option("-D", "DIR", options.directory, "Where the checkpoint will be; must not exist, or be empty");
  line.option_instead_of("-D", "-o", "FILE", options.file,
                         "One file instead, which must not exist; -: standard output");
  line.flag("--leave-running", flags.leave_running, "Let the tree run on afterwards");
  line.flag_instead_of("--leave-running", "--leave-stopped", flags.leave_stopped,
                       "Leave the tree stopped, as by SIGSTOP");
  line.flag("--shell-job", options.shell_job,
            "A shell started the tree: session and terminal will be those of whoever restores it");
  line.flag("--tcp-established", options.tcp_established,
            "Keep TCP connections; without, a tree that has some is refused");
  add_network_lock(line, flags.network_lock);
  line.option(
      "--external", "KIND[WHAT]:NAME", flags.external,
      "Not saved: whoever restores hands it over by that name. net[INODE], ipc[...], uts[...], "
      "cgroup[...]: a namespace; mnt[MOUNTPOINT]: a mount of the tree's; pipe[INODE]: a pipe whose other "
      "end is outside; veth[DEVICE]: a veth pair whose other end is");
  line.option("--skip-mnt", "MOUNTPOINT", options.mounts.skip,
              "Leave out this mount of the tree's mount namespace, and all below it");
  line.option("--enable-fs", "TYPE", options.mounts.enable,
              "Mount file systems of this type anew, without their content");
  line.flag_with_word("--manage-cgroups", "soft", flags.cgroups, kCgroupsHelp);
  line.flag("--pre-dump", flags.pre_dump,
            "Save memory only; the tree runs on, and what it writes is tracked");
  line.option(
      "--parent", "CHECKPOINT", flags.parent,
      "A directory that an earlier dump or pre-dump of the tree has made: save what was written since");
  line.flag("--track", options.track,
            "Track what is written from now on, so that a later dump can have this one as its parent");
  line.option("--compress", "CODEC", flags.compress, "Compress memory: zstd or none (the default)");
  line.flag("--no-sync", flags.no_sync,
            "Don't wait for the disk: a power failure soon after may lose the checkpoint");
  line.flag("--json", flags.json, "Print what was dumped, and how long it took, as JSON");
}

ExternalResource read_external(const std::string& text) {
  try {
    ExternalResource external = parse_external(text);
    if (!external.what.empty() && !external.name.empty() &&
        (external.kind == "mnt" || external.kind == "veth" || is_external_by_inode(external.kind))) {
      return external;
    }
  } catch (const Error&) {
    // Said below.
  }
  throw UsageError(
      fmt::format("--external takes KIND[INODE]:NAME with the kind net, ipc, uts, cgroup or pipe, "
                  "mnt[MOUNTPOINT]:NAME, or veth[DEVICE]:NAME, not '{}'",
                  text));
}

/// Sorts what is external: mounts by mount point, the rest by inode number.
void sort_external(const std::vector<std::string>& given, DumpOptions& options) {
  for (const std::string& one : given) {
    ExternalResource external = read_external(one);
    if (external.kind == "mnt") {
      options.mounts.external[external.what] = external.name;
    } else {
      options.external.push_back(std::move(external));
    }
  }
}

/// What is to be dumped: a tree, or a container, which is looked for later.
void apply_root(const Flags& flags, DumpOptions& options) {
  if (flags.pid && flags.container.given()) {
    throw UsageError("-t and the name of a container exclude each other");
  }
  if (!flags.pid && !flags.container.given()) {
    throw UsageError("-t is required, or --runc, --podman or --docker");
  }
  options.pid = flags.pid.value_or(0);
  if (flags.pid && options.pid <= 0) {
    throw UsageError(fmt::format("-t takes the pid of a task, not {}", options.pid));
  }
  flags.container.check();
  if (flags.container.given() && options.directory.empty()) {
    throw UsageError("runtimes take the checkpoint of a container from a directory: -D says which");
  }
}

/// As it will be found from the new checkpoint's directory.
std::string path_from(const std::string& directory, const std::string& parent) {
  const std::filesystem::path here = std::filesystem::absolute(directory).lexically_normal();
  const bool ends_in_slash = !here.has_filename();
  std::error_code failed;
  const std::filesystem::path target = std::filesystem::canonical(parent, failed);
  if (failed) {
    throw Error(fmt::format("the parent checkpoint {}", parent), failed.value());
  }
  const std::filesystem::path above =
      std::filesystem::weakly_canonical((ends_in_slash ? here.parent_path() : here).parent_path());
  return (".." / target.lexically_relative(above)).string();
}

void apply_rounds(const Flags& flags, DumpOptions& options) {
  const bool into_directory = !options.directory.empty();
  if ((flags.pre_dump || options.track || !flags.parent.empty()) && !into_directory) {
    throw UsageError("checkpoints that build on each other are directories: -D says which");
  }
  if (flags.pre_dump && (flags.container.given() || flags.leave_running || flags.leave_stopped ||
                         options.track || !flags.external.empty())) {
    throw UsageError("a pre-dump has memory alone, and always leaves the tree running and tracked");
  }
  if (options.track && !flags.leave_running && !flags.leave_stopped) {
    throw UsageError("--track is of no use to a tree that is ended: --leave-running goes with it");
  }
  if (!flags.parent.empty()) {
    options.parent = path_from(options.directory, flags.parent);
  }
}

void apply(const Flags& flags, DumpOptions& options) {
  apply_root(flags, options);
  if (options.directory.empty() && options.file.empty()) {
    throw UsageError("where to? -D takes the name of a directory, -o that of a file");
  }
  if (options.file == "-") {
    if (::isatty(STDOUT_FILENO) != 0) {
      throw UsageError("standard output is a terminal, and a checkpoint isn't for people's eyes");
    }
    options.stream = STDOUT_FILENO;
    options.file = "standard output";
  }
  apply_rounds(flags, options);
  sort_external(flags.external, options);
  options.cgroups = manage_cgroups(flags.cgroups);
  options.network_lock = read_network_lock(flags.network_lock);
  if (flags.compress != "none" && flags.compress != "zstd") {
    throw UsageError(fmt::format("--compress takes zstd or none, not '{}'", flags.compress));
  }
  if (flags.leave_running) {
    options.after = DumpOptions::After::LeaveRunning;
  } else if (flags.leave_stopped) {
    options.after = DumpOptions::After::LeaveStopped;
  }
  options.writer.codec = flags.compress == "zstd" ? image::PageBlock::ZSTD : image::PageBlock::NONE;
  options.writer.sync = !flags.no_sync;
  if (flags.container.managed()) {
    check_managed_dump(flags.container, options);
  }
}

/// What is dumped is the container that was found, and what runtimes look for stands in the checkpoint.
void add_container(const runtimes::Container& container, const DumpOptions& options,
                   DumpCallbacks& callbacks) {
  callbacks.frozen = [&container] {
    if (procfs::read_stat(container.pid).start_time != container.start_time) {
      throw error("container {} has ended, and {} is another task's pid now", container.name, container.pid);
    }
  };
  callbacks.complete = [&container, &options] {
    write_runc_descriptors(container, open_file(options.directory, O_RDONLY | O_DIRECTORY).get(),
                           options.directory, options.writer.sync);
  };
}

/// Tells what was found of the container before anything is done with it.
std::optional<runtimes::Container> find_container(const Flags& flags, DumpOptions& options) {
  if (!flags.container.given()) {
    return std::nullopt;
  }
  runtimes::Container container = runtimes::find_runc_container(flags.container.root(), flags.container.runc);
  set_options(container, options);
  if (!flags.json) {
    print_out(container_text(container));
  }
  return container;
}

std::string to_json(const DumpReport& report, const std::optional<runtimes::Container>& container) {
  return fmt::format(
      "{{{}\"tasks\": {}, \"threads\": {}, \"pages\": {}, \"zero_pages\": {}, \"inherited_pages\": {}, "
      "\"in_parent_pages\": {}, "
      "\"payload_bytes\": {}, \"freezing_ns\": {}, \"frozen_ns\": {}, \"memory_ns\": {}}}\n",
      container ? "\"container\": " + container_json(*container) + ", " : "", report.tasks, report.threads,
      report.pages, report.zero_pages, report.inherited_pages, report.in_parent_pages, report.payload_bytes,
      report.freezing_ns, report.frozen_ns, report.memory_ns);
}

std::string to_text(const DumpReport& report, const DumpOptions& options) {
  const std::string& name = options.file.empty() ? options.directory : options.file;
  return fmt::format("{}: {}, {}, {}; frozen for {}\n", name, format_count(report.tasks, "task"),
                     format_count(report.threads, "thread"), format_bytes(report.payload_bytes),
                     format_duration(report.frozen_ns));
}

void tell(const std::string& text, const DumpOptions& options) {
  if (options.stream >= 0) {
    print_err(text);
    return;
  }
  try {
    print_out(text);
  } catch (const Error& e) {
    // The checkpoint is complete and the tree may have ended: that is no failure any more.
    log::warning("the dump is done, but {}", e.what());
  }
}

}  // namespace

int run_dump(Arguments arguments) {
  DumpOptions options;
  Flags flags;
  CommandLine line(kText);
  add_options(line, options, flags);
  if (!line.parse(arguments)) {
    return kDone;
  }
  apply(flags, options);

  note_termination_signals();
  if (flags.container.managed()) {
    dump_managed(flags.container, options, flags.json);
    return kDone;
  }
  const std::optional<runtimes::Container> container = find_container(flags, options);
  DumpReport report;
  {
    ProgressLine progress("dump");
    DumpCallbacks callbacks;
    callbacks.progress = [&](const Progress& p) {
      progress.update(p.stage, p.bytes, p.total_bytes, p.tasks);
    };
    if (container) {
      add_container(*container, options, callbacks);
    }
    report = flags.pre_dump ? pre_dump(options, callbacks) : dump(options, callbacks);
  }
  tell(flags.json ? to_json(report, container) : to_text(report, options), options);
  return kDone;
}

}  // namespace godwit::cli
