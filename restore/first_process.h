#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernel/fd.h"
#include "restore/region.h"

namespace godwit {

/// The root of a tree that has namespaces of its own, made before everything else: they exist through it, it
/// furnishes them from inside, and what the tree needs is then made in them. At last it becomes the root
/// task. Until then it is a copy of this process that shares its descriptor table.
class FirstProcess {
 public:
  struct Making {
    uint64_t namespaces = 0;  // CLONE_NEW…
    std::vector<pid_t> pids;  // see clone3(2), set_tid
    bool sibling = false;     // a child of our parent
    /// What has to be done from outside before anything can be done inside, as the id maps.
    std::function<void(pid_t)> from_outside;
    std::function<void()> inside;
  };

  /// Returns when `inside` has been done there. Throws Error, also what `inside` has thrown.
  explicit FirstProcess(const Making& making);
  FirstProcess(const FirstProcess&) = delete;
  FirstProcess& operator=(const FirstProcess&) = delete;
  /// Ends the process unless it has been released.
  ~FirstProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// A descriptor of its namespace. Throws Error.
  [[nodiscard]] Fd namespace_of(const char* kind) const;

  /// Takes over our limit of descriptors, gets a descriptor table and a view of the region of its own, and
  /// runs a script. `region` is mapped here, shareable. Throws Error.
  void become(const Region& region, uint64_t script);
  /// Its end is somebody else's affair from now on.
  void release() { released_ = true; }

 private:
  struct Words;
  [[noreturn]] void live(const Making& making) noexcept;
  [[noreturn]] void fail(const char* words) noexcept;
  void wait_for(uint32_t phase);
  void end();
  [[noreturn]] void tell_end() const;

  pid_t pid_ = 0;
  Fd pidfd_;
  Fd coordinator_;  // a pidfd; the first process, which shares our descriptors, looks at it
  Words* words_;    // shared with it
  bool released_ = false;
};

}  // namespace godwit
