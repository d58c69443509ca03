#include "images-format/payload.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "images-format/hash.h"
#include "images-format/partial_directory.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr int kZstdLevel = 1;
constexpr const char* kDamaged = "the checkpoint is damaged";

/// What a thread needs to (de)compress one block after the other. Made when a thread needs it first.
struct ZstdContext {
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> compressor{ZSTD_createCCtx(), ZSTD_freeCCtx};
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> decompressor{ZSTD_createDCtx(), ZSTD_freeDCtx};
  std::vector<std::byte> buffer = std::vector<std::byte>(kBlockBytes);

  ZstdContext() {
    if (compressor == nullptr || decompressor == nullptr) {
      throw std::bad_alloc();
    }
  }
};

ZstdContext& zstd_context() {
  thread_local ZstdContext context;
  return context;
}

/// The compressed pages, padded with zeros; empty if that saves no page.
std::span<const std::byte> compress(std::span<const std::byte> pages, size_t& stored_bytes) {
  if (pages.size() <= kPageSize) {
    return {};
  }
  ZstdContext& context = zstd_context();
  // A result that saves no page doesn't fit, and zstd gives up early.
  const size_t size = ZSTD_compressCCtx(context.compressor.get(), context.buffer.data(),
                                        pages.size() - kPageSize, pages.data(), pages.size(), kZstdLevel);
  if (ZSTD_isError(size) != 0) {
    if (ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall) {
      return {};
    }
    throw error("cannot compress pages: {}", ZSTD_getErrorName(size));
  }
  stored_bytes = size;
  const auto padded = std::span(context.buffer).first(padded_bytes(size));
  std::ranges::fill(padded.subspan(size), std::byte{0});
  return padded;
}

void write_at(int fd, std::span<const std::byte> data, uint64_t offset,
              const std::function<std::string()>& name) {
  while (!data.empty()) {
    const ssize_t put = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw errno_error("cannot write {}", name());
    }
    data = data.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
}

Error damaged_block(const image::PageBlock& block, const char* what) {
  return Error(fmt::format("block at {:#x} of {}: {}", block.offset(), payload_file(block.file()), what), 0,
               kDamaged);
}

}  // namespace

std::span<const std::byte> pack_block(std::span<const std::byte> pages, image::PageBlock::Codec codec,
                                      image::PageBlock& block) {
  if (pages.empty() || pages.size() > kBlockBytes || pages.size() % kPageSize != 0) {
    throw error("a block of {} bytes isn't 1 to {} pages", pages.size(), kPagesPerBlock);
  }
  block.set_pages(static_cast<uint32_t>(pages.size() / kPageSize));
  std::span<const std::byte> stored = pages;
  size_t stored_bytes = pages.size();
  if (codec == image::PageBlock::ZSTD) {
    if (const auto compressed = compress(pages, stored_bytes); !compressed.empty()) {
      stored = compressed;
      block.set_codec(image::PageBlock::ZSTD);
    }
  }
  block.set_stored_bytes(static_cast<uint32_t>(stored_bytes));
  block.set_hash(hash_bytes(stored.first(stored_bytes)));
  return stored;
}

PayloadWriter::PayloadWriter(Files files, image::PageBlock::Codec codec)
    : how_(std::move(files)), codec_(codec) {
  add_file();
}

void PayloadWriter::add_file() {
  files_.push_back({.fd = how_.create(files_.size())});
}

PayloadSizes PayloadWriter::sizes() const {
  PayloadSizes sizes;
  for (const File& file : files_) {
    sizes.push_back(file.end);
  }
  return sizes;
}

/// In a file that nobody writes to, or in the shortest if there can't be more.
PayloadWriter::Place PayloadWriter::take_place(size_t bytes) {
  const std::lock_guard guard(lock_);
  auto file = std::ranges::find(files_, false, &File::busy);
  if (file == files_.end() && files_.size() < how_.most) {
    add_file();
    file = files_.end() - 1;
  } else if (file == files_.end()) {
    file = std::ranges::min_element(files_, {}, &File::end);
  }
  const Place place{static_cast<size_t>(file - files_.begin()), file->fd.get(), file->end};
  file->end += bytes;
  file->busy = true;
  return place;
}

void PayloadWriter::give_back(const Place& place) {
  const std::lock_guard guard(lock_);
  files_[place.file].busy = false;
}

image::PageBlock PayloadWriter::write_block(std::span<const std::byte> pages) {
  image::PageBlock block;
  const std::span<const std::byte> stored = pack_block(pages, codec_, block);
  const Place place = take_place(stored.size());
  block.set_file(static_cast<uint32_t>(place.file));
  block.set_offset(place.offset);
  write_at(place.fd, stored, how_.start + place.offset, [&] { return how_.name(place.file); });
  give_back(place);
  return block;
}

PayloadReader::PayloadReader(std::vector<Fd> files, std::string directory)
    : files_(std::move(files)), path_(std::move(directory)) {
  for (const Fd& file : files_) {
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) {
      throw errno_error("cannot stat {}", name(sizes_.size()));
    }
    sizes_.push_back(static_cast<uint64_t>(status.st_size));
  }
}

PayloadReader::PayloadReader(Fd file, std::string path, SectionLayout layout)
    : path_(std::move(path)), sizes_{layout.payload_bytes}, pieces_(std::move(layout.payload)) {
  files_.push_back(std::move(file));
}

std::string PayloadReader::name(size_t file) const {
  return pieces_.empty() ? path_ + "/" + payload_file(file) : path_;
}

/// Where the block begins in its file.
uint64_t PayloadReader::place_of(const image::PageBlock& block) const {
  if (pieces_.empty()) {
    return block.offset();
  }
  // check_block has found it to lie within them all.
  const auto piece = std::ranges::upper_bound(pieces_, block.offset(), {}, &PayloadPiece::payload_offset) - 1;
  const uint64_t in_piece = block.offset() - piece->payload_offset;
  if (padded_bytes(block.stored_bytes()) > piece->bytes - in_piece) {
    throw damaged_block(block, "it isn't in one piece");
  }
  return piece->file_offset + in_piece;
}

void PayloadReader::read_at(size_t file, uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(files_[file].get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw errno_error("cannot read {}", name(file));
    }
    if (got == 0) {
      throw Error(fmt::format("{} ends at {:#x}", name(file), offset), 0, kDamaged);
    }
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
}

void PayloadReader::read_block(const image::PageBlock& block, std::span<std::byte> out) const {
  check_block(block, sizes_);
  std::span<std::byte> stored = out;
  if (block.codec() != image::PageBlock::NONE) {
    stored = std::span(zstd_context().buffer).first(padded_bytes(block.stored_bytes()));
  } else if (out.size() != block.pages() * kPageSize) {
    throw damaged_block(block, "it is read into memory of another size");
  }
  read_at(block.file(), place_of(block), stored);
  unpack_block(block, stored, out);
}

void check_block(const image::PageBlock& block, const PayloadSizes& payload_sizes) {
  if (block.pages() == 0 || block.pages() > kPagesPerBlock) {
    throw damaged_block(block, "it hasn't 1 to 64 pages");
  }
  if (!image::PageBlock::Codec_IsValid(block.codec())) {
    throw Error(fmt::format("block at {:#x} of the pages is compressed in the unknown way {}", block.offset(),
                            static_cast<int>(block.codec())),
                0, "the checkpoint comes from a newer godwit");
  }
  const uint64_t bytes = block.pages() * kPageSize;
  const bool plain = block.codec() == image::PageBlock::NONE;
  if (block.stored_bytes() == 0 || (plain ? block.stored_bytes() != bytes : block.stored_bytes() >= bytes)) {
    throw damaged_block(block, "its sizes contradict each other");
  }
  if (block.offset() % kPageSize != 0) {
    throw damaged_block(block, "it doesn't begin on a page");
  }
  if (block.file() >= payload_sizes.size()) {
    throw damaged_block(block, "it lies in a file that isn't there");
  }
  const uint64_t payload_bytes = payload_sizes[block.file()];
  if (block.offset() > payload_bytes || padded_bytes(block.stored_bytes()) > payload_bytes - block.offset()) {
    throw damaged_block(block, "it ends behind the end of the pages");
  }
}

void unpack_block(const image::PageBlock& block, std::span<const std::byte> stored,
                  std::span<std::byte> out) {
  if (out.size() != block.pages() * kPageSize || stored.size() != padded_bytes(block.stored_bytes())) {
    throw damaged_block(block, "it is read into memory of another size");
  }
  const auto data = stored.first(block.stored_bytes());
  if (hash_bytes(data) != block.hash()) {
    throw damaged_block(block, "its checksum is wrong");
  }
  const auto padding = stored.subspan(data.size());
  if (std::ranges::any_of(padding, [](std::byte b) { return b != std::byte{0}; })) {
    throw damaged_block(block, "its padding isn't zero");
  }
  if (block.codec() == image::PageBlock::ZSTD) {
    const size_t size = ZSTD_decompressDCtx(zstd_context().decompressor.get(), out.data(), out.size(),
                                            data.data(), data.size());
    if (ZSTD_isError(size) != 0 || size != out.size()) {
      throw damaged_block(block, "it can't be decompressed");
    }
  } else if (stored.data() != out.data()) {
    std::ranges::copy(data, out.begin());
  }
}

}  // namespace godwit
