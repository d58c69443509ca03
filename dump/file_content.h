#pragma once

#include <cstdint>
#include <string>

#include "images-format/memory.pb.h"
#include "images-format/page_store.h"

namespace godwit {

/// Writes the content of a file of `size` bytes into the payload: what SEEK_DATA finds becomes pages, the
/// rest stays a hole. Returns its index as memory object `id`. Throws Error; `name` stands in it.
[[nodiscard]] image::MemoryObject write_file_content(int fd, const std::string& name, uint64_t size,
                                                     PageSink& sink, uint64_t id);

}  // namespace godwit
