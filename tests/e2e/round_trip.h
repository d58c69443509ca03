#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/e2e/harness.h"

namespace godwit::e2e {

/// Whom a workload can run as.
enum class Users { Any, RootOnly };

/// A workload program in its own directory, as some user, from its start to its verdict.
class Workload {
 public:
  /// Starts tests/workloads/NAME and waits until it is ready. Throws Error if it doesn't get there.
  Workload(const std::string& name, uid_t uid, const std::vector<std::string>& arguments = {});

  [[nodiscard]] pid_t root() const { return root_; }
  void set_root(pid_t root) { root_ = root; }
  [[nodiscard]] const TemporaryDirectory& directory() const { return directory_; }
  /// Lets it go on, and waits for its end. Returns "pass", or what went wrong in words.
  [[nodiscard]] std::string verdict();

 private:
  TemporaryDirectory directory_;
  pid_t root_ = 0;
};

/// One way to run a workload.
struct RoundTripCase {
  std::string workload;
  uid_t uid = 0;
  int rounds = 1;  // dump and restore, so often
};

/// For gtest's messages.
std::ostream& operator<<(std::ostream& out, const RoundTripCase& how);

/// Root and another user, once and twice in a row.
[[nodiscard]] std::vector<RoundTripCase> every_way(const std::string& workload, Users users = Users::Any);

/// The common check around every workload: look, dump, gone, restore, look again, compare; then the
/// workload's own verdict; and nothing is left.
class RoundTrip : public testing::TestWithParam<RoundTripCase> {
 protected:
  Reaper reaper_;
};

/// The workload without any dump: one that fails by itself, or isn't at rest, proves nothing.
class ByItself : public testing::TestWithParam<RoundTripCase> {
 protected:
  Reaper reaper_;
};

[[nodiscard]] std::string case_name(const testing::TestParamInfo<RoundTripCase>& info);

/// Dumps and restores the tree of `workload` and compares. Reports failures to gtest.
void dump_and_restore(Workload& workload, const std::vector<std::string>& dump_arguments = {},
                      const std::vector<std::string>& restore_arguments = {});

}  // namespace godwit::e2e
