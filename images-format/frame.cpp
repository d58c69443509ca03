#include "images-format/frame.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "images-format/checkpoint.pb.h"
#include "images-format/hash.h"
#include "kernel/error.h"

namespace godwit {

namespace {

static_assert(std::endian::native == std::endian::little, "frames are little-endian and written as they are");

struct StreamHeader {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t reserved;  // 0
};

struct FrameHeader {
  uint32_t type;
  uint32_t length;
  uint64_t checksum;
};

// The first byte is no text, the last is changed by whatever converts line ends.
constexpr std::array<char, 8> kMagic = {'\x89', 'g', 'o', 'd', 'w', 'i', 't', '\n'};

constexpr const char* kDamaged = "the checkpoint is damaged";
constexpr const char* kIncomplete = "the checkpoint is incomplete";

/// The type is in the checksum as its seed: a record can't turn into one of another kind.
uint64_t frame_checksum(uint32_t type, std::span<const std::byte> payload) {
  return hash_bytes(payload, type);
}

std::vector<std::byte> read_payload(ByteSource& source, size_t length) {
  constexpr size_t kFirstStep = 1024UL * 1024;
  std::vector<std::byte> payload;
  while (payload.size() < length) {
    const size_t before = payload.size();
    payload.resize(std::min(length, std::max(kFirstStep, before * 2)));
    if (read_fully(source, std::span(payload).subspan(before)) < payload.size() - before) {
      throw Error("it ends inside its data", 0, kIncomplete);
    }
  }
  return payload;
}

}  // namespace

void check_format_version(uint32_t version) {
  if (version > kFormatVersion) {
    throw Error(fmt::format("format version {} is newer than {}, the newest that this godwit reads", version,
                            kFormatVersion),
                0, "use the godwit that wrote it, or a newer one");
  }
  if (version == 0) {
    throw Error("format version 0 has never been written", 0, kDamaged);
  }
}

uint64_t hash_checksums(std::span<const uint64_t> checksums) {
  return hash_bytes(std::as_bytes(checksums));
}

FrameWriter::FrameWriter() {
  const StreamHeader header{.magic = kMagic, .version = kFormatVersion, .reserved = 0};
  bytes_.append(reinterpret_cast<const char*>(&header), sizeof(header));
}

void FrameWriter::add(const google::protobuf::Message& record) {
  const auto type = static_cast<uint32_t>(record_type_of(record));
  const size_t length = record.ByteSizeLong();
  if (length > kMaxFrameBytes) {
    throw error("a {} record of {} bytes is too long for a checkpoint", record.GetDescriptor()->name(),
                length);
  }
  const size_t at = bytes_.size();
  bytes_.resize(at + sizeof(FrameHeader) + length);
  char* payload = bytes_.data() + at + sizeof(FrameHeader);
  record.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(payload));
  const FrameHeader header{.type = type,
                           .length = static_cast<uint32_t>(length),
                           .checksum = frame_checksum(type, std::as_bytes(std::span(payload, length)))};
  std::memcpy(bytes_.data() + at, &header, sizeof(header));
  checksums_.push_back(header.checksum);
}

std::span<const std::byte> FrameWriter::close(const PayloadSizes& payload_sizes) {
  image::Closing closing;
  closing.set_frames(checksums_.size());
  closing.set_metadata_hash(hash_checksums(checksums_));
  closing.mutable_payload_bytes()->Assign(payload_sizes.begin(), payload_sizes.end());
  add(closing);
  return std::as_bytes(std::span(bytes_));
}

FrameReader::FrameReader(ByteSource& source) : source_(source) {
  StreamHeader header{};
  const size_t got = read_fully(source_, std::as_writable_bytes(std::span(&header, 1)));
  if (got == 0) {
    throw Error("it is empty", 0, kIncomplete);
  }
  if (!std::equal(kMagic.begin(), kMagic.begin() + static_cast<ptrdiff_t>(std::min(got, kMagic.size())),
                  header.magic.begin())) {
    throw error("it isn't a checkpoint of godwit");
  }
  if (got < sizeof(header)) {
    throw Error("it ends inside its first 16 bytes", 0, kIncomplete);
  }
  check_format_version(header.version);
  if (header.reserved != 0) {
    throw Error("reserved bytes behind the format version aren't 0", 0, kDamaged);
  }
}

std::optional<Frame> FrameReader::next() {
  FrameHeader header{};
  const size_t got = read_fully(source_, std::as_writable_bytes(std::span(&header, 1)));
  if (got == 0) {
    return std::nullopt;
  }
  return with_context([&] { return fmt::format("frame {}", frames_); },
                      [&]() -> std::optional<Frame> {
                        if (got < sizeof(header)) {
                          throw Error("it ends inside its header", 0, kIncomplete);
                        }
                        if (header.length > kMaxFrameBytes) {
                          throw Error(fmt::format("a length of {} bytes is impossible", header.length), 0,
                                      kDamaged);
                        }
                        Frame frame{.type = header.type,
                                    .checksum = header.checksum,
                                    .payload = read_payload(source_, header.length)};
                        if (frame_checksum(frame.type, frame.payload) != frame.checksum) {
                          throw Error("its checksum is wrong", 0, kDamaged);
                        }
                        ++frames_;
                        return frame;
                      });
}

}  // namespace godwit
