#pragma once

#include "parasite/script_builder.h"

namespace godwit {

/// Runs scripts in this process, by the same engine that runs them elsewhere: what the coordinator of a
/// restore makes itself is written down in the same way as what tasks make.
class NativeScripts {
 public:
  /// Maps the engine and `bytes` of room for one script at a time. Throws Error.
  explicit NativeScripts(size_t bytes = 1 << 20);
  NativeScripts(const NativeScripts&) = delete;
  NativeScripts& operator=(const NativeScripts&) = delete;
  ~NativeScripts();

  /// An empty script that is to be run by `run`.
  [[nodiscard]] ScriptBuilder script() const { return ScriptBuilder(data_); }
  /// Runs it and loads its results. Throws the Error of the operation that failed.
  void run(ScriptBuilder& builder) const;

 private:
  uint64_t code_;
  size_t code_bytes_;
  uint64_t data_;
  size_t data_bytes_;
};

}  // namespace godwit
