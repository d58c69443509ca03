#pragma once

#include <cstddef>
#include <span>

#include "images-format/page_store.h"

namespace godwit {

/// Room for one block on its way from or to the payload, as small as is good for the cache.
class BlockBuffer {
 public:
  /// The first `touched` bytes have their pages from the start. Throws Error.
  explicit BlockBuffer(size_t touched);
  BlockBuffer(const BlockBuffer&) = delete;
  BlockBuffer& operator=(const BlockBuffer&) = delete;
  ~BlockBuffer();

  /// At most kBlockBytes.
  [[nodiscard]] std::span<std::byte> first(size_t bytes) const { return {bytes_, bytes}; }

 private:
  std::byte* bytes_;
};

}  // namespace godwit
