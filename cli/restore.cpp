#include "restore/restore.h"

#include <csignal>
#include <map>

#include "cli/command_line.h"
#include "cli/progress.h"
#include "images-format/checkpoint_reader.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "program/output.h"
#include "program/pidfile.h"
#include "program/root_task.h"

namespace godwit::cli {

namespace {

constexpr CommandText kText{
    "restore",
    "-D DIR [--detach] [--pidfile FILE] [--root DIR] [--external NAME=PATH]...\n"
    "                      [--plan] [-v]",
    "Brings the tree in the checkpoint DIR back, with its pids, memory and open files, and lets it run on\n"
    "where it was frozen. The checkpoint stays and can be restored again once these pids are free. If\n"
    "anything fails before the tree runs, nothing of it is left.\n\n"
    "Without --detach godwit stays: it waits for the root of the tree, passes SIGINT, SIGQUIT, SIGTERM and\n"
    "SIGHUP on to it (to its whole process group what a terminal sends, and a hangup), and exits with its\n"
    "exit code, or with 128 and the number of the signal that ended it. A shell job that is stopped in the\n"
    "terminal stops godwit, too, so that the shell's fg and bg go for both.\n",
    "  godwit restore -D /var/tmp/redis                               run it here\n"
    "  godwit restore -D /var/tmp/redis --detach --pidfile /run/r.pid run it in the background\n"
    "  godwit restore -D /var/tmp/redis --plan                        only say what would be done"};

struct Flags {
  std::string directory;
  std::string pidfile;
  std::string root;
  std::vector<std::string> external;
  bool detach = false;
  bool plan = false;
};

void add_options(CommandLine& line, Flags& flags) {
  line.required_option("-D", "DIR", flags.directory, "The checkpoint");
  line.flag("--detach", flags.detach, "Return as soon as the tree runs");
  line.option("--pidfile", "FILE", flags.pidfile, "Write the root's pid there before the tree runs");
  line.option(
      "--external", "NAME=PATH", flags.external,
      "Hand over what the dump was told to be external: a namespace such as /run/netns/blue, what is to "
      "be mounted, a FIFO, or godwit's own descriptor such as /proc/self/fd/3");
  line.option("--root", "DIR", flags.root,
              "The root of the tree's mounts, if it has mounts of its own; by default where it was");
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

pid_t restore_tree(const CheckpointImage& image, const Flags& flags) {
  ProgressLine progress("restore");
  Pidfile pidfile(flags.pidfile);
  RestoreCallbacks callbacks;
  callbacks.progress = [&](const RestoreProgress& p) {
    progress.update(p.stage, p.bytes, p.total_bytes, p.tasks);
  };
  callbacks.barrier = [&](pid_t root) {
    if (!flags.pidfile.empty()) {
      pidfile.write(root);
    }
  };
  RestoreOptions options;
  options.external = external(flags.external);
  options.root = flags.root;
  const pid_t root = restore(image, options, callbacks);
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
  const CheckpointImage image = CheckpointImage::open_directory(flags.directory);
  if (flags.plan) {
    print_out(describe_plan(image));
    return kDone;
  }
  // Where SIGCHLD is ignored, children vanish without having been waited for.
  ::signal(SIGCHLD, SIG_DFL);
  note_termination_signals();
  const pid_t root = restore_tree(image, flags);
  return flags.detach ? kDone : wait_and_forward_signals(root);
}

}  // namespace godwit::cli
