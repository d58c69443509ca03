#pragma once

#include <sys/types.h>

#include <atomic>
#include <deque>
#include <exception>
#include <thread>
#include <vector>

#include "dump/freezer.h"
#include "kernel/procfs.h"

namespace godwit {

/// Reads the smaps of a frozen tree, of a large one in two threads: of all that is read of a task, it is what
/// takes the kernel longest, which looks at every page.
class MapsReader {
 public:
  MapsReader() = default;
  MapsReader(const MapsReader&) = delete;
  MapsReader& operator=(const MapsReader&) = delete;
  ~MapsReader();

  /// Once. The other thread, if `may_help` and where it can be had, begins at the end.
  void start(const std::vector<FrozenTask>& tasks, bool may_help);
  /// The mappings of one task, with flags: ask in the order in which the tasks were given, once each. Throws
  /// Error.
  [[nodiscard]] std::vector<procfs::Map> take(pid_t pid);

 private:
  struct Reading {
    pid_t pid = 0;
    std::atomic<bool> begun{false};
    std::atomic<bool> done{false};
    std::vector<procfs::Map> maps;
    std::exception_ptr failure;
  };

  /// False: the other thread has begun with it.
  static bool read(Reading& reading) noexcept;
  void read_from_the_end() noexcept;

  std::deque<Reading> readings_;
  size_t next_ = 0;
  std::atomic<bool> stop_{false};
  std::thread helper_;
};

}  // namespace godwit
