#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "images-format/block_buffer.h"
#include "images-format/checkpoint_writer.h"
#include "kernel/fd.h"
#include "kernel/pagemap.h"

namespace godwit {

/// Copies pages of any number of memory objects into a checkpoint, in several
/// threads where there is enough to copy.
class MemoryCopier {
 public:
  struct Totals {
    uint64_t pages = 0;  // written
    uint64_t zero_pages = 0;
    uint64_t inherited_pages = 0;
    uint64_t in_parent_pages = 0;  // in the parent checkpoint
    uint64_t stored_bytes = 0;
  };
  using Object = size_t;

  /// `threads` at least 1, the calling one included.
  MemoryCopier(PageSink& sink, unsigned threads);
  MemoryCopier(const MemoryCopier&) = delete;
  MemoryCopier& operator=(const MemoryCopier&) = delete;
  ~MemoryCopier();

  /// Pages of an address space are numbered by address, those of a file by
  /// offset. `sharing`: the task's page map, if pages of it may be shared
  /// copy-on-write (else null). process_vm_readv(2) pins what it reads, for
  /// which the kernel first gives the task a copy of its own of a shared page;
  /// those pages are read by /proc/PID/mem. It must outlive the copying. `running`: the task may do what it
  /// likes meanwhile; pages that can't be read any more are left out.
  [[nodiscard]] Object add_address_space(uint64_t id, pid_t pid, const Pagemap* sharing,
                                         bool running = false);
  [[nodiscard]] Object add_file(uint64_t id, Fd file);
  /// Pages to copy; ascending within an object. `readable`: the mapping has
  /// PROT_READ.
  void add_pages(Object object, uint64_t first_page, uint64_t count, bool readable = true);
  /// Pages that the parent task has too: PAGE_INHERITED.
  void add_inherited(Object object, uint64_t first_page, uint64_t count);

  /// Pages that are as in object `parent_object` of the parent checkpoint: PAGE_IN_PARENT.
  void add_in_parent(Object object, uint64_t parent_object, uint64_t first_page, uint64_t count);

  /// Copies all that was added. `progress(bytes, total_bytes)` is called in
  /// this thread between blocks. Once. Throws Error, also when cancelled.
  void copy(const std::function<void(uint64_t, uint64_t)>& progress);
  /// Adds the MemoryObject records.
  void write(CheckpointWriter& writer) const;
  [[nodiscard]] Totals totals() const;

 private:
  /// Consecutive pages.
  struct Piece {
    uint64_t first_page;
    uint32_t count;
    bool readable;  // by process_vm_readv(2)
  };
  /// What becomes one block.
  struct Block {
    Object object;
    size_t first_piece;
    size_t pieces;
    uint32_t pages;
    uint64_t zero = 0;  // bit n: its page n holds only zeros
    uint64_t gone = 0;  // bit n: its page n couldn't be read any more
    image::PageBlock entry;
  };
  /// Pages that aren't copied, since somebody else has them.
  struct Elsewhere {
    uint64_t first_page;
    uint64_t count;
    image::PageKind kind;
  };
  struct Source {
    uint64_t id;
    pid_t pid;  // 0: a file
    Fd file;    // of a task whose pages may be shared: /proc/PID/mem
    const Pagemap* sharing = nullptr;
    bool running = false;
    uint64_t parent_object = 0;
    std::vector<size_t> blocks;
    std::vector<Elsewhere> elsewhere;
  };

  std::vector<std::thread> start_helpers();
  bool copy_next(const BlockBuffer& buffer);
  void copy_block(Block& block, std::span<std::byte> buffer);
  void read_block(Block& block, std::span<std::byte> buffer) const;
  void read_file(const Block& block, std::span<std::byte> buffer) const;
  void read_address_space(const Block& block, std::span<std::byte> buffer) const;
  uint64_t read_page_by_page(const Block& block, std::span<std::byte> buffer) const;
  static void read_pieces(const Source& source, std::span<const Piece> pieces, std::span<std::byte> buffer);
  static void read_by_mem(const Source& source, const Piece& piece, std::span<std::byte> buffer);
  void fail();
  [[nodiscard]] std::span<const Piece> pieces_of(const Block& block) const;

  PageSink& sink_;
  unsigned threads_;
  std::unique_ptr<BlockBuffer> buffer_;  // of the calling thread
  std::deque<Source> sources_;
  std::vector<Piece> pieces_;
  std::vector<Block> blocks_;
  std::atomic<size_t> next_block_{0};
  std::atomic<uint64_t> bytes_done_{0};
  std::atomic<bool> stop_{false};
  std::mutex failure_lock_;
  std::exception_ptr failure_;
};

}  // namespace godwit
