#include "cli/checkpoint_text.h"
#include "cli/command_line.h"
#include "images-format/checkpoint_reader.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

constexpr CommandText kText{
    "inspect", "CHECKPOINT [--json] [WHAT] [-v]",
    "Shows what is in a checkpoint, a directory or a file: its tasks as a tree, or a table of WHAT: tasks, "
    "files, mappings,\n"
    "descriptors, memory, pipes and so on. With --json all of it; -v adds long bytes, such as xsave areas.\n"
    "The content of memory isn't shown, only what is where. In JSON, what ends in _ns is a number of\n"
    "nanoseconds, and addresses, masks and hashes are strings such as \"0x7f00\".\n",
    "  godwit inspect /var/tmp/redis                    everything\n"
    "  godwit inspect /var/tmp/redis tasks              only the tasks\n"
    "  godwit inspect /var/tmp/redis --json | jq .tasks"};

}  // namespace

int run_inspect(Arguments arguments) {
  std::string path;
  std::string what;
  bool as_json = false;
  CommandLine line(kText);
  line.required_argument("CHECKPOINT", path, "A directory or file that a dump has made");
  line.argument("WHAT", what, "Only records of this kind");
  line.flag("--json", as_json, "Print JSON: an object with one array a kind");
  if (!line.parse(arguments)) {
    return kDone;
  }
  const CheckpointImage image = CheckpointImage::open(path);
  print_out(as_json ? checkpoint_json(image, what, line.verbose()) : checkpoint_text(image, what));
  return kDone;
}

}  // namespace godwit::cli
