#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "parasite/script_builder.h"
#include "restore/tree_root.h"

namespace godwit {

/// The socket files that a restore makes. One that fails takes them away again: each is told from another of
/// the same name by its inode, which the script that made it looks up.
class BoundNames {
 public:
  BoundNames() = default;
  BoundNames(const BoundNames&) = delete;
  BoundNames& operator=(const BoundNames&) = delete;
  /// Unlinks the files of which note has been taken, unless they are kept.
  ~BoundNames();

  /// The paths are those of a tree with mounts of its own.
  void start_from(TreeRoot root) { root_ = std::move(root); }

  [[nodiscard]] const TreeRoot& root() const { return root_; }

  /// Emits the look at a socket file that has just been made. `address`: of `path` in the script.
  void emit(ScriptBuilder& script, const std::string& path, uint64_t address);
  /// Takes note of what has been made so far. The scripts of all `emit`s since the last time must lie where
  /// they have been run, in memory of this process.
  void note();
  /// The restore has succeeded.
  void keep() { made_.clear(); }

 private:
  struct Awaited {
    std::string path;
    uint64_t status;  // address of a struct stat, zeroed until the file has been made
  };
  struct Made {
    std::string path;
    dev_t device;
    ino_t inode;
  };

  TreeRoot root_;
  std::vector<Awaited> awaited_;
  std::vector<Made> made_;
};

}  // namespace godwit
