#pragma once

#include <string>

#include "kernel/fd.h"

namespace godwit {

/// A checkpoint's only file while it is being written, beside its final name: `NAME.partial-XXXXXX`, locked
/// by flock(2), for its owner alone. As with PartialDirectory, the destructor removes it unless it was
/// published, and the next writer of the name removes what a killed one left.
class PartialFile {
 public:
  /// Throws Error if anything has the name `path`, or nothing can be made beside it.
  explicit PartialFile(const std::string& path);
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  ~PartialFile();

  [[nodiscard]] int fd() const { return file_.get(); }
  /// For errors.
  [[nodiscard]] std::string path() const { return parent_path_ + "/" + partial_name_; }
  /// Gives it its final name, unless something has it. `sync`: it is on disk when this returns. Throws Error;
  /// then it hasn't the final name.
  void publish(bool sync);
  /// Takes that back.
  void retract() noexcept;

 private:
  void make();

  std::string parent_path_;
  std::string final_name_;
  std::string partial_name_;
  Fd parent_;
  Fd file_;  // holds the lock
  bool published_ = false;
};

}  // namespace godwit
