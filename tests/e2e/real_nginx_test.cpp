#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {

namespace {

constexpr const char* kServer = "/usr/sbin/nginx";

class RealNginx : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_program(kServer)) {
      GTEST_SKIP() << "no nginx";
    }
  }

  void start() {
    const std::string here = directory_.path();
    write_text(directory_ / "page", "a page of some length\n");
    std::string config = "daemon off; user www-data; worker_processes 2; pid " + here + "/pid; error_log " +
                         here + "/error.log;\nevents { worker_connections 64; }\nhttp { access_log off; ";
    for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
      config += std::string(kind) + "_temp_path " + here + "/" + kind + "; ";
    }
    config += "server { listen 127.0.0.1:" + std::to_string(port_) + "; root " + here + "; } }\n";
    write_text(directory_ / "config", config);
    LaunchOptions options;
    options.output = directory_ / "output";
    root_ =
        launch({kServer, "-c", directory_ / "config", "-p", here, "-e", directory_ / "error.log"}, options);
    ASSERT_TRUE(wait_until([&] { return serves() && workers().size() == 2; }))
        << try_read(directory_ / "output").value_or("") << try_read(directory_ / "error.log").value_or("");
  }

  bool serves() { return http_get(port_, "/page").find("a page of some length\n") != std::string::npos; }

  std::set<pid_t> workers() {
    const std::vector<pid_t> tree = tree_of(root_);
    return tree.empty() ? std::set<pid_t>() : std::set<pid_t>(tree.begin() + 1, tree.end());
  }

  bool has_clients() {
    for (const pid_t worker : workers()) {
      if (connected_sockets(worker) != 0) {
        return true;
      }
    }
    return false;
  }

  Reaper reaper_;
  TemporaryDirectory directory_;
  int port_ = free_port();
  pid_t root_ = 0;
};

TEST_F(RealNginx, ServesAgainAndReloads) {
  start();
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(wait_until([&] { return !has_clients(); }));
    const std::set<pid_t> before = workers();
    dump_and_restore(root_);
    if (HasFatalFailure()) {
      return;
    }
    EXPECT_EQ(workers(), before);
    for (int request = 0; request < 20; ++request) {
      EXPECT_TRUE(serves());
    }
  }
  const std::set<pid_t> old = workers();
  // A graceful reload: new workers, and the old ones end.
  ASSERT_EQ(kill(root_, SIGHUP), 0);
  EXPECT_TRUE(wait_until([&] {
    const std::set<pid_t> now = workers();
    for (const pid_t worker : now) {
      if (old.count(worker) != 0) {
        return false;
      }
    }
    return now.size() == 2;
  })) << try_read(directory_ / "error.log").value_or("");
  EXPECT_TRUE(serves());
  ASSERT_EQ(kill(root_, SIGQUIT), 0);
  EXPECT_EQ(wait_for_end(root_), 0);
}

}  // namespace

}  // namespace godwit::e2e
