#include "images-format/section.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "images-format/frame.h"
#include "images-format/hash.h"
#include "images-format/payload.h"
#include "kernel/error.h"

namespace godwit {

namespace {

struct SectionHeader {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t type;
  uint64_t bytes;
  uint64_t payload_before;
  uint64_t checksum;  // of all in front of it
};

// As in front of the metadata of a directory, but for one letter.
constexpr std::array<char, 8> kMagic = {'\x89', 'g', 'o', 'd', 'w', 'i', 's', '\n'};
constexpr std::array<char, 8> kDirectoryMagic = {'\x89', 'g', 'o', 'd', 'w', 'i', 't', '\n'};

// Far above any memory: sums of two stay in range, also as file offsets.
constexpr uint64_t kMostBytes = uint64_t{1} << 61;

constexpr const char* kDamaged = "the checkpoint is damaged";
constexpr const char* kIncomplete = "the checkpoint is incomplete";

uint64_t checksum_of(const SectionHeader& header) {
  return hash_bytes(std::as_bytes(std::span(&header, 1)).first(offsetof(SectionHeader, checksum)));
}

void check_magic(std::span<const std::byte> start) {
  const size_t size = std::min(start.size(), kMagic.size());
  const auto begins_with = [&](const std::array<char, 8>& magic) {
    return std::memcmp(start.data(), magic.data(), size) == 0;
  };
  if (start.size() >= kMagic.size() && begins_with(kDirectoryMagic)) {
    throw Error("it is one of the files of a checkpoint", 0, "name the directory that it is in");
  }
  if (!begins_with(kMagic)) {
    throw error("it isn't a checkpoint of godwit");
  }
}

/// Null at the end of the source, if that lies between two sections.
std::optional<Section> next_section(SectionSource& source) {
  std::array<std::byte, kPageSize> page;
  const size_t got = source.read(page);
  if (got == 0) {
    return std::nullopt;
  }
  if (got < page.size()) {
    check_magic(std::span(page).first(got));
    throw Error("it ends inside the page in front of a section", 0, kIncomplete);
  }
  return decode_section(page);
}

}  // namespace

void encode_section(const Section& section, std::span<std::byte, kPageSize> page) {
  SectionHeader header{.magic = kMagic,
                       .version = kFormatVersion,
                       .type = static_cast<uint32_t>(section.type),
                       .bytes = section.bytes,
                       .payload_before = section.payload_before,
                       .checksum = 0};
  header.checksum = checksum_of(header);
  std::ranges::fill(page, std::byte{0});
  std::memcpy(page.data(), &header, sizeof(header));
}

Section decode_section(std::span<const std::byte, kPageSize> page) {
  SectionHeader header;
  std::memcpy(&header, page.data(), sizeof(header));
  check_magic(page);
  check_format_version(header.version);
  if (header.checksum != checksum_of(header)) {
    throw Error("the checksum of the page in front of a section is wrong", 0, kDamaged);
  }
  const auto rest = page.subspan(sizeof(header));
  if (std::ranges::any_of(rest, [](std::byte b) { return b != std::byte{0}; })) {
    throw Error("the page in front of a section doesn't end in zeros", 0, kDamaged);
  }
  const auto type = static_cast<SectionType>(header.type);
  if (type != SectionType::Pages && type != SectionType::Metadata && type != SectionType::End &&
      type != SectionType::Parted) {
    throw Error(fmt::format("a section is of the unknown type {}", header.type), 0,
                "the checkpoint comes from a newer godwit");
  }
  if (header.bytes > kMostBytes ||
      (header.bytes == 0) != (type == SectionType::End || type == SectionType::Parted)) {
    throw Error(fmt::format("a section of {} bytes is impossible", header.bytes), 0, kDamaged);
  }
  return {.type = type, .bytes = header.bytes, .payload_before = header.payload_before};
}

void write_section(ByteSink& sink, const Section& section, std::span<const std::byte> data) {
  std::array<std::byte, kPageSize> page;
  encode_section(section, page);
  sink.write(page);
  sink.write(data);
  page.fill(std::byte{0});
  sink.write(std::span(page).first(padded_bytes(data.size()) - data.size()));
}

SectionLayout read_layout(SectionSource& source) {
  SectionLayout layout;
  uint64_t offset = 0;
  bool first = true;
  while (const std::optional<Section> section = next_section(source)) {
    first = false;
    offset += kPageSize;
    if (section->type == SectionType::End || section->type == SectionType::Parted) {
      throw Error("it ends without metadata", 0, kDamaged);
    }
    if (section->payload_before != layout.payload_bytes) {
      throw Error("a section isn't where it belongs", 0, kDamaged);
    }
    if (section->bytes > kMostBytes - std::min(offset, kMostBytes)) {
      throw Error("its sections are impossibly long", 0, kDamaged);
    }
    source.pass(padded_bytes(section->bytes));
    if (section->type == SectionType::Metadata) {
      layout.metadata_offset = offset;
      layout.metadata_bytes = section->bytes;
      layout.end_offset = offset + padded_bytes(section->bytes);
      return layout;
    }
    if (section->bytes % kPageSize != 0) {
      throw Error("a section of pages isn't as long as whole pages are", 0, kDamaged);
    }
    layout.payload.push_back(
        {.payload_offset = layout.payload_bytes, .file_offset = offset, .bytes = section->bytes});
    layout.payload_bytes += section->bytes;
    offset += section->bytes;
  }
  throw Error(first ? "it is empty" : "it ends in front of its metadata", 0, kIncomplete);
}

void read_end(SectionSource& source, const SectionLayout& layout) {
  const std::optional<Section> section = next_section(source);
  if (!section) {
    throw Error("its last page is missing", 0, kIncomplete);
  }
  if (section->type != SectionType::End || section->payload_before != layout.payload_bytes) {
    throw Error("its last page doesn't fit what stands in front of it", 0, kDamaged);
  }
}

bool read_parting(SectionSource& source, const SectionLayout& layout) {
  const std::optional<Section> section = next_section(source);
  if (!section) {
    return false;
  }
  std::array<std::byte, 1> more;
  if (section->type != SectionType::Parted || section->payload_before != layout.payload_bytes ||
      source.read(more) != 0) {
    throw Error("something stands behind its end", 0, kDamaged);
  }
  return true;
}

}  // namespace godwit
