#include "restore/memory.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "images-format/parent.h"
#include "kernel/cancel.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

void write_to_file(int descriptor, uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t put = ::pwrite(descriptor, data.data(), data.size(), static_cast<off_t>(offset));
    if (put <= 0) {
      throw errno_error("cannot write {} bytes of shared memory", data.size());
    }
    data = data.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
}

/// The parts of a block's pieces that lie in `pages`.
std::vector<BlockPiece> overlap(std::span<const BlockPiece> pieces, const std::vector<PageNumbers>& pages) {
  std::vector<BlockPiece> found;
  for (const BlockPiece& piece : pieces) {
    auto range = std::partition_point(pages.begin(), pages.end(),
                                      [&](const PageNumbers& one) { return one.end <= piece.first_page; });
    for (; range != pages.end() && range->first < piece.first_page + piece.pages; ++range) {
      const uint64_t first = std::max(range->first, piece.first_page);
      const uint64_t end = std::min(range->end, piece.first_page + piece.pages);
      found.push_back({first, piece.page_in_block + (first - piece.first_page), end - first});
    }
  }
  return found;
}

}  // namespace

struct MemoryFiller::Target {
  pid_t pid = 0;  // 0: a file
  int descriptor = -1;
  std::vector<ZeroRange> zeros;
  std::function<void()> done;
  std::atomic<size_t> left = 0;

  /// All pieces of a block. Into a process by one call, if nothing is in its way.
  void write(std::span<const BlockPiece> pieces, std::span<const std::byte> block) const {
    if (pid != 0 && write_at_once(pieces, block)) {
      return;
    }
    for (const BlockPiece& piece : pieces) {
      const auto data = block.subspan(piece.page_in_block * kPageSize, piece.pages * kPageSize);
      if (pid == 0) {
        write_to_file(descriptor, piece.first_page * kPageSize, data);
      } else {
        RemoteMemory(pid).write(piece.first_page * kPageSize, data);
      }
    }
  }
  [[nodiscard]] bool write_at_once(std::span<const BlockPiece> pieces,
                                   std::span<const std::byte> block) const {
    std::array<iovec, kPagesPerBlock> local{};
    std::array<iovec, kPagesPerBlock> remote{};
    size_t total = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const size_t size = pieces[i].pages * kPageSize;
      local[i] = {const_cast<std::byte*>(&block[pieces[i].page_in_block * kPageSize]), size};
      // NOLINTNEXTLINE(performance-no-int-to-ptr): addresses in another process
      remote[i] = {reinterpret_cast<void*>(pieces[i].first_page * kPageSize), size};
      total += size;
    }
    return ::process_vm_writev(pid, local.data(), pieces.size(), remote.data(), pieces.size(), 0) ==
           static_cast<ssize_t>(total);
  }
  /// Until all is written, or `ending`.
  void write_zeros(const std::atomic<bool>& ending) const {
    static const std::array<std::byte, size_t{16} * kPageSize> zero{};
    for (const ZeroRange& range : zeros) {
      for (uint64_t at = range.start; at < range.end && !ending; at += zero.size()) {
        check_cancelled();
        RemoteMemory(pid).write(at, std::span(zero).first(std::min<uint64_t>(zero.size(), range.end - at)));
      }
    }
  }
  void one_done(const std::atomic<bool>& ending) {
    if (left.fetch_sub(1) == 1) {
      write_zeros(ending);
      done();
    }
  }
};

MemoryFiller::MemoryFiller(const CheckpointImage& image, unsigned workers) : image_(image) {
  for (unsigned i = 0; i < workers; ++i) {
    workers_.emplace_back([this] { work(); });
  }
}

MemoryFiller::~MemoryFiller() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void MemoryFiller::add_process(pid_t pid, const image::MemoryObject& object, std::vector<ZeroRange> zeros,
                               std::span<const Borrowed> borrowed, std::function<void()> done) {
  auto target = std::make_shared<Target>();
  target->pid = pid;
  target->zeros = std::move(zeros);
  target->done = std::move(done);
  enqueue(target, object, borrowed);
}

void MemoryFiller::add_file(int descriptor, const image::MemoryObject& object, std::function<void()> done) {
  auto target = std::make_shared<Target>();
  target->descriptor = descriptor;
  target->done = std::move(done);
  enqueue(target, object);
}

void MemoryFiller::enqueue(const std::shared_ptr<Target>& target, const image::MemoryObject& object,
                           std::span<const Borrowed> borrowed) {
  std::vector<Job> jobs;
  jobs.reserve(static_cast<size_t>(object.blocks_size()));
  for_each_block_with_parents(
      image_, object,
      [&](const PageSource& source, const image::PageBlock& block, std::span<const BlockPiece> pieces) {
        jobs.push_back({target, &source, &block, {pieces.begin(), pieces.end()}});
      });
  for (const Borrowed& from : borrowed) {
    for_each_block_with_parents(
        image_, *from.object,
        [&](const PageSource& source, const image::PageBlock& block, std::span<const BlockPiece> pieces) {
          std::vector<BlockPiece> wanted = overlap(pieces, from.pages);
          if (!wanted.empty()) {
            jobs.push_back({target, &source, &block, std::move(wanted)});
          }
        });
  }
  // One more than there are jobs, so that nothing is done before all are counted.
  target->left = jobs.size() + 1;
  if (workers_.empty()) {
    if (!buffer_) {
      buffer_ = std::make_unique<BlockBuffer>(kSmallBlockPages * kPageSize);
    }
    for (const Job& job : jobs) {
      run(job, *buffer_);
    }
  } else {
    const std::lock_guard lock(mutex_);
    for (Job& job : jobs) {
      jobs_.push_back(std::move(job));
    }
    wake_.notify_all();
  }
  target->one_done(ending_);
}

void MemoryFiller::run(const Job& job, const BlockBuffer& buffer) {
  const std::span<std::byte> block = buffer.first(job.block->pages() * kPageSize);
  job.source->read_block(*job.block, block);
  job.target->write(job.pieces, block);
  {
    const std::lock_guard lock(mutex_);
    bytes_ += block.size();
  }
  job.target->one_done(ending_);
}

void MemoryFiller::work() {
  const BlockBuffer buffer(kBlockBytes);
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (ending_) {
      return;
    }
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    try {
      run(job, buffer);
      lock.lock();
    } catch (...) {
      lock.lock();
      failure_ = std::current_exception();
      ending_ = true;
      wake_.notify_all();
    }
  }
}

uint64_t MemoryFiller::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void MemoryFiller::check() {
  const std::lock_guard lock(mutex_);
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

}  // namespace godwit
