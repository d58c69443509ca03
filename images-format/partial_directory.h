#pragma once

#include <string>

#include "kernel/fd.h"

namespace godwit {

/// A checkpoint's directory while it is being written, beside its final name: `NAME.partial-XXXXXX`,
/// locked by flock(2). It is removed by the destructor unless it was published. What a writer that was
/// killed left there holds no lock and is removed by the next writer of the same name.
class PartialDirectory {
 public:
  /// Throws Error if `path` exists and isn't an empty directory, or nothing can be made beside it.
  explicit PartialDirectory(const std::string& path);
  ~PartialDirectory();
  PartialDirectory(const PartialDirectory&) = delete;
  PartialDirectory& operator=(const PartialDirectory&) = delete;

  /// A new file in it, for its owner alone. Throws Error.
  [[nodiscard]] Fd create_file(const std::string& name);
  /// Path for errors.
  [[nodiscard]] std::string path() const { return parent_path_ + "/" + partial_name_; }
  /// Gives it its final name. `sync`: it and its parent are on disk when this returns. Throws Error; then
  /// nothing bears the final name.
  void publish(bool sync);

 private:
  void make();
  void sync_directory(int fd, const std::string& name) const;

  std::string parent_path_;
  std::string final_name_;
  std::string partial_name_;
  Fd parent_;
  Fd directory_;  // holds the lock
  bool published_ = false;
};

/// The files of a checkpoint.
inline constexpr const char* kMetadataFile = "checkpoint";
/// "pages", "pages-2", "pages-3"; `index` from 0.
[[nodiscard]] std::string payload_file(size_t index);

}  // namespace godwit
