#pragma once

#include <cstdint>
#include <map>

#include "images-format/checkpoint_reader.h"
#include "images-format/file.pb.h"
#include "kernel/fd.h"
#include "parasite/script_builder.h"
#include "restore/tree_root.h"

namespace godwit {

/// Emits the opening of what descriptor `number` of the process that runs the script is of. `flags`: O_*.
/// `own_descriptors`: see FileOpener::open.
[[nodiscard]] Slot open_again(ScriptBuilder& script, int number, int flags, int own_descriptors = -1);

/// How the files of a checkpoint are opened again.
class FileOpener {
 public:
  /// Checks that every file is there and, where the image asks for it, unchanged; makes ghosts (unnamed
  /// files with their content, O_TMPFILE) as descriptors of this process, close-on-exec off, numbered from
  /// `first_descriptor` up: tasks inherit them and open them again through /proc/self/fd.
  /// Throws Error.
  FileOpener(const CheckpointImage& image, int first_descriptor);
  FileOpener(const FileOpener&) = delete;
  FileOpener& operator=(const FileOpener&) = delete;
  ~FileOpener();

  /// Emits the opening of a file by the process that runs the script. `flags`: O_*. A regular file is opened
  /// with O_NONBLOCK besides.
  /// `own_descriptors`: /proc/self/fd as a descriptor, where that process may have no such path.
  [[nodiscard]] Slot open(ScriptBuilder& script, uint32_t file_id, int flags, int own_descriptors = -1) const;
  /// O_PATH, in this process, which may be outside the tree's mounts. Throws Error.
  [[nodiscard]] Fd open_here(uint32_t file_id, const TreeRoot& root) const;
  [[nodiscard]] const image::File& file(uint32_t file_id) const;
  /// One above the highest descriptor number used.
  [[nodiscard]] int next_descriptor() const { return next_descriptor_; }

 private:
  void make_ghost(const CheckpointImage& image, const image::File& file);
  void close_ghosts();

  std::map<uint32_t, const image::File*> files_;
  std::map<uint32_t, int> ghosts_;  // owned descriptors
  int next_descriptor_;
};

}  // namespace godwit
