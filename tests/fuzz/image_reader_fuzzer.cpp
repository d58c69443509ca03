// libFuzzer's entry; built with -DGODWIT_FUZZ=ON, by clang.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/image_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  godwit::read_hostile_image(std::as_bytes(std::span(data, size)));
  return 0;
}
