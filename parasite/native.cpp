#include "parasite/native.h"

#include <sys/mman.h>

#include "parasite/engine/engine.h"

namespace godwit {

namespace {

void* to_pointer(uint64_t address) {
  return reinterpret_cast<void*>(
      address);  // NOLINT(performance-no-int-to-ptr): scripts hold addresses as numbers
}

uint64_t map(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw errno_error("cannot map {} bytes for scripts", bytes);
  }
  return reinterpret_cast<uint64_t>(memory);
}

}  // namespace

NativeScripts::NativeScripts(size_t bytes)
    : code_(map(engine_code().size())),
      code_bytes_(engine_code().size()),
      data_(map(bytes)),
      data_bytes_(bytes) {
  std::memcpy(to_pointer(code_), engine_code().data(), code_bytes_);
  if (::mprotect(to_pointer(code_), code_bytes_, PROT_READ | PROT_EXEC) != 0) {
    throw errno_error("cannot make the engine executable");
  }
}

NativeScripts::~NativeScripts() {
  ::munmap(to_pointer(code_), code_bytes_);
  ::munmap(to_pointer(data_), data_bytes_);
}

void NativeScripts::run(ScriptBuilder& builder) const {
  if (builder.size() > data_bytes_) {
    throw error("a script of {} bytes doesn't fit into {}", builder.size(), data_bytes_);
  }
  const std::span room(static_cast<std::byte*>(to_pointer(data_)), builder.size());
  builder.write_to(room);
  reinterpret_cast<void (*)(script::Script*)>(to_pointer(code_))(
      static_cast<script::Script*>(to_pointer(data_)));
  builder.load(room);
  script::Script header;
  std::memcpy(&header, room.data(), sizeof header);
  builder.check(header);
}

}  // namespace godwit
