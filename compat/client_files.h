#pragma once

#include <sys/types.h>

#include <cstdint>

#include "dump/dump.h"
#include "images-format/checkpoint_reader.h"

namespace godwit::compat {

/// Files that clients look for beside what godwit itself needs. Each is words of 32 bits, the last of which
/// is the size of the message that follows.

/// inventory.img in the images' directory: its presence says that there is a checkpoint. Unless it is kept,
/// what had the name before has it again.
class Inventory {
 public:
  /// `images` stays open as long; O_PATH suffices.
  explicit Inventory(int images) : images_(images) {}
  Inventory(const Inventory&) = delete;
  Inventory& operator=(const Inventory&) = delete;
  ~Inventory();

  /// It is on disk when this returns. Throws Error.
  void write();
  void keep() noexcept;

 private:
  int images_;
  bool named_ = false;
  bool older_aside_ = false;
};

/// stats-dump in the current directory. Throws Error.
void write_dump_stats(const DumpReport& report);

struct RestoreTimes {
  uint64_t began_ns = 0;  // CLOCK_MONOTONIC
  uint64_t created_ns = 0;
  uint64_t ended_ns = 0;
};
/// stats-restore in the current directory. Throws Error.
void write_restore_stats(const CheckpointImage& image, const RestoreTimes& times);

/// The same for people, on stdout.
void print_dump_stats(const DumpReport& report);
void print_restore_stats(const CheckpointImage& image, const RestoreTimes& times);

}  // namespace godwit::compat
