#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/e2e/snapshot.h"

namespace godwit::e2e {

/// A user other than root that workloads run as.
inline constexpr uid_t kOtherUser = 65534;

/// A directory in TMPDIR (else /tmp), removed with all that is in it by the destructor.
class TemporaryDirectory {
 public:
  /// Owned by `owner`, mode 0755.
  explicit TemporaryDirectory(uid_t owner = 0);
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// While it lives, orphans of the test's processes become its children (PR_SET_CHILD_SUBREAPER), so that it
/// can wait for them and their pids are free at once. The destructor kills and reaps every descendant of
/// this process: nothing that a test started outlives it.
class Reaper {
 public:
  Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;
  ~Reaper();
};

struct LaunchOptions {
  uid_t uid = 0;       // gid is the same; no supplementary groups
  std::string output;  // file for standard output and error; empty: /dev/null
  std::string working_directory = "/";
  std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C"};
  bool new_session = true;
  unsigned long namespaces = 0;    // CLONE_NEW…: in new ones of these kinds
  std::function<void()> in_child;  // right before credentials are dropped and the program is executed

  /// Adds what says how our own programs are to be tested: hidden features, options of sanitizers.
  void pass_settings();
};

/// Starts a program as a child of the test in a session of its own, with standard input from /dev/null.
/// Returns its pid. Throws Error if it can't be executed.
pid_t launch(const std::vector<std::string>& arguments, const LaunchOptions& options = {});

/// Asks `condition` again and again until it holds or `seconds` are over. Returns whether it holds.
[[nodiscard]] bool wait_until(const std::function<bool()>& condition, double seconds = 30);

/// How a command of ours ended.
struct Outcome {
  int exit_code = -1;  // -1: by a signal, or it had to be killed because it hung
  int signal = 0;
  bool hung = false;
  std::string output;  // standard output and error
  [[nodiscard]] bool ok() const { return exit_code == 0; }
  /// In words, for a test's message.
  [[nodiscard]] std::string words() const;
};

/// Runs a program to its end, at most `seconds` long, as user `uid`.
Outcome run(const std::vector<std::string>& arguments, double seconds = 60, uid_t uid = 0);

/// Runs `godwit ARGUMENTS`. The environment variable GODWIT_E2E_ARGS (words) is put in front of them.
Outcome godwit(std::vector<std::string> arguments, double seconds = 60);

/// `godwit dump -t PID -D DIRECTORY EXTRA`. If it succeeds, waits until no task of the tree is left.
Outcome dump(pid_t pid, const std::string& directory, const std::vector<std::string>& extra = {});
/// The same by -o FILE.
Outcome dump_to_file(pid_t pid, const std::string& file, const std::vector<std::string>& extra = {});

struct Restored {
  Outcome outcome;
  pid_t root = 0;  // from the pid file; a child of the test
};

/// `godwit restore -D DIRECTORY --detach --pidfile FILE EXTRA`.
Restored restore(const std::string& directory, const std::vector<std::string>& extra = {});
/// The same by -i FILE.
Restored restore_from_file(const std::string& file, const std::vector<std::string>& extra = {});

/// Waits for a child of the test. Returns its status as wait(2) gives it, -1 after `seconds`.
[[nodiscard]] int wait_for_end(pid_t child, double seconds = 30);

/// Kills the tree, by pid, and waits until it is gone.
void kill_tree(pid_t root);

/// Waits until none of these pids exists, reaping those that are children of the test.
[[nodiscard]] bool wait_until_gone(const std::vector<pid_t>& pids, double seconds = 30);

/// Descendants of the test process that are there now, zombies too.
[[nodiscard]] std::vector<pid_t> descendants();

/// Joins lines for a test's message.
[[nodiscard]] std::string joined(const std::vector<std::string>& lines);

}  // namespace godwit::e2e
