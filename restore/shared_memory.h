#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "kernel/fd.h"

namespace godwit {

/// The shared memory of the checkpoint, made empty in this process: descriptors that tasks inherit.
class SharedMemoryRegions {
 public:
  /// Descriptors get numbers from `first_descriptor` up. Throws Error.
  SharedMemoryRegions(const CheckpointImage& image, int first_descriptor);

  /// Descriptor by SharedMemory id.
  [[nodiscard]] const std::map<uint32_t, int>& descriptors() const { return numbers_; }
  [[nodiscard]] int next_descriptor() const { return next_; }
  /// Once the content is there: exact sizes, and seals, which forbid writing.
  void finish(const CheckpointImage& image) const;

 private:
  std::map<uint32_t, int> numbers_;
  std::vector<Fd> owned_;
  int next_;
};

}  // namespace godwit
