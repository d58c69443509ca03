#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "kernel/fd.h"
#include "tests/e2e/criu_client.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {

using Moments = std::vector<std::string>;

/// Of a dump that ends the tree.
inline const Moments kDumpMoments{"pre-dump", "network-lock", "query-ext-files", "post-dump"};
inline const Moments kRestoreMoments{"pre-restore",  "setup-namespaces", "post-setup-namespaces",
                                     "post-restore", "network-unlock",   "pre-resume",
                                     "post-resume"};

inline bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

/// A client of `criu swrk` that dumps sleep(1) and restores it.
class CriuRpc : public testing::Test {
 protected:
  CriuRpc() : images_(open_file(directory_.path(), O_RDONLY | O_DIRECTORY)) {}

  rpc::Request dump_request(pid_t pid) const {
    rpc::Request request = criu_request(rpc::DUMP, images_);
    request.mutable_opts()->set_pid(pid);
    request.mutable_opts()->set_log_file("dump.log");
    request.mutable_opts()->set_notify_scripts(true);
    return request;
  }

  rpc::Request restore_request() const {
    rpc::Request request = criu_request(rpc::RESTORE, images_);
    request.mutable_opts()->set_log_file("restore.log");
    request.mutable_opts()->set_notify_scripts(true);
    request.mutable_opts()->set_rst_sibling(true);
    return request;
  }

  static pid_t start() { return launch({"/bin/sleep", "1000"}); }

  /// It runs: it comes to sleep, and isn't traced.
  static bool runs(pid_t pid) {
    return wait_until([&] { return state_of(pid) == 'S' || state_of(pid) == 'R'; });
  }

  void dump_and_end(pid_t pid) {
    CriuClient client;
    const rpc::Response response = client.ask(dump_request(pid));
    ASSERT_TRUE(response.success()) << response.cr_errmsg();
    EXPECT_EQ(client.wait_for_end(), 0);
    const int status = wait_for_end(pid);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }

  /// Says to a notification that the work may go on.
  static void agree(const CriuClient& client) {
    rpc::Request answer;
    answer.set_type(rpc::NOTIFY);
    answer.set_notify_success(true);
    client.send(answer);
  }

  /// Agrees to what comes before, and leaves `moment` unanswered.
  static void receive_until(const CriuClient& client, const std::string& moment) {
    while (client.receive().notify().script() != moment) {
      agree(client);
    }
  }

  void expect_log_says(const std::string& name, const std::string& text) {
    const std::string log = try_read(directory_ / name).value_or("(no log)");
    EXPECT_NE(log.find("Error (godwit): "), std::string::npos) << log;
    EXPECT_NE(log.find(text), std::string::npos) << log;
  }

  Reaper reaper_;
  TemporaryDirectory directory_;
  const Fd images_;
};

}  // namespace godwit::e2e
