#pragma once

#include <cstdint>
#include <ctime>
#include <string>

#include "images-format/checkpoint_reader.h"
#include "images-format/memory.pb.h"
#include "images-format/page_store.h"

namespace godwit {

/// Fills a new, empty file of `size` bytes with what `object` has; holes stay holes, the size isn't set.
/// Throws Error; `name` stands in it.
void fill_file(int fd, const std::string& name, uint64_t size, const image::MemoryObject& object,
               const PageSource& pages);

/// Throws Error if the image hasn't it.
[[nodiscard]] const image::MemoryObject& find_memory_object(const CheckpointImage& image, uint64_t id);

[[nodiscard]] timespec to_timespec(int64_t nanoseconds);

}  // namespace godwit
