#include "restore/vdso.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "images-format/hash.h"
#include "kernel/error.h"
#include "kernel/procfs.h"

namespace godwit {

Vdso::Vdso(const image::Checkpoint& header) {
  uint64_t hash = 0;
  uint64_t code_bytes = 0;
  for (const auto& map : procfs::read_maps(getpid())) {
    const bool code = map.path == "[vdso]";
    if (!code && !map.path.starts_with("[vvar")) {
      continue;
    }
    if (pieces_.empty()) {
      start_ = map.start;
    }
    pieces_.push_back({map.start - start_, map.end - map.start, code});
    end_ = map.end;
    if (code) {
      code_bytes = map.end - map.start;
      hash = hash_bytes(
          {reinterpret_cast<const std::byte*>(map.start), code_bytes});  // NOLINT: from /proc/self/maps
    }
  }
  if (header.vdso().vdso_size() == 0) {
    return;  // none of the tasks had one
  }
  if (header.vdso().content_hash() != hash || header.vdso().vdso_size() != code_bytes ||
      header.vdso().vvar_size() != bytes() - code_bytes) {
    throw Error(
        fmt::format("the tasks ran with the vdso of another kernel build ({})", header.kernel_release()), 0,
        "restore on the kernel that they were dumped on");
  }
}

uint64_t Vdso::place_in(const image::Mm& mm) const {
  uint64_t place = 0;
  size_t piece = 0;
  for (const auto& mapping : mm.mappings()) {
    const bool code = mapping.backing() == image::Mapping::VDSO;
    if (!code && mapping.backing() != image::Mapping::VVAR) {
      continue;
    }
    if (piece == 0) {
      place = mapping.start();
    }
    if (piece >= pieces_.size() || mapping.start() != place + pieces_[piece].offset ||
        mapping.end() - mapping.start() != pieces_[piece].bytes || code != pieces_[piece].code) {
      throw error("mapping {:x}-{:x}: this kernel's vdso has other pieces", mapping.start(), mapping.end());
    }
    ++piece;
  }
  if (piece != 0 && piece != pieces_.size()) {
    throw error("mapping {:x}: only a part of the vdso is mapped there", place);
  }
  return place;
}

void Vdso::emit_move(ScriptBuilder& script, uint64_t from, uint64_t to) const {
  if (from == to || from == 0) {
    return;
  }
  if (to == 0) {
    script.call("unmap the vdso", SYS_munmap, {from, bytes()});
    return;
  }
  for (const Piece& piece : pieces_) {
    script.call(
        "move the vdso", SYS_mremap,
        {from + piece.offset, piece.bytes, piece.bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to + piece.offset});
  }
}

}  // namespace godwit
