#include "restore/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images-format/page_store.h"
#include "images-format/shared_memory.pb.h"
#include "kernel/error.h"

namespace godwit {

namespace {

Fd make_memfd(const image::SharedMemory& memory) {
  Fd fd(::memfd_create(memory.name().c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(memory.size())) != 0 ||
      ::fchmod(fd.get(), memory.mode() & 07777) != 0 || ::fchown(fd.get(), memory.uid(), memory.gid()) != 0) {
    throw errno_error("cannot make memfd {} of {} bytes", memory.name(), memory.size());
  }
  return fd;
}

/// MAP_SHARED | MAP_ANONYMOUS memory is a file without a descriptor; its map_files link opens it.
Fd make_anonymous(const image::SharedMemory& memory) {
  void* mapped = ::mmap(nullptr, memory.size(), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    throw errno_error("cannot make shared memory of {} bytes", memory.size());
  }
  const auto start = reinterpret_cast<uint64_t>(mapped);
  try {
    Fd fd = open_file(fmt::format("/proc/self/map_files/{:x}-{:x}", start, start + memory.size()), O_RDWR);
    ::munmap(mapped, memory.size());
    return fd;
  } catch (...) {
    ::munmap(mapped, memory.size());
    throw;
  }
}

}  // namespace

SharedMemoryRegions::SharedMemoryRegions(const CheckpointImage& image, int first_descriptor)
    : next_(first_descriptor) {
  for (const auto* memory : image.all<image::SharedMemory>()) {
    const Fd made = memory->memfd() ? make_memfd(*memory) : make_anonymous(*memory);
    Fd moved(::fcntl(made.get(), F_DUPFD_CLOEXEC, next_));
    if (!moved) {
      throw errno_error("cannot number the descriptor of shared memory {}", memory->id());
    }
    next_ = moved.get() + 1;
    numbers_[memory->id()] = moved.get();
    owned_.push_back(std::move(moved));
  }
}

void SharedMemoryRegions::finish(const CheckpointImage& image) const {
  for (const auto* memory : image.all<image::SharedMemory>()) {
    const int fd = numbers_.at(memory->id());
    // Its last page has been written whole.
    if (memory->memfd() && memory->size() % kPageSize != 0 &&
        ::ftruncate(fd, static_cast<off_t>(memory->size())) != 0) {
      throw errno_error("cannot set the size of memfd {}", memory->name());
    }
    if (memory->memfd() && memory->seals() != 0 && ::fcntl(fd, F_ADD_SEALS, memory->seals()) != 0) {
      throw errno_error("cannot seal memfd {}", memory->name());
    }
  }
}

}  // namespace godwit
