#include "tests/e2e/round_trip.h"

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "kernel/error.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {

namespace {

/// The program is copied into the workload's directory: another user may not be able to reach the build.
std::string copy_program(const std::string& name, const TemporaryDirectory& directory) {
  const std::string to = directory / name;
  std::ifstream in(std::string(WORKLOAD_DIR) + "/" + name, std::ios::binary);
  std::ofstream out(to, std::ios::binary);
  out << in.rdbuf();
  out.close();
  if (!in || !out || chmod(to.c_str(), 0755) != 0) {
    throw error("cannot copy workload {} to {}", name, to);
  }
  return to;
}

/// With all its threads: the leader alone may end before them.
bool has_ended(pid_t pid) {
  return state_of(pid) == 'Z' && numbers_in(fmt::format("/proc/{}/task", pid)).size() <= 1;
}

}  // namespace

Workload::Workload(const std::string& name, uid_t uid, const std::vector<std::string>& arguments)
    : Workload(name, uid, arguments, LaunchOptions{}) {}

Workload::Workload(const std::string& name, uid_t uid, const std::vector<std::string>& arguments,
                   LaunchOptions options)
    : Workload(
          uid,
          [&](const TemporaryDirectory& directory) {
            std::vector<std::string> command = {copy_program(name, directory), directory.path()};
            command.insert(command.end(), arguments.begin(), arguments.end());
            return command;
          },
          std::move(options)) {}

Workload::Workload(uid_t uid, const Prepare& prepare, LaunchOptions options) : directory_(uid) {
  const std::vector<std::string> command = prepare(directory_);
  options.uid = uid;
  options.output = directory_ / "output";
  root_ = launch(command, options);
  const std::string ready = directory_ / "ready";
  const std::string result = directory_ / "result";
  const bool stands = wait_until([&] {
    return access(ready.c_str(), F_OK) == 0 || access(result.c_str(), F_OK) == 0 || has_ended(root_);
  });
  if (!stands || access(ready.c_str(), F_OK) != 0) {
    throw error("{} did not get ready: {}{}", command[0], try_read(directory_ / "failures").value_or(""),
                try_read(directory_ / "output").value_or(""));
  }
}

std::string Workload::verdict() {
  std::ofstream(directory_ / "go").close();
  const int status = wait_for_end(root_);
  const std::string said = try_read(directory_ / "failures").value_or("");
  const std::string output = try_read(directory_ / "output").value_or("");
  if (status == 0 && try_read(directory_ / "result").value_or("") == "pass\n") {
    return "pass";
  }
  if (status == -1) {
    return "it did not come to an end\n" + said + output;
  }
  return fmt::format("it ended with status {:#x}\n{}{}", status, said, output);
}

std::vector<RoundTripCase> every_way(const std::string& workload, Users users) {
  std::vector<RoundTripCase> cases;
  for (const int rounds : {1, 2}) {
    cases.push_back({workload, 0, rounds});
    if (users == Users::Any) {
      cases.push_back({workload, kOtherUser, rounds});
    }
  }
  return cases;
}

std::ostream& operator<<(std::ostream& out, const RoundTripCase& how) {
  return out << how.workload << " as user " << how.uid << ", " << how.rounds << " times";
}

std::string case_name(const testing::TestParamInfo<RoundTripCase>& info) {
  return info.param.workload + (info.param.uid == 0 ? "_root" : "_user") +
         (info.param.rounds == 1 ? "_once" : "_twice");
}

namespace {

bool moves_in_busy_programs(const std::string& difference) {
  for (const char* part :
       {": maps: ", ": memory: ", ": status: Vm", ": status: Threads", ": stat: vsize", ": stat: num_threads",
        ": task: threads", " thread ", ": syscall: ", "eventfd-count: "}) {
    if (difference.find(part) != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace

void dump_and_restore(pid_t root, Rest rest) {
  const TemporaryDirectory images;
  const Snapshot before = observe_at_rest(root);
  const Outcome dumped = dump(root, images / "checkpoint");
  ASSERT_TRUE(dumped.ok()) << "dump " << dumped.words();
  const Restored restored = restore(images / "checkpoint");
  ASSERT_TRUE(restored.outcome.ok()) << "restore " << restored.outcome.words();
  ASSERT_EQ(restored.root, root);
  std::vector<std::string> differences = compare_now(before, root);
  if (rest == Rest::Busy) {
    std::erase_if(differences, moves_in_busy_programs);
  }
  EXPECT_TRUE(differences.empty()) << joined(differences);
}

TEST_P(RoundTrip, IsAsBefore) {
  const RoundTripCase& how = GetParam();
  Workload workload(how.workload, how.uid);
  for (int round = 0; round < how.rounds; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round + 1));
    dump_and_restore(workload.root());
    if (HasFatalFailure()) {
      return;
    }
  }
  EXPECT_EQ(workload.verdict(), "pass");
  EXPECT_TRUE(descendants().empty()) << "tasks of the workload outlive it";
}

/// A workload that fails without a dump proves nothing.
TEST_P(ByItself, Passes) {
  const RoundTripCase& how = GetParam();
  Workload workload(how.workload, how.uid);
  const Snapshot before = observe_at_rest(workload.root());
  const std::vector<std::string> differences = compare_now(before, workload.root());
  EXPECT_TRUE(differences.empty()) << "the workload isn't at rest:\n" << joined(differences);
  EXPECT_EQ(workload.verdict(), "pass");
  EXPECT_TRUE(descendants().empty()) << "tasks of the workload outlive it";
}

}  // namespace godwit::e2e
