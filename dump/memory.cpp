#include "dump/memory.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <system_error>
#include <utility>

#include "kernel/blocked_signals.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

size_t pages_of_block(size_t number) {
  return number < kSmallBlocks ? kSmallBlockPages : kPagesPerBlock;
}

bool is_zero(const std::byte* page) {
  uint64_t first;
  std::memcpy(&first, page, sizeof(first));
  return first == 0 && std::memcmp(page, page + sizeof(first), kPageSize - sizeof(first)) == 0;
}

}  // namespace

MemoryCopier::MemoryCopier(PageSink& sink, unsigned threads)
    : sink_(sink), threads_(threads), buffer_(std::make_unique<BlockBuffer>(kSmallBlockPages * kPageSize)) {}

MemoryCopier::~MemoryCopier() = default;

MemoryCopier::Object MemoryCopier::add_address_space(uint64_t id, pid_t pid, const Pagemap* sharing,
                                                     bool running) {
  Fd mem;
  if (sharing != nullptr) {
    mem = open_file(fmt::format("/proc/{}/mem", pid), O_RDONLY);
  }
  sources_.push_back({.id = id,
                      .pid = pid,
                      .file = std::move(mem),
                      .sharing = sharing,
                      .running = running,
                      .blocks = {},
                      .elsewhere = {}});
  return sources_.size() - 1;
}

MemoryCopier::Object MemoryCopier::add_file(uint64_t id, Fd file) {
  sources_.push_back({.id = id, .pid = 0, .file = std::move(file), .blocks = {}, .elsewhere = {}});
  return sources_.size() - 1;
}

void MemoryCopier::add_pages(Object object, uint64_t first_page, uint64_t count, bool readable) {
  while (count > 0) {
    if (blocks_.empty() || blocks_.back().object != object ||
        blocks_.back().pages == pages_of_block(blocks_.size() - 1)) {
      sources_[object].blocks.push_back(blocks_.size());
      blocks_.push_back(
          {.object = object, .first_piece = pieces_.size(), .pieces = 0, .pages = 0, .entry = {}});
    }
    Block& block = blocks_.back();
    const auto taken =
        static_cast<uint32_t>(std::min<uint64_t>(count, pages_of_block(blocks_.size() - 1) - block.pages));
    pieces_.push_back({.first_page = first_page, .count = taken, .readable = readable});
    block.pieces += 1;
    block.pages += taken;
    first_page += taken;
    count -= taken;
  }
}

void MemoryCopier::add_inherited(Object object, uint64_t first_page, uint64_t count) {
  sources_[object].elsewhere.push_back({first_page, count, image::PAGE_INHERITED});
}

void MemoryCopier::add_in_parent(Object object, uint64_t parent_object, uint64_t first_page, uint64_t count) {
  sources_[object].parent_object = parent_object;
  sources_[object].elsewhere.push_back({first_page, count, image::PAGE_IN_PARENT});
}

std::span<const MemoryCopier::Piece> MemoryCopier::pieces_of(const Block& block) const {
  return std::span(pieces_).subspan(block.first_piece, block.pieces);
}

/// False: nothing is left to do.
bool MemoryCopier::copy_next(const BlockBuffer& buffer) {
  if (stop_) {
    return false;
  }
  const size_t index = next_block_.fetch_add(1, std::memory_order_relaxed);
  if (index >= blocks_.size()) {
    return false;
  }
  try {
    Block& block = blocks_[index];
    copy_block(block, buffer.first(block.pages * kPageSize));
    bytes_done_.fetch_add(block.pages * kPageSize, std::memory_order_relaxed);
    return true;
  } catch (...) {
    fail();
    return false;
  }
}

void MemoryCopier::fail() {
  const std::lock_guard guard(failure_lock_);
  if (!failure_) {
    failure_ = std::current_exception();
  }
  stop_ = true;
}

void MemoryCopier::copy(const std::function<void(uint64_t, uint64_t)>& progress) {
  uint64_t total = 0;
  for (const Block& block : blocks_) {
    total += block.pages * kPageSize;
  }
  std::vector<std::thread> helpers = start_helpers();
  try {
    while (copy_next(*buffer_)) {
      progress(bytes_done_.load(std::memory_order_relaxed), total);
      check_cancelled();
    }
  } catch (...) {
    fail();
  }
  for (std::thread& helper : helpers) {
    helper.join();
  }
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

/// A helper costs about as much as copying some blocks, so little memory is copied without.
std::vector<std::thread> MemoryCopier::start_helpers() {
  constexpr size_t kBlocksWorthAHelper = kSmallBlocks / 2;
  const size_t wanted = std::min<size_t>(threads_ - 1, blocks_.size() / kBlocksWorthAHelper);
  std::vector<std::thread> helpers;
  const BlockedSignals blocked;  // they are for the calling thread, which waits where they matter
  try {
    while (helpers.size() < wanted) {
      helpers.emplace_back([this] {
        try {
          BlockBuffer buffer(kBlockBytes);
          while (copy_next(buffer)) {
          }
        } catch (...) {
          fail();
        }
      });
    }
  } catch (const std::system_error&) {
    // No more threads can be had: those that there are do it.
  }
  return helpers;
}

void MemoryCopier::copy_block(Block& block, std::span<std::byte> buffer) {
  read_block(block, buffer);
  size_t kept = 0;
  for (size_t page = 0; page < block.pages; ++page) {
    const std::byte* from = buffer.data() + page * kPageSize;
    if ((block.gone >> page & 1) != 0) {
      continue;
    }
    if (is_zero(from)) {
      block.zero |= uint64_t{1} << page;
      continue;
    }
    if (kept != page) {
      std::memcpy(buffer.data() + kept * kPageSize, from, kPageSize);
    }
    ++kept;
  }
  if (kept > 0) {
    block.entry = sink_.write_block(buffer.first(kept * kPageSize));
  }
}

void MemoryCopier::read_block(Block& block, std::span<std::byte> buffer) const {
  const Source& source = sources_[block.object];
  if (source.pid == 0) {
    read_file(block, buffer);
  } else if (source.running) {
    try {
      read_address_space(block, buffer);
    } catch (const Error&) {
      block.gone = read_page_by_page(block, buffer);
    }
  } else {
    with_context([&] { return fmt::format("task {}", source.pid); },
                 [&] { read_address_space(block, buffer); });
  }
}

void MemoryCopier::read_file(const Block& block, std::span<std::byte> buffer) const {
  const int file = sources_[block.object].file.get();
  for (const Piece& piece : pieces_of(block)) {
    std::span<std::byte> left = buffer.first(piece.count * kPageSize);
    buffer = buffer.subspan(left.size());
    auto offset = static_cast<off_t>(piece.first_page * kPageSize);
    while (!left.empty()) {
      const ssize_t got = ::pread(file, left.data(), left.size(), offset);
      if (got < 0) {
        throw errno_error("cannot read shared memory");
      }
      if (got == 0) {
        // The end lies within the last page.
        std::fill(left.begin(), left.end(), std::byte{0});
        break;
      }
      left = left.subspan(static_cast<size_t>(got));
      offset += got;
    }
  }
}

void MemoryCopier::read_address_space(const Block& block, std::span<std::byte> buffer) const {
  const Source& source = sources_[block.object];
  if (source.sharing == nullptr) {
    read_pieces(source, pieces_of(block), buffer);
    return;
  }
  std::vector<Piece> pieces;
  std::array<PagemapEntry, kPagesPerBlock> entries;
  for (const Piece& piece : pieces_of(block)) {
    source.sharing->read(piece.first_page * kPageSize, std::span(entries).first(piece.count));
    for (uint32_t i = 0; i < piece.count; ++i) {
      const bool own = piece.readable && entries[i].present() && entries[i].exclusive();
      if (i > 0 && pieces.back().readable == own) {
        ++pieces.back().count;
      } else {
        pieces.push_back({.first_page = piece.first_page + i, .count = 1, .readable = own});
      }
    }
  }
  read_pieces(source, pieces, buffer);
}

/// Of a task that runs, and has unmapped something. Bit n: page n can't be read.
uint64_t MemoryCopier::read_page_by_page(const Block& block, std::span<std::byte> buffer) const {
  const Source& source = sources_[block.object];
  uint64_t gone = 0;
  size_t page = 0;
  for (const Piece& piece : pieces_of(block)) {
    for (uint32_t i = 0; i < piece.count; ++i, ++page) {
      try {
        // By /proc/PID/mem if it is open, since whether the page is shared isn't asked again.
        read_by_mem(source, {.first_page = piece.first_page + i, .count = 1, .readable = false},
                    buffer.subspan(page * kPageSize, kPageSize));
      } catch (const Error&) {
        gone |= uint64_t{1} << page;
      }
    }
  }
  return gone;
}

void MemoryCopier::read_pieces(const Source& source, std::span<const Piece> pieces,
                               std::span<std::byte> buffer) {
  std::array<iovec, kPagesPerBlock> remote;
  while (!pieces.empty()) {
    // As many pieces as can be read at once.
    size_t count = 0;
    size_t bytes = 0;
    while (count < pieces.size() && pieces[count].readable) {
      const size_t length = pieces[count].count * kPageSize;
      remote[count] = {reinterpret_cast<void*>(pieces[count].first_page * kPageSize), length};
      bytes += length;
      ++count;
    }
    iovec local{buffer.data(), bytes};
    if (count > 0 &&
        ::process_vm_readv(source.pid, &local, 1, remote.data(), count, 0) == static_cast<ssize_t>(bytes)) {
      buffer = buffer.subspan(bytes);
      pieces = pieces.subspan(count);
      continue;
    }
    // PROT_NONE, shared, or something in the way.
    for (const Piece& piece : pieces.first(std::max<size_t>(count, 1))) {
      const size_t length = piece.count * kPageSize;
      read_by_mem(source, piece, buffer.first(length));
      buffer = buffer.subspan(length);
    }
    pieces = pieces.subspan(std::max<size_t>(count, 1));
  }
}

void MemoryCopier::read_by_mem(const Source& source, const Piece& piece, std::span<std::byte> buffer) {
  const uint64_t address = piece.first_page * kPageSize;
  if (!source.file || ::pread(source.file.get(), buffer.data(), buffer.size(), static_cast<off_t>(address)) !=
                          static_cast<ssize_t>(buffer.size())) {
    RemoteMemory(source.pid).read(address, buffer);
  }
}

void MemoryCopier::write(CheckpointWriter& writer) const {
  for (const Source& source : sources_) {
    std::vector<Elsewhere> runs = source.elsewhere;
    MemoryIndexBuilder index;
    for (const size_t number : source.blocks) {
      const Block& block = blocks_[number];
      size_t page = 0;
      for (const Piece& piece : pieces_of(block)) {
        for (uint32_t i = 0; i < piece.count;) {
          // Pages of one kind in a row.
          const auto kind_of = [&](size_t n) {
            return (block.gone >> n & 1) != 0   ? image::PAGE_HOLE
                   : (block.zero >> n & 1) != 0 ? image::PAGE_ZERO
                                                : image::PAGE_PRESENT;
          };
          const image::PageKind kind = kind_of(page);
          uint32_t same = 1;
          while (i + same < piece.count && kind_of(page + same) == kind) {
            ++same;
          }
          if (kind != image::PAGE_HOLE) {
            runs.push_back({piece.first_page + i, same, kind});
          }
          i += same;
          page += same;
        }
      }
      if (block.entry.pages() > 0) {
        index.add_block(block.entry);
      }
    }
    if (!source.elsewhere.empty()) {
      std::sort(runs.begin(), runs.end(),
                [](const Elsewhere& a, const Elsewhere& b) { return a.first_page < b.first_page; });
    }
    for (const auto& [first_page, count, kind] : runs) {
      index.add_run(first_page, count, kind);
    }
    image::MemoryObject record = std::move(index).finish(source.id);
    record.set_parent_object(source.parent_object);
    writer.add(record);
  }
}

MemoryCopier::Totals MemoryCopier::totals() const {
  Totals totals;
  for (const Block& block : blocks_) {
    const auto zero = static_cast<uint64_t>(std::popcount(block.zero));
    totals.zero_pages += zero;
    totals.pages += block.pages - zero - static_cast<uint64_t>(std::popcount(block.gone));
    totals.stored_bytes += block.entry.stored_bytes();
  }
  for (const Source& source : sources_) {
    for (const Elsewhere& run : source.elsewhere) {
      (run.kind == image::PAGE_INHERITED ? totals.inherited_pages : totals.in_parent_pages) += run.count;
    }
  }
  return totals;
}

}  // namespace godwit
