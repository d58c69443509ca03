#include "tests/fuzz/image_reader.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_reader.h"
#include "images-format/frame.h"
#include "images-format/hash.h"
#include "kernel/error.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {

namespace {

constexpr size_t kStreamHeader = 16;
constexpr size_t kFrameHeader = 16;

void append_frame(std::vector<std::byte>& out, uint32_t type, std::span<const std::byte> payload) {
  const auto length = static_cast<uint32_t>(payload.size());
  const uint64_t checksum = hash_bytes(payload, type);
  const size_t at = out.size();
  out.resize(at + kFrameHeader);
  std::memcpy(out.data() + at, &type, sizeof(type));
  std::memcpy(out.data() + at + 4, &length, sizeof(length));
  std::memcpy(out.data() + at + 8, &checksum, sizeof(checksum));
  out.insert(out.end(), payload.begin(), payload.end());
}

/// The same frames with right checksums, and a closing frame that fits them.
std::vector<std::byte> reseal(std::span<const std::byte> frames, uint64_t payload_bytes) {
  std::vector<std::byte> out(frames.begin(), frames.begin() + kStreamHeader);
  std::vector<uint64_t> checksums;
  frames = frames.subspan(kStreamHeader);
  while (frames.size() >= kFrameHeader) {
    uint32_t type = 0;
    uint32_t length = 0;
    std::memcpy(&type, frames.data(), sizeof(type));
    std::memcpy(&length, frames.data() + 4, sizeof(length));
    if (type == static_cast<uint32_t>(RecordType::Closing)) {
      break;
    }
    frames = frames.subspan(kFrameHeader);
    const auto payload = frames.first(std::min<size_t>(length, frames.size()));
    append_frame(out, type, payload);
    checksums.push_back(hash_bytes(payload, type));
    frames = frames.subspan(payload.size());
  }
  image::Closing closing;
  closing.set_frames(checksums.size());
  closing.set_metadata_hash(hash_checksums(checksums));
  closing.add_payload_bytes(payload_bytes);
  const std::string record = closing.SerializeAsString();
  append_frame(out, static_cast<uint32_t>(RecordType::Closing), std::as_bytes(std::span(record)));
  return out;
}

bool read(std::span<const std::byte> frames, const MemoryPages& pages) {
  try {
    MemorySource source(frames);
    auto copy = std::make_unique<MemoryPages>(pages);
    const uint64_t size = copy->bytes().size();
    const CheckpointImage image = CheckpointImage::read(source, std::move(copy), {size});
    verify_pages(image);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<std::byte> sample_frames() {
  MemoryPages pages;
  FrameWriter writer;
  for (const Record& record : sample_records(pages)) {
    writer.add(*record.message);
  }
  const auto bytes = writer.close({pages.bytes().size()});
  return {bytes.begin(), bytes.end()};
}

bool read_hostile_image(std::span<const std::byte> frames) {
  static const MemoryPages pages = [] {
    MemoryPages sample;
    static_cast<void>(sample_records(sample));
    return sample;
  }();
  read(frames, pages);
  if (frames.size() < kStreamHeader) {
    return false;
  }
  return read(reseal(frames, pages.bytes().size()), pages);
}

}  // namespace godwit
