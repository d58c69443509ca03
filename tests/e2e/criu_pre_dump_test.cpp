// Pre-dumps and the dumps that build on them, as clients of criu ask for them: by RPC, by command line, and
// through runc.
#include <filesystem>

#include "compat/stats.pb.h"
#include "kernel/userfaultfd.h"
#include "tests/e2e/criu_rpc.h"
#include "tests/e2e/page_counts.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/round_trip.h"
#include "tests/e2e/runc_service.h"

namespace godwit::e2e {
namespace {

#define SKIP_WITHOUT_TRACKING()                                          \
  if (!userfaultfd::can_track_writes()) {                                \
    GTEST_SKIP() << "this kernel can't track writes, or that is hidden"; \
  }

compat::stats::DumpStats dump_stats(const std::string& directory) {
  constexpr size_t kHead = 12;
  const std::string content = try_read(directory + "/stats-dump").value_or("");
  compat::stats::Stats stats;
  EXPECT_GT(content.size(), kHead);
  EXPECT_TRUE(stats.ParseFromString(content.substr(std::min(kHead, content.size()))));
  return stats.dump();
}

/// What a client is told agrees with the checkpoint.
void expect_stats(const std::string& images, const std::string& work) {
  const compat::stats::DumpStats stats = dump_stats(work);
  const PageCounts counts = page_counts(images);
  EXPECT_EQ(stats.pages_skipped_parent(), counts.in_parent);
  EXPECT_EQ(stats.pages_written(), counts.present);
  EXPECT_GE(stats.pages_scanned(), counts.in_parent + counts.present + counts.inherited);
}

class CriuPreDump : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_TRACKING() }

  [[nodiscard]] Fd directory(const std::string& name) const {
    std::filesystem::create_directory(images_ / name);
    return open_file(images_ / name, O_RDONLY | O_DIRECTORY);
  }

  static void let_change(const Workload& workload, int round) {
    std::filesystem::create_directory(workload.directory() / fmt::format("round-{}", round));
    const std::string did = workload.directory() / fmt::format("did-{}", round);
    ASSERT_TRUE(wait_until([&] { return exists(did); })) << did;
  }

  Reaper reaper_;
  TemporaryDirectory images_;
};

/// Several rounds over one connection, as that kind of request allows, and the dump over the same.
TEST_F(CriuPreDump, RoundsByRpc) {
  Workload workload("rounds", 0);
  CriuClient client;
  const auto request = [&](rpc::RequestType type, const Fd& images, const std::string& parent) {
    rpc::Request asked = criu_request(type, images);
    asked.mutable_opts()->set_pid(workload.root());
    asked.mutable_opts()->set_log_file("dump.log");
    asked.mutable_opts()->set_track_mem(true);
    asked.mutable_opts()->set_parent_img(parent);
    return asked;
  };
  const Fd first = directory("first");
  const Fd second = directory("second");
  const Fd last = directory("last");
  rpc::Response response = client.ask(request(rpc::PRE_DUMP, first, ""));
  ASSERT_TRUE(response.success()) << response.cr_errmsg();
  EXPECT_EQ(response.type(), rpc::PRE_DUMP);
  let_change(workload, 1);
  response = client.ask(request(rpc::PRE_DUMP, second, "../first"));
  ASSERT_TRUE(response.success()) << response.cr_errmsg();
  expect_stats(images_ / "second", images_ / "second");
  let_change(workload, 2);
  const std::vector<pid_t> tree = tree_of(workload.root());
  response = client.ask(request(rpc::DUMP, last, "../second"));
  ASSERT_TRUE(response.success()) << response.cr_errmsg();
  EXPECT_EQ(client.wait_for_end(), 0);
  EXPECT_GT(page_counts(images_ / "last").in_parent, 1000U);
  expect_stats(images_ / "last", images_ / "last");
  ASSERT_TRUE(wait_until_gone(tree));
  const Restored restored = restore(images_ / "last");
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

/// The other kind is one round a connection.
TEST_F(CriuPreDump, OneRoundByRpc) {
  Workload workload("heartbeat", kOtherUser);
  CriuClient client;
  const Fd images = directory("first");
  rpc::Request request = criu_request(rpc::SINGLE_PRE_DUMP, images);
  request.mutable_opts()->set_pid(workload.root());
  request.mutable_opts()->set_notify_scripts(true);
  const rpc::Response response = client.ask(request);
  ASSERT_TRUE(response.success()) << response.cr_errmsg();
  EXPECT_EQ(response.type(), rpc::SINGLE_PRE_DUMP);
  EXPECT_EQ(client.moments, Moments{"pre-dump"});
  EXPECT_EQ(client.wait_for_end(), 0);
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(CriuPreDump, RoundsByCommandLine) {
  Workload workload("rounds", kOtherUser);
  const std::string pid = std::to_string(workload.root());
  for (const char* name : {"first", "second", "last"}) {
    static_cast<void>(directory(name));
  }
  Outcome done = run({CRIU_BINARY, "pre-dump", "-t", pid, "-D", images_ / "first", "-o", "log"});
  ASSERT_TRUE(done.ok()) << done.words();
  let_change(workload, 1);
  done = run({CRIU_BINARY, "pre-dump", "-t", pid, "-D", images_ / "second", "--prev-images-dir", "../first",
              "--track-mem", "-o", "log"});
  ASSERT_TRUE(done.ok()) << done.words();
  let_change(workload, 2);
  const std::vector<pid_t> tree = tree_of(workload.root());
  done = run({CRIU_BINARY, "dump", "-t", pid, "-D", images_ / "last", "--prev-images-dir", "../second",
              "--track-mem", "-o", "log"});
  ASSERT_TRUE(done.ok()) << done.words();
  expect_stats(images_ / "last", images_ / "last");
  ASSERT_TRUE(wait_until_gone(tree));
  done = run({CRIU_BINARY, "restore", "-D", images_ / "last", "-o", "log", "-d", "--pidfile", "pid"});
  ASSERT_TRUE(done.ok()) << done.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(CriuPreDump, AParentThatIsNotThereIsRefusedByName) {
  const pid_t pid = launch({"/bin/sleep", "1000"});
  const Outcome done = run({CRIU_BINARY, "dump", "-t", std::to_string(pid), "-D", images_.path(),
                            "--prev-images-dir", "../nowhere", "-o", "log"});
  EXPECT_FALSE(done.ok());
  const std::string log = try_read(images_ / "log").value_or("");
  EXPECT_NE(log.find("../nowhere"), std::string::npos) << log;
  EXPECT_TRUE(wait_until([&] { return state_of(pid) == 'S'; }));
}

/// redis, whose data changes between the rounds, and which is asked from outside before and after.
class RuncRounds : public RuncService {
 protected:
  void SetUp() override { SKIP_WITHOUT_TRACKING() }

  static std::string ask(const std::string& command) {
    return shell("redis-cli -h " + Network::address() + " " + command).output;
  }
  /// Keys from `first` to `last` become a text of some length that tells the key and `what`.
  static void set(int first, int last, const std::string& what) {
    ASSERT_EQ(ask(fmt::format("eval 'for i = {}, {} do redis.call(\"set\", \"key\" .. i, string.rep(i .. "
                              "\"{}\", 20)) end return 1' 0",
                              first, last, what)),
              "1\n");
  }
  /// How many of these keys have exactly that value.
  static std::string right(int first, int last, const std::string& what) {
    return ask(
        fmt::format("eval 'local n = 0 for i = {}, {} do if redis.call(\"get\", \"key\" .. i) == "
                    "string.rep(i .. \"{}\", 20) then n = n + 1 end end return n' 0",
                    first, last, what));
  }

  [[nodiscard]] Outcome checkpoint(const std::string& name, const std::string& options) const {
    return container_.runc(fmt::format("checkpoint --image-path '{}' --work-path '{}' {} {}",
                                       container_.state / name, container_.state / ("work-" + name), options,
                                       container_.name));
  }
  [[nodiscard]] Outcome restore(const std::string& name) const {
    return container_.runc(fmt::format("restore --image-path '{}' --work-path '{}' --detach --bundle '{}' {}",
                                       container_.state / name, container_.state / ("work-" + name),
                                       container_.bundle.path(), container_.name));
  }
};

TEST_F(RuncRounds, RedisWithDataThatChanges) {
  constexpr int kKeys = 50000;
  ASSERT_NO_FATAL_FAILURE(
      start("['/usr/bin/redis-server', '--protected-mode', 'no', '--save', '', '--dir', '/tmp']", "redis"));
  ASSERT_TRUE(wait_until([&] { return ask("ping") == "PONG\n"; }, 10)) << ask("ping");
  ASSERT_NO_FATAL_FAILURE(set(1, kKeys, "a"));
  for (int time = 0; time < 2; ++time) {
    SCOPED_TRACE(time);
    const auto named = [&](const char* name) { return fmt::format("{}-{}", name, time); };
    Outcome done = checkpoint(named("first"), "--pre-dump");
    ASSERT_TRUE(done.ok()) << done.words();
    ASSERT_NO_FATAL_FAILURE(set(1000, 1999, "b"));
    done = checkpoint(named("second"), "--pre-dump --parent-path ../" + named("first"));
    ASSERT_TRUE(done.ok()) << done.words();
    ASSERT_NO_FATAL_FAILURE(set(3000, 3499, "c"));
    ASSERT_EQ(ask("del key7"), "1\n");
    done = checkpoint(named("last"), "--parent-path ../" + named("second"));
    ASSERT_TRUE(done.ok()) << done.words();

    const PageCounts first = page_counts(container_.state / named("first"));
    const PageCounts last = page_counts(container_.state / named("last"));
    EXPECT_GT(first.present, 2000U);
    EXPECT_LT(last.present, first.present / 2);
    EXPECT_GT(last.in_parent, first.present / 2);
    expect_stats(container_.state / named("last"), container_.state / ("work-" + named("last")));

    done = restore(named("last"));
    ASSERT_TRUE(done.ok()) << done.words();
    EXPECT_EQ(ask("dbsize"), fmt::format("{}\n", kKeys - 1));
    EXPECT_EQ(right(1, 999, "a"), "998\n");
    EXPECT_EQ(right(1000, 1999, "b"), "1000\n");
    EXPECT_EQ(right(3000, 3499, "c"), "500\n");
    EXPECT_EQ(right(3500, kKeys, "a"), fmt::format("{}\n", kKeys - 3499));
    ASSERT_NO_FATAL_FAILURE(set(1, kKeys, "a"));
  }
}

}  // namespace
}  // namespace godwit::e2e
