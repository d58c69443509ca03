#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
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
#include "images-format/checkpoint_reader.h"
#include "images-format/page_store.h"
#include "kernel/error.h"

namespace godwit {

/// Page numbers [first, end).
struct PageNumbers {
  uint64_t first;
  uint64_t end;
};

/// Puts pages where they belong: several workers read blocks, of the checkpoint and of its parents, check
/// them in a buffer that stays in cache, and write them into processes (process_vm_writev) or files.
class MemoryFiller {
 public:
  /// `workers` 0: the caller's thread does all, within `add_…`.
  MemoryFiller(const CheckpointImage& image, unsigned workers);
  /// Stops the workers; what hasn't been begun is left out.
  ~MemoryFiller();
  MemoryFiller(const MemoryFiller&) = delete;
  MemoryFiller& operator=(const MemoryFiller&) = delete;

  /// A stretch of memory to be overwritten with zeros.
  struct ZeroRange {
    uint64_t start;
    uint64_t end;
  };
  /// Pages that another object holds.
  struct Borrowed {
    const image::MemoryObject* object;
    std::vector<PageNumbers> pages;  // ascending
  };
  /// Writes an address space's pages into process `pid`, which must not change its mappings meanwhile.
  /// `done` is called from a worker when the last page is there.
  void add_process(pid_t pid, const image::MemoryObject& object, std::vector<ZeroRange> zeros,
                   std::span<const Borrowed> borrowed, std::function<void()> done);
  /// Writes an object's pages into a file. `descriptor` must stay open.
  void add_file(int descriptor, const image::MemoryObject& object, std::function<void()> done);

  /// Bytes written so far.
  [[nodiscard]] uint64_t bytes() const;
  /// Throws what a worker has met, if anything.
  void check();

 private:
  struct Target;
  struct Job {
    std::shared_ptr<Target> target;
    const PageSource* source;
    const image::PageBlock* block;
    std::vector<BlockPiece> pieces;
  };
  void enqueue(const std::shared_ptr<Target>& target, const image::MemoryObject& object,
               std::span<const Borrowed> borrowed = {});
  void work();
  void run(const Job& job, const BlockBuffer& buffer);

  const CheckpointImage& image_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::exception_ptr failure_;
  uint64_t bytes_ = 0;
  std::atomic<bool> ending_ = false;
  std::unique_ptr<BlockBuffer> buffer_;  // of the caller's thread, without workers
  std::vector<std::thread> workers_;
};

}  // namespace godwit
