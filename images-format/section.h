#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "images-format/byte_sink.h"
#include "images-format/page_store.h"

namespace godwit {

// A checkpoint as one file, or as a stream, is a row of sections: pages (any number of them), the metadata,
// the end. Each begins with a page that says what follows and how long it is, so that all stand on whole
// pages, and nobody has to read further than to the last byte of a section to know what comes. See
// docs/image-format.md.

enum class SectionType : uint32_t {
  Pages = 1,
  Metadata = 2,
  End = 3,     // all is there
  Parted = 4,  // behind the end of a stream: the dump has done with the tree
};

struct Section {
  SectionType type;
  uint64_t bytes;           // without the padding to whole pages
  uint64_t payload_before;  // bytes of pages in the sections in front of this one
};

/// Fills the page that stands in front of a section.
void encode_section(const Section& section, std::span<std::byte, kPageSize> page);
/// Throws Error for what isn't one, or is of a newer format.
[[nodiscard]] Section decode_section(std::span<const std::byte, kPageSize> page);

/// The page, the data, and zeros up to the next page.
void write_section(ByteSink& sink, const Section& section, std::span<const std::byte> data);

/// A part of the payload that lies in one piece in a file of sections.
struct PayloadPiece {
  uint64_t payload_offset;
  uint64_t file_offset;
  uint64_t bytes;
};

/// Where what stands in a file of sections.
struct SectionLayout {
  std::vector<PayloadPiece> payload;  // ascending
  uint64_t payload_bytes = 0;
  uint64_t metadata_offset = 0;
  uint64_t metadata_bytes = 0;
  uint64_t end_offset = 0;
};

/// Sections on their way in.
class SectionSource {
 public:
  virtual ~SectionSource() = default;
  /// Bytes read; fewer than asked for only at the end. Throws Error.
  virtual size_t read(std::span<std::byte> out) = 0;
  /// Goes on behind the next `bytes` bytes; whoever needs them keeps them. Throws Error if they aren't all
  /// there. Nothing is allocated for a length that isn't yet known to be true.
  virtual void pass(uint64_t bytes) = 0;
};

/// Reads up to the page of the end, which it leaves unread. Throws Error.
[[nodiscard]] SectionLayout read_layout(SectionSource& source);
/// Reads that page. Throws Error if it isn't there or belongs to something else.
void read_end(SectionSource& source, const SectionLayout& layout);
/// Reads what may stand behind that: nothing, or the word that the dump has done with the tree. Returns
/// whether that is there. Throws Error if the source goes on otherwise.
[[nodiscard]] bool read_parting(SectionSource& source, const SectionLayout& layout);

}  // namespace godwit
