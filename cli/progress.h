#pragma once

#include <cstdint>
#include <string_view>

namespace godwit::cli {

/// How far long work has come: one line on the terminal, drawn again and again. Nothing is drawn when
/// stderr isn't a terminal, or in the first 0.3 s. It goes away with its object.
class ProgressLine {
 public:
  explicit ProgressLine(std::string_view command);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { clear(); }

  /// Cheap enough to be called often. `total_bytes` 0: not known.
  void update(std::string_view stage, uint64_t bytes, uint64_t total_bytes, uint64_t tasks);
  /// Wipes the line, so that something else can be written there.
  static void clear();

 private:
  std::string_view command_;
  bool terminal_;
  uint64_t next_draw_ns_;
};

}  // namespace godwit::cli
