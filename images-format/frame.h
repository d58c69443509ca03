#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "images-format/byte_source.h"
#include "images-format/page_store.h"
#include "images-format/record.h"

namespace godwit {

/// Raised when an old reader would misread a new checkpoint.
inline constexpr uint32_t kFormatVersion = 1;
/// No frame is longer. A terabyte of memory has an index of about 100 MB.
inline constexpr uint32_t kMaxFrameBytes = 1U << 30;

/// Throws Error for a version that this reader doesn't know.
void check_format_version(uint32_t version);

/// Puts records into frames, behind the magic. All is kept in memory until `close`, so that frames cost
/// no system calls while a tree is frozen. See docs/image-format.md.
class FrameWriter {
 public:
  FrameWriter();
  /// Throws Error for a record that is too long.
  void add(const google::protobuf::Message& record);
  /// Adds the closing frame. Returns everything, from the magic on. Once. Throws Error.
  [[nodiscard]] std::span<const std::byte> close(const PayloadSizes& payload_sizes);
  /// Checksum of the last frame that was added.
  [[nodiscard]] uint64_t last_checksum() const { return checksums_.back(); }

 private:
  std::string bytes_;
  std::vector<uint64_t> checksums_;
};

/// A frame whose checksum was right.
struct Frame {
  uint32_t type;
  uint64_t checksum;
  std::vector<std::byte> payload;
};

/// Takes frames from a source. Memory grows with what the source really has, not with what a length says.
class FrameReader {
 public:
  /// Reads the magic. Throws Error for what isn't a checkpoint, or one of a newer format.
  explicit FrameReader(ByteSource& source);
  /// Null: the source ended where a frame could begin. Throws Error for a damaged or truncated frame.
  [[nodiscard]] std::optional<Frame> next();

 private:
  ByteSource& source_;
  uint64_t frames_ = 0;
};

/// The `metadata_hash` of a Closing: over the checksums of the frames in front of it.
[[nodiscard]] uint64_t hash_checksums(std::span<const uint64_t> checksums);

}  // namespace godwit
