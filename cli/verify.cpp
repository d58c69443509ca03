#include "cli/command_line.h"
#include "images-format/checkpoint_reader.h"
#include "kernel/error.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

constexpr CommandText kText{
    "verify", "DIR [-v]",
    "Reads the whole of the checkpoint DIR: that it is complete, every checksum of its records and of its\n"
    "memory, and every reference from one record to another. Says the first thing that is wrong.\n",
    "  godwit verify /var/tmp/redis && rsync -a /var/tmp/redis elsewhere:/var/tmp/"};

}  // namespace

int run_verify(Arguments arguments) {
  std::string directory;
  CommandLine line(kText);
  line.required_argument("DIR", directory, "The checkpoint");
  if (!line.parse(arguments)) {
    return kDone;
  }
  const CheckpointImage image = CheckpointImage::open_directory(directory);
  verify_pages(image);
  print_out(
      fmt::format("{}: complete, {} records, all checksums right\n", directory, image.records().size()));
  return kDone;
}

}  // namespace godwit::cli
