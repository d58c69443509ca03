#pragma once

#include <string>

#include "images-format/checkpoint_reader.h"
#include "images-format/mount.pb.h"
#include "kernel/fd.h"

namespace godwit {

/// What is the root of mounts though it has lost its name. It can only be mounted while it has one, so it is
/// made under another name until it has been mounted wherever it must be.
class RemovedRoot {
 public:
  /// Makes it in a directory: of its superblock's root, if that was made by us. Throws Error.
  RemovedRoot(int directory, const image::Superblock& superblock, uint32_t number,
              const CheckpointImage& image);
  ~RemovedRoot();
  RemovedRoot(const RemovedRoot&) = delete;
  RemovedRoot& operator=(const RemovedRoot&) = delete;

  /// In the directory.
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Takes the name away. In a superblock that we made it has its former name at last, as mountinfo shows.
  /// Throws Error.
  void remove();

 private:
  void remove_as(const std::string& path);
  void remove_by_former_name();

  Fd directory_;
  std::string name_;    // empty: it has none any more
  std::string former_;  // from the directory; empty: that is no matter
  bool is_directory_ = false;
};

}  // namespace godwit
