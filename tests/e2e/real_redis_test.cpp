#include <unistd.h>

#include "kernel/error.h"
#include "tests/e2e/pipeline.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {

namespace {

constexpr const char* kServer = "/usr/bin/redis-server";
constexpr const char* kClient = "/usr/bin/redis-cli";

constexpr const char* kFill =
    "for i = 1, 50000 do redis.call('set', 'key:' .. i, 'value:' .. i * 7) end "
    "for i = 1, 1000 do redis.call('rpush', 'list', i); redis.call('zadd', 'sorted', i, 'm' .. i); "
    "redis.call('hset', 'hash', 'f' .. i, i) end "
    "redis.call('set', 'mortal', 'x', 'EX', 1000) return 'done'";

/// Returns the number of things that are wrong.
constexpr const char* kCheck =
    "local wrong = 0 "
    "for i = 1, 50000 do if redis.call('get', 'key:' .. i) ~= 'value:' .. i * 7 then wrong = wrong + 1 end "
    "end "
    "for i = 1, 1000 do "
    "if redis.call('lindex', 'list', i - 1) ~= tostring(i) then wrong = wrong + 1 end "
    "if tonumber(redis.call('zscore', 'sorted', 'm' .. i)) ~= i then wrong = wrong + 1 end "
    "if redis.call('hget', 'hash', 'f' .. i) ~= tostring(i) then wrong = wrong + 1 end end "
    "local ttl = redis.call('ttl', 'mortal') if ttl < 500 or ttl > 1000 then wrong = wrong + 1 end "
    "return wrong";

class RealRedis : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_program(kServer) || !have_program(kClient)) {
      GTEST_SKIP() << "no redis-server";
    }
  }

  void start() {
    LaunchOptions options;
    options.uid = kOtherUser;
    options.output = directory_ / "output";
    options.working_directory = directory_.path();
    root_ = launch({kServer, "--port", std::to_string(port_), "--bind", "127.0.0.1", "--unixsocket",
                    directory_ / "socket", "--dir", directory_.path(), "--save", "", "--daemonize", "no"},
                   options);
    ASSERT_TRUE(wait_until([&] { return ask({"ping"}) == "PONG\n"; }))
        << try_read(directory_ / "output").value_or("");
    ASSERT_EQ(ask({"eval", kFill, "0"}), "done\n");
  }

  /// By the unix socket, or by TCP.
  std::string ask(const std::vector<std::string>& words, bool by_tcp = false) {
    std::vector<std::string> command = {kClient};
    const std::vector<std::string> where = by_tcp ? std::vector<std::string>{"-p", std::to_string(port_)}
                                                  : std::vector<std::string>{"-s", directory_ / "socket"};
    command.insert(command.end(), where.begin(), where.end());
    command.insert(command.end(), words.begin(), words.end());
    return run(command).output;
  }

  void round_trip() {
    // Clients of established connections are later work: wait until the server has seen the last one go.
    ASSERT_TRUE(wait_until([&] { return connected_sockets(root_) == 0; }));
    dump_and_restore(root_);
  }

  Reaper reaper_;
  TemporaryDirectory directory_{kOtherUser};
  int port_ = free_port();
  pid_t root_ = 0;
};

/// Its checkpoint never touches a directory of ours.
TEST_F(RealRedis, ServesItsKeysAgainBehindAPipe) {
  start();
  ASSERT_TRUE(wait_until([&] { return connected_sockets(root_) == 0; }));
  const Snapshot before = observe_at_rest(root_);
  const TemporaryDirectory copies;
  const Outcome outcome = run_pipeline(
      root_, fmt::format("GODWIT dump -t {} -o - | GODWIT restore -i - --detach", root_), copies.path());
  ASSERT_TRUE(outcome.ok()) << outcome.words();
  const std::vector<std::string> differences = compare_now(before, root_);
  EXPECT_TRUE(differences.empty()) << joined(differences);
  EXPECT_EQ(ask({"eval", kCheck, "0"}), "0\n");
  EXPECT_EQ(ask({"get", "key:50000"}, true), "value:350000\n");
  ask({"shutdown", "nosave"});
  EXPECT_EQ(wait_for_end(root_), 0);
}

TEST_F(RealRedis, ServesItsKeysAgain) {
  start();
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    round_trip();
    if (HasFatalFailure()) {
      return;
    }
    EXPECT_EQ(ask({"eval", kCheck, "0"}), "0\n");
    EXPECT_EQ(ask({"get", "key:50000"}, true), "value:350000\n");
    EXPECT_EQ(ask({"incr", "counter"}, true), std::to_string(round + 1) + "\n");
  }
  // It forks, the child writes, the parent hears of its end.
  EXPECT_EQ(ask({"bgsave"}), "Background saving started\n");
  EXPECT_TRUE(wait_until([&] {
    return ask({"info", "persistence"}).find("rdb_bgsave_in_progress:0") != std::string::npos;
  }));
  EXPECT_NE(ask({"info", "persistence"}).find("rdb_last_bgsave_status:ok"), std::string::npos);
  EXPECT_EQ(access((directory_ / "dump.rdb").c_str(), F_OK), 0);
  ask({"shutdown", "nosave"});
  EXPECT_EQ(wait_for_end(root_), 0);
}

}  // namespace

}  // namespace godwit::e2e
