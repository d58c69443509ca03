#include "restore/restore.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <optional>

#include "cli/cgroups.h"
#include "cli/command_line.h"
#include "cli/container.h"
#include "cli/managed_container.h"
#include "cli/network_lock.h"
#include "cli/progress.h"
#include "images-format/checkpoint_reader.h"
#include "images-format/spooled_checkpoint.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "program/output.h"
#include "program/pidfile.h"
#include "program/root_task.h"
#include "runtimes/managed.h"
#include "runtimes/runc_restore.h"

namespace godwit::cli {

namespace {

constexpr CommandText kText{
    "restore",
    "(-D DIR | -i FILE) [--detach] [--pidfile FILE] [--root DIR]\n"
    "                      [--external NAME=PATH]... [--plan] [-v]\n"
    "       godwit restore --runc NAME -D DIR [--detach] [--bundle DIR] [--console-socket PATH]\n"
    "                      [--pidfile FILE] [--runtime-root DIR]\n"
    "       godwit restore (--podman NAME | --docker NAME) -D DIR [--runtime-option OPTION]...\n"
    "                      [--runtime-root DIR]",
    "Brings the tree in a checkpoint back, with its pids, memory and open files, and lets it run on where "
    "it\n"
    "was frozen. The checkpoint stays and can be restored again once these pids are free. If anything fails\n"
    "before the tree runs, nothing of it is left.\n\n"
    "With -i - the checkpoint comes from standard input. It is copied to a file in $TMPDIR (else /var/tmp)\n"
    "and checked; only then is its last page read, upon which godwit dump -o - at the other end of the pipe\n"
    "ends the dumped tree. The copy goes when the tree runs. If the restore fails after that, the copy "
    "stays,\n"
    "and godwit says where.\n\n"
    "Without --detach godwit stays: it waits for the root of the tree, passes SIGINT, SIGQUIT, SIGTERM and\n"
    "SIGHUP on to it (to its whole process group what a terminal sends, and a hangup), and exits with its\n"
    "exit code, or with 128 and the number of the signal that ended it. A shell job that is stopped in the\n"
    "terminal stops godwit, too, so that the shell's fg and bg go for both.\n\n"
    "With --runc it is runc that restores the container NAME, by godwit, and that has it again as if it had\n"
    "started it. What runc still knows of a container NAME that has ended is deleted before.\n\n"
    "With --podman and --docker it is Podman or Docker; the container that was dumped must still be known "
    "to\n"
    "it, and have ended. godwit returns when the container runs.\n",
    "  godwit restore -D /var/tmp/redis                               run it here\n"
    "  godwit restore -D /var/tmp/redis --detach --pidfile /run/r.pid run it in the background\n"
    "  godwit restore -i /var/tmp/redis.checkpoint                    from one file\n"
    "  zstdcat redis.checkpoint.zst | godwit restore -i -             from a stream\n"
    "  godwit restore -D /var/tmp/redis --plan                        only say what would be done\n"
    "  godwit restore --runc web -D /var/tmp/web --detach             a container of runc's\n"
    "  godwit restore --podman web -D /var/tmp/web                    one of Podman's\n"
    "  godwit restore --docker web -D /var/tmp/web                    one of Docker's"};

struct Flags {
  ContainerFlags container;
  std::string bundle;
  std::string console_socket;
  std::string directory;
  std::string file;
  std::string pidfile;
  std::string root;
  std::string network_lock = "nftables";
  bool tcp_established = false;
  std::vector<std::string> external;
  std::string cgroups = "ignore";
  std::vector<std::string> cgroup_roots;
  bool detach = false;
  bool plan = false;
};

void add_options(CommandLine& line, Flags& flags) {
  line.option("-D", "DIR", flags.directory, "The checkpoint");
  line.option_instead_of("-D", "-i", "FILE", flags.file, "One file or a pipe instead; -: standard input");
  line.flag("--detach", flags.detach, "Return as soon as the tree runs");
  line.option("--pidfile", "FILE", flags.pidfile, "Write the root's pid there before the tree runs");
  line.option(
      "--external", "NAME=PATH", flags.external,
      "Hand over what the dump was told to be external: a namespace such as /run/netns/blue, what is to "
      "be mounted, a FIFO, or godwit's own descriptor such as /proc/self/fd/3. veth[DEVICE]=OUT@BRIDGE: the "
      "other end of a veth pair of the tree's, made here under the name OUT, a port of BRIDGE if that is "
      "given");
  line.flag("--tcp-established", flags.tcp_established,
            "TCP connections go on; without, a checkpoint that has some is refused");
  add_network_lock(line, flags.network_lock);
  line.option("--root", "DIR", flags.root,
              "The root of the tree's mounts, if it has mounts of its own; by default where it was");
  line.flag_with_word(
      "--manage-cgroups", "soft", flags.cgroups,
      "Put tasks and threads back into their cgroups: none: which must exist; props: likewise, and their "
      "properties are set; soft: those that don't exist are made, and get their properties; full: likewise, "
      "and all get them; strict: all are made, none may exist; ignore (the default): all start where godwit "
      "is, or in --cgroup-root");
  line.option("--cgroup-root", "[CONTROLLER:]PATH", flags.cgroup_roots,
              "Where the tree's topmost cgroup is to be, in one hierarchy or in all");
  add_container_options(line, flags.container, "Have runc restore it, as its container of this name");
  line.option("--bundle", "DIR", flags.bundle,
              "With --runc: the container's bundle; by default where runc had it, if it still knows");
  line.option("--console-socket", "PATH", flags.console_socket,
              "With --runc: the socket to which the master of the container's terminal is sent");
  line.flag("--plan", flags.plan, "Print what would be made, by whom, in which order; restore nothing");
}

/// What was given as NAME=PATH.
std::map<std::string, std::string> external(const std::vector<std::string>& given) {
  std::map<std::string, std::string> paths;
  for (const std::string& one : given) {
    const size_t at = one.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == one.size()) {
      throw UsageError(fmt::format("--external takes NAME=PATH, not '{}'", one));
    }
    paths[one.substr(0, at)] = one.substr(at + 1);
  }
  return paths;
}

void check(const Flags& flags) {
  if (flags.directory.empty() && flags.file.empty()) {
    throw UsageError("where from? -D takes the name of a directory, -i that of a file");
  }
  if (flags.file == "-" && ::isatty(STDIN_FILENO) != 0) {
    throw UsageError("standard input is a terminal, which has no checkpoint");
  }
  flags.container.check();
  if (flags.container.given() && flags.directory.empty()) {
    throw UsageError("runtimes take the checkpoint of a container from a directory: -D says which");
  }
  if (flags.container.given() && !(flags.external.empty() && flags.root.empty())) {
    throw UsageError(fmt::format("what --external and --root say is the runtime's affair with {}",
                                 flags.container.option()));
  }
  if (flags.container.given() && !(flags.cgroup_roots.empty() && flags.cgroups == "ignore")) {
    throw UsageError(fmt::format("cgroups are the runtime's affair with {}", flags.container.option()));
  }
  if (flags.container.managed() && !flags.pidfile.empty()) {
    throw UsageError(
        fmt::format("--pidfile doesn't go with {}: the manager knows the pid", flags.container.option()));
  }
  check_managed_connections(flags.container, flags.tcp_established);
  if (flags.container.runc.empty() && !(flags.bundle.empty() && flags.console_socket.empty())) {
    throw UsageError("--bundle and --console-socket go with --runc");
  }
}

int restore_container(const Flags& flags) {
  if (flags.container.managed()) {
    runtimes::restore_managed_container(flags.container.client(), {.name = flags.container.name(),
                                                                   .directory = flags.directory,
                                                                   .tcp_established = flags.tcp_established});
    return kDone;
  }
  return runtimes::restore_runc_container({.root = flags.container.root(),
                                           .name = flags.container.runc,
                                           .images = flags.directory,
                                           .bundle = flags.bundle,
                                           .console_socket = flags.console_socket,
                                           .pidfile = flags.pidfile,
                                           .detach = flags.detach});
}

/// Where the checkpoint comes from.
class Source {
 public:
  explicit Source(const Flags& flags) {
    if (flags.file.empty()) {
      image_.emplace(CheckpointImage::open_directory(flags.directory));
      return;
    }
    const bool from_input = flags.file == "-";
    const std::string name = from_input ? "standard input" : flags.file;
    Fd file = from_input ? Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)) : open_file(flags.file, O_RDONLY);
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) {
      throw errno_error("cannot use {}", name);
    }
    if (S_ISDIR(status.st_mode)) {
      throw Error(fmt::format("{} is a directory", name), 0, "a checkpoint in a directory is named by -D");
    }
    if (S_ISREG(status.st_mode) && ::lseek(file.get(), 0, SEEK_CUR) == 0) {
      image_.emplace(CheckpointImage::open_file(std::move(file), name));
    } else {
      stream_ = std::move(file);
      spooled_.emplace(stream_.get(), name);
    }
  }

  [[nodiscard]] const CheckpointImage& image() const { return spooled_ ? spooled_->image() : *image_; }

  /// It will be restored.
  void accept() {
    if (spooled_) {
      spooled_->accept();
    }
  }
  void restored() {
    if (spooled_) {
      spooled_->remove();
    }
  }
  /// The restore has failed.
  void tell_what_is_kept() const {
    if (const std::string path = spooled_ ? spooled_->kept() : ""; !path.empty()) {
      log::warning("the checkpoint that came from the stream is kept as {}", path);
    }
  }

 private:
  std::optional<CheckpointImage> image_;
  Fd stream_;
  std::optional<SpooledCheckpoint> spooled_;
};

pid_t restore_tree(Source& source, const Flags& flags) {
  ProgressLine progress("restore");
  Pidfile pidfile(flags.pidfile);
  RestoreCallbacks callbacks;
  callbacks.progress = [&](const RestoreProgress& p) {
    progress.update(p.stage, p.bytes, p.total_bytes, p.tasks);
  };
  callbacks.planned = [&] { source.accept(); };
  callbacks.barrier = [&](pid_t root) {
    if (!flags.pidfile.empty()) {
      pidfile.write(root);
    }
  };
  RestoreOptions options;
  options.external = external(flags.external);
  options.root = flags.root;
  options.cgroup_mode = manage_cgroups(flags.cgroups);
  options.cgroups = cgroup_roots(flags.cgroup_roots);
  options.tcp_established = flags.tcp_established;
  options.network_lock = read_network_lock(flags.network_lock);
  const pid_t root = restore(source.image(), options, callbacks);
  pidfile.keep();
  return root;
}

}  // namespace

int run_restore(Arguments arguments) {
  Flags flags;
  CommandLine line(kText);
  add_options(line, flags);
  if (!line.parse(arguments)) {
    return kDone;
  }
  check(flags);
  note_termination_signals();
  pid_t root = 0;
  {
    Source source(flags);
    if (flags.plan) {
      print_out(describe_plan(source.image()));
      return kDone;
    }
    // Where SIGCHLD is ignored, children vanish without having been waited for.
    ::signal(SIGCHLD, SIG_DFL);
    if (flags.container.given()) {  // whose image is well-formed, or it wouldn't be here
      return restore_container(flags);
    }
    try {
      root = restore_tree(source, flags);
    } catch (...) {
      source.tell_what_is_kept();
      throw;
    }
    source.restored();
  }
  return flags.detach ? kDone : wait_and_forward_signals(root);
}

}  // namespace godwit::cli
