#pragma once

#include <string>
#include <vector>

#include "images-format/checkpoint_directory.h"

namespace godwit {

/// A directory that somebody else has made, and which may hold files of theirs. The checkpoint's files are
/// made in it as `NAME.partial`, under a lock (flock(2)) of the directory; what a writer that was killed left
/// there is removed.
class GivenDirectory final : public CheckpointDirectory {
 public:
  /// `directory`: O_PATH suffices. Throws Error if another writer is at work there.
  GivenDirectory(int directory, std::string path);
  ~GivenDirectory() override;

  [[nodiscard]] Fd create_file(const std::string& name) override;
  [[nodiscard]] std::string path() const override { return path_; }
  /// An older checkpoint goes first: were its pages replaced one after the other, a reader could take new
  /// ones for its own. The file with the closing frame gets its name last.
  void publish(bool sync) override;
  void retract() noexcept override;

 private:
  void rename_file(const std::string& name);
  void remove_partial() noexcept;
  void remove_checkpoint() noexcept;

  std::string path_;
  Fd directory_;                    // holds the lock
  std::vector<std::string> files_;  // that have no name of their own yet
};

}  // namespace godwit
