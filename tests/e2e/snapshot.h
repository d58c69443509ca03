#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace godwit::e2e {

/// One thing that can be seen of a tree from outside: whose ("task 41", "task 41 thread 43", "tree"),
/// where it is read ("status", "stat", "maps", "fd 5") and what ("Uid").
struct FactKey {
  std::string owner;
  std::string source;
  std::string field;
  auto operator<=>(const FactKey&) const = default;
};

/// All that /proc, kcmp(2) and the like show of a tree of tasks. Numbers that mean only "the same object"
/// (inodes of pipes, sockets and shared memory) are replaced by the order of their first appearance.
struct Snapshot {
  std::map<FactKey, std::string> facts;
  std::vector<pid_t> pids;  // root first
};

/// The root and all its descendants, zombies too; root first. Empty if there is no such task.
[[nodiscard]] std::vector<pid_t> tree_of(pid_t root);

/// Looks at the tree, which should be at rest. Throws Error if it vanishes meanwhile.
[[nodiscard]] Snapshot observe(pid_t root);

/// Looks until two looks in a row see the same: whoever was in the midst of a signal handler or a short call
/// is back at rest then. After some time the last look counts.
[[nodiscard]] Snapshot observe_at_rest(pid_t root);

/// Differences in words, one a line, without those that known_differences.h names.
[[nodiscard]] std::vector<std::string> compare(const Snapshot& before, const Snapshot& after);

/// Differences between `before` and the tree as it is now; what is only of a moment goes away by looking
/// again.
[[nodiscard]] std::vector<std::string> compare_now(const Snapshot& before, pid_t root);

}  // namespace godwit::e2e
