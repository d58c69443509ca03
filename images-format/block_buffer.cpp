#include "images-format/block_buffer.h"

#include <sys/mman.h>

#include "kernel/error.h"

namespace godwit {

BlockBuffer::BlockBuffer(size_t touched) {
  void* memory = ::mmap(nullptr, kBlockBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw errno_error("cannot allocate {} bytes", kBlockBytes);
  }
  bytes_ = static_cast<std::byte*>(memory);
  ::madvise(memory, touched, MADV_POPULATE_WRITE);
}

BlockBuffer::~BlockBuffer() {
  ::munmap(bytes_, kBlockBytes);
}

}  // namespace godwit
