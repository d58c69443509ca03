#pragma once

#include <sys/types.h>

#include <set>

#include "kernel/kcmp.h"

namespace godwit {

/// Tasks, of which each stands for those that share something with it. n tasks are told apart by
/// n log n comparisons.
class Sharers {
 public:
  explicit Sharers(Shared what) : tasks_(Less{what}) {}
  /// The task that came first of all that share with `pid`: `pid` itself if it is the first. Throws Error.
  pid_t first(pid_t pid) { return *tasks_.insert(pid).first; }

 private:
  struct Less {
    Shared what;
    bool operator()(pid_t a, pid_t b) const { return a != b && compare(what, a, b) < 0; }
  };
  std::set<pid_t, Less> tasks_;
};

}  // namespace godwit
