#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/e2e/harness.h"

namespace godwit::e2e {

/// Whom a workload can run as.
enum class Users { Any, RootOnly };

/// A program that keeps to the protocol of tests/workloads/workload.h in its own directory, as some user,
/// from its start to its verdict.
class Workload {
 public:
  /// Starts tests/workloads/NAME and waits until it is ready. Throws Error if it doesn't get there.
  Workload(const std::string& name, uid_t uid, const std::vector<std::string>& arguments = {});
  /// The same, started otherwise: `options` without user and output.
  Workload(const std::string& name, uid_t uid, const std::vector<std::string>& arguments,
           LaunchOptions options);
  /// Starts any program: `prepare` may put files into the directory and returns the command.
  using Prepare = std::function<std::vector<std::string>(const TemporaryDirectory&)>;
  Workload(uid_t uid, const Prepare& prepare, LaunchOptions options = {});

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

/// Busy: the program goes on allocating and starting threads while it is looked at, so that only what doesn't
/// move can be compared.
enum class Rest { Quiet, Busy };

/// Dumps and restores the tree of `root` and compares. Reports failures to gtest.
void dump_and_restore(pid_t root, Rest rest = Rest::Quiet);

}  // namespace godwit::e2e
