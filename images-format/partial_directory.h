#pragma once

#include <string>
#include <vector>

#include "images-format/checkpoint_directory.h"
#include "kernel/fd.h"

namespace godwit {

/// A checkpoint's directory while it is being written, beside its final name: `NAME.partial-XXXXXX`,
/// locked by flock(2). It is removed by the destructor unless it was published. What a writer that was
/// killed left there holds no lock and is removed by the next writer of the same name.
class PartialDirectory final : public CheckpointDirectory {
 public:
  /// Throws Error if `path` exists and isn't an empty directory, or nothing can be made beside it.
  explicit PartialDirectory(const std::string& path);
  ~PartialDirectory() override;

  [[nodiscard]] Fd create_file(const std::string& name) override;
  [[nodiscard]] std::string path() const override { return parent_path_ + "/" + partial_name_; }
  /// For files that come into it in another way, such as linkat(2).
  [[nodiscard]] int get() const { return directory_.get(); }
  /// Gives it its final name. `sync`: it and its parent are on disk when this returns. Throws Error; then
  /// nothing bears the final name.
  void publish(bool sync) override;
  void retract() noexcept override;

 private:
  void make();

  std::string parent_path_;
  std::string final_name_;
  std::string partial_name_;
  Fd parent_;
  Fd directory_;  // holds the lock
  bool published_ = false;
};

/// The files of a checkpoint.
inline constexpr const char* kMetadataFile = "checkpoint";
/// fsync(2) of a directory. Throws Error with its name.
void sync_directory(int fd, const std::string& name);
/// Names in a directory, without "." and "..". `path` stands in errors.
[[nodiscard]] std::vector<std::string> list_directory(int directory, const std::string& path);
/// "pages", "pages-2", "pages-3"; `index` from 0.
[[nodiscard]] std::string payload_file(size_t index);

}  // namespace godwit
