#pragma once

#include <cstdint>
#include <vector>

#include "images-format/checkpoint.pb.h"
#include "images-format/mm.pb.h"
#include "parasite/script_builder.h"

namespace godwit {

/// The kernel's vdso of this process, with the data pages in front of it that it reads, as pieces at fixed
/// distances. Restored tasks get this very mapping, moved to where theirs was.
class Vdso {
 public:
  /// Of this process. Throws Error if it isn't the one that the checkpoint's tasks had.
  explicit Vdso(const image::Checkpoint& header);

  [[nodiscard]] size_t bytes() const { return end_ - start_; }
  [[nodiscard]] uint64_t start() const { return start_; }

  /// Where a task of the image has it; 0: nowhere. Throws Error if its pieces are elsewhere than this
  /// kernel puts them.
  [[nodiscard]] uint64_t place_in(const image::Mm& mm) const;
  /// Emits the move from one place to another; to 0: its removal.
  void emit_move(ScriptBuilder& script, uint64_t from, uint64_t to) const;

 private:
  struct Piece {
    uint64_t offset;  // from the first piece
    uint64_t bytes;
    bool code;
  };
  uint64_t start_ = 0;
  uint64_t end_ = 0;
  std::vector<Piece> pieces_;
};

}  // namespace godwit
