#include "cli/command_line.h"
#include "images-format/checkpoint_reader.h"
#include "kernel/error.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

constexpr CommandText kText{
    "verify", "CHECKPOINT [-v]",
    "Reads the whole of a checkpoint, a directory or a file: that it is complete, every checksum of its\n"
    "records and of its memory, and every reference from one record to another. Says the first thing that\n"
    "is wrong.\n",
    "  godwit verify /var/tmp/redis && rsync -a /var/tmp/redis elsewhere:/var/tmp/"};

}  // namespace

int run_verify(Arguments arguments) {
  std::string path;
  CommandLine line(kText);
  line.required_argument("CHECKPOINT", path, "A directory or file that a dump has made");
  if (!line.parse(arguments)) {
    return kDone;
  }
  const CheckpointImage image = CheckpointImage::open(path);
  verify_pages(image);
  print_out(fmt::format("{}: complete, {} records, all checksums right\n", path, image.records().size()));
  return kDone;
}

}  // namespace godwit::cli
