#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "kernel/procfs.h"

namespace godwit {

/// Two pieces of a task's own code, which stay when the engine's memory is gone.
struct OwnCode {
  uint64_t call = 0;      // a `syscall` instruction, soon followed by `ret`
  size_t call_words = 0;  // 64-bit words that what stands between them takes from the stack
  uint64_t restorer = 0;  // the C library's return from signal handlers: calls rt_sigreturn(2)
};

/// Looks for them in the vdso, in the C library or the executable; what it has found in a file, it finds in
/// other tasks' mappings of that file without a search.
class OwnCodeFinder {
 public:
  /// `maps`: the task's. Nothing: there is no such code, or it isn't where one would look. What is found
  /// comes from a search of the same file in perhaps another task: compare with `matches` before use.
  [[nodiscard]] std::optional<OwnCode> find(pid_t pid, const std::vector<procfs::Map>& maps);

  static constexpr size_t kCallBytes = 48;
  static constexpr size_t kRestorerBytes = 9;
  /// Is this what lies at `code.call` (kCallBytes) and at `code.restorer` (kRestorerBytes)?
  [[nodiscard]] static bool matches(const OwnCode& code, std::span<const std::byte> at_call,
                                    std::span<const std::byte> at_restorer);

 private:
  using Piece = std::tuple<dev_t, uint64_t, uint64_t>;  // device, inode, offset of a mapping
  /// Offsets in the mapping.
  struct Found {
    std::optional<uint64_t> call;
    size_t call_words = 0;
    std::optional<uint64_t> restorer;
  };

  class Code;

  [[nodiscard]] static Found search(pid_t pid, const procfs::Map& map, bool call, bool restorer);

  std::map<Piece, Found> found_;
};

}  // namespace godwit
