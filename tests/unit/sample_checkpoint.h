#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "images-format/checkpoint_writer.h"
#include "images-format/record.h"

namespace godwit {

/// A directory in TMPDIR that goes with all that is in it.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Path of `name` in it.
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// `pages` pages of bytes that don't compress and differ from page to page and from `seed` to `seed`.
[[nodiscard]] std::vector<std::byte> noise(size_t pages, uint64_t seed);
/// The same that do compress.
[[nodiscard]] std::vector<std::byte> text(size_t pages, uint64_t seed);

/// Appends `message` as a record.
void append(std::vector<Record>& records, const google::protobuf::Message& message);

/// Records of a small checkpoint with one of each kind, or nearly: two tasks (the second shares pages with
/// the first, has two threads and a seccomp filter), a zombie, shared memory, a ghost file, and descriptors
/// of every kind. Blocks go to `sink`.
[[nodiscard]] std::vector<Record> sample_records(PageSink& sink);

/// Writes that checkpoint as the directory `path`.
void write_sample(const std::string& path, const WriterOptions& options = {.sync = false});

/// Keeps blocks in memory, laid out as in a payload file; reads them, too.
class MemoryPages final : public PageSink, public PageSource {
 public:
  image::PageBlock write_block(std::span<const std::byte> pages) override;
  void read_block(const image::PageBlock& block, std::span<std::byte> out) const override;
  [[nodiscard]] std::vector<std::byte>& bytes() { return bytes_; }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace godwit
