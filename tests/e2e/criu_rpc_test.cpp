// The criu front end by RPC, on plain processes: what clients get back, and what they are told in between.

#include "tests/e2e/criu_rpc.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "compat/stats.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/userfaultfd.h"
#include "tests/e2e/criu_client.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {
namespace {

uint32_t word(const std::string& content, size_t index) {
  uint32_t value = 0;
  content.copy(reinterpret_cast<char*>(&value), sizeof(value), index * sizeof(value));
  return value;
}

TEST_F(CriuRpc, VersionAndFeatures) {
  CriuClient client;
  rpc::Request request;
  request.set_type(rpc::VERSION);
  request.set_keep_open(true);
  rpc::Response response = client.ask(request);
  EXPECT_EQ(response.type(), rpc::VERSION);
  EXPECT_TRUE(response.success());
  EXPECT_EQ(response.version().major_number(), 4);
  EXPECT_FALSE(response.version().has_gitid());
  request.set_type(rpc::FEATURE_CHECK);
  request.mutable_features()->set_mem_track(true);
  response = client.ask(request);
  EXPECT_TRUE(response.success());
  EXPECT_TRUE(response.features().has_mem_track());
  EXPECT_EQ(response.features().mem_track(), userfaultfd::can_track_writes());
  request.set_type(rpc::CHECK);
  request.set_keep_open(false);
  EXPECT_TRUE(client.ask(request).success());
  EXPECT_EQ(client.wait_for_end(), 0);
}

TEST_F(CriuRpc, DumpAndRestoreAsSibling) {
  const pid_t pid = start();
  CriuClient client;
  const rpc::Response dumped = client.ask(dump_request(pid));
  ASSERT_TRUE(dumped.success()) << dumped.cr_errmsg();
  EXPECT_EQ(dumped.type(), rpc::DUMP);
  EXPECT_EQ(client.moments, kDumpMoments);
  EXPECT_EQ(client.pids, (std::vector<pid_t>(kDumpMoments.size(), pid)));
  EXPECT_EQ(client.wait_for_end(), 0);
  const int status = wait_for_end(pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_TRUE(exists(directory_ / "dump.log"));

  for (int round = 0; round < 2; ++round) {
    CriuClient restorer;
    const rpc::Response restored =
        restorer.ask(restore_request(), [&](const rpc::Notification& notification) {
          if (notification.script() == "setup-namespaces" || notification.script() == "pre-resume") {
            EXPECT_TRUE(exists("/proc/" + std::to_string(notification.pid())));
          }
          return true;
        });
    ASSERT_TRUE(restored.success()) << restored.cr_errmsg();
    EXPECT_EQ(restored.restore().pid(), pid);
    EXPECT_EQ(restorer.moments, kRestoreMoments);
    EXPECT_EQ(restorer.wait_for_end(), 0);
    EXPECT_TRUE(runs(pid));
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    EXPECT_EQ(::waitpid(pid, nullptr, 0), pid) << "the root must be the client's child";
  }
}

TEST_F(CriuRpc, LeaveRunning) {
  const pid_t pid = start();
  for (int round = 0; round < 2; ++round) {  // the second replaces the first
    rpc::Request request = dump_request(pid);
    request.mutable_opts()->set_leave_running(true);
    CriuClient client;
    const rpc::Response response = client.ask(request, [&](const rpc::Notification& notification) {
      if (notification.script() == "post-dump") {
        EXPECT_EQ(state_of(pid), 't') << "it stands still until the client is done";
        EXPECT_TRUE(exists(directory_ / "checkpoint"));
        EXPECT_TRUE(exists(directory_ / "inventory.img"));
      }
      return true;
    });
    ASSERT_TRUE(response.success()) << response.cr_errmsg();
    EXPECT_EQ(client.moments,
              (Moments{"pre-dump", "network-lock", "query-ext-files", "post-dump", "network-unlock"}));
    EXPECT_TRUE(runs(pid));
  }
  EXPECT_TRUE(godwit({"verify", directory_.path()}).ok());
}

TEST_F(CriuRpc, LeaveStopped) {
  const pid_t pid = start();
  rpc::Request request = dump_request(pid);
  request.mutable_opts()->set_leave_stopped(true);
  CriuClient client;
  ASSERT_TRUE(client.ask(request).success());
  EXPECT_TRUE(wait_until([&] { return state_of(pid) == 'T'; }));
}

TEST_F(CriuRpc, WorkDirectoryOfTheClient) {
  const TemporaryDirectory work;
  const Fd work_fd = open_file(work.path(), O_PATH | O_DIRECTORY);
  const pid_t pid = start();
  rpc::Request request = dump_request(pid);
  request.mutable_opts()->set_work_dir_fd(work_fd.get());
  CriuClient client;
  ASSERT_TRUE(client.ask(request).success());
  EXPECT_TRUE(exists(work / "dump.log"));
  EXPECT_TRUE(exists(work / "stats-dump"));
  EXPECT_FALSE(exists(directory_ / "dump.log"));
}

TEST_F(CriuRpc, FilesThatClientsRead) {
  dump_and_end(start());
  const std::string dumped = try_read(directory_ / "stats-dump").value_or("");
  ASSERT_GT(dumped.size(), 12U);
  EXPECT_EQ(word(dumped, 0), 0x55105940U);
  EXPECT_EQ(word(dumped, 1), 0x57093306U);
  EXPECT_EQ(word(dumped, 2), dumped.size() - 12);
  compat::stats::Stats stats;
  ASSERT_TRUE(stats.ParseFromString(dumped.substr(12)));
  EXPECT_GT(stats.dump().frozen_time(), 0U);
  EXPECT_LT(stats.dump().frozen_time(), 10'000'000U);
  const std::string inventory = try_read(directory_ / "inventory.img").value_or("");
  ASSERT_GT(inventory.size(), 12U);
  EXPECT_EQ(word(inventory, 0), 0x54564319U);
  EXPECT_EQ(word(inventory, 1), 0x58313116U);
  EXPECT_EQ(word(inventory, 2), inventory.size() - 12);

  CriuClient restorer;
  ASSERT_TRUE(restorer.ask(restore_request()).success());
  const std::string restored = try_read(directory_ / "stats-restore").value_or("");
  ASSERT_GT(restored.size(), 12U);
  ASSERT_TRUE(stats.ParseFromString(restored.substr(12)));
  EXPECT_GE(stats.restore().restore_time(), stats.restore().forking_time());
}

/// What clients read agrees with what people read.
TEST_F(CriuRpc, StatisticsAreThoseOfInspect) {
  dump_and_end(start());
  compat::stats::Stats stats;
  ASSERT_TRUE(stats.ParseFromString(try_read(directory_ / "stats-dump").value_or("").substr(12)));
  const Outcome inspected = godwit({"inspect", directory_.path(), "memory", "--json"});
  ASSERT_TRUE(inspected.ok()) << inspected.output;
  const std::string key = "\"pages\": ";
  uint64_t pages = 0;
  for (size_t at = 0; (at = inspected.output.find(key, at)) != std::string::npos; at += key.size()) {
    pages += std::strtoull(inspected.output.c_str() + at + key.size(), nullptr, 10);
  }
  EXPECT_EQ(stats.dump().pages_written(), pages) << inspected.output;
  EXPECT_GE(stats.dump().pages_scanned(), pages);
  CriuClient restorer;
  ASSERT_TRUE(restorer.ask(restore_request()).success());
  ASSERT_TRUE(stats.ParseFromString(try_read(directory_ / "stats-restore").value_or("").substr(12)));
  EXPECT_EQ(stats.restore().pages_restored(), pages);
}

TEST_F(CriuRpc, ARestoreThatIsNoSiblingOutlivesTheServer) {
  const pid_t pid = start();
  dump_and_end(pid);
  rpc::Request request = restore_request();
  request.mutable_opts()->set_rst_sibling(false);
  CriuClient client;
  const rpc::Response response = client.ask(request);
  ASSERT_TRUE(response.success()) << response.cr_errmsg();
  EXPECT_EQ(response.restore().pid(), pid);
  EXPECT_EQ(client.wait_for_end(), 0);
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuRpc, TheServerBecomesACommand) {
  const pid_t pid = start();
  dump_and_end(pid);
  rpc::Request request = restore_request();
  request.mutable_opts()->set_rst_sibling(false);
  for (const std::string& word :
       {std::string("/bin/sh"), std::string("-c"), "echo $$ >'" + (directory_ / "seen") + "'"}) {
    request.mutable_opts()->add_exec_cmd(word);
  }
  CriuClient client;
  const rpc::Response response = client.ask(request);
  ASSERT_TRUE(response.success()) << response.cr_errmsg();
  const pid_t server = client.server();
  EXPECT_EQ(client.wait_for_end(), 0);
  EXPECT_EQ(try_read(directory_ / "seen"), std::to_string(server) + "\n");
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuRpc, TheDirectoryOfImagesMustBeNamed) {
  const pid_t pid = start();
  rpc::Request request = dump_request(pid);
  request.mutable_opts()->set_images_dir_fd(-1);
  request.mutable_opts()->set_leave_running(true);
  CriuClient client;
  const rpc::Response response = client.ask(request);
  EXPECT_FALSE(response.success());
  EXPECT_NE(response.cr_errmsg().find("names no directory of images"), std::string::npos)
      << response.cr_errmsg();
  request.mutable_opts()->set_images_dir(directory_.path());
  CriuClient by_path;
  EXPECT_TRUE(by_path.ask(request).success());
  EXPECT_TRUE(exists(directory_ / "checkpoint"));
}

TEST_F(CriuRpc, OptionsThatWouldChangeTheResultAreRefusedByName) {
  const pid_t pid = start();
  rpc::Request request = dump_request(pid);
  request.mutable_opts()->set_lazy_pages(true);
  request.mutable_opts()->set_file_locks(true);
  request.mutable_opts()->set_tcp_established(false);
  CriuClient client;
  const rpc::Response response = client.ask(request);
  EXPECT_FALSE(response.success());
  expect_log_says("dump.log", "option lazy-pages isn't supported");
  expect_log_says("dump.log", "Warn  (godwit): option file-locks has no effect");
  EXPECT_EQ(try_read(directory_ / "dump.log")->find("tcp-established"), std::string::npos);
  EXPECT_TRUE(client.moments.empty());
  EXPECT_TRUE(runs(pid));
}

/// Sockets that stay outside can be named in the options, and in the answer to query-ext-files.
TEST_F(CriuRpc, SocketsFromOutsideAreRefusedByName) {
  const pid_t pid = start();
  CriuClient client;
  client.send(dump_request(pid));
  receive_until(client, "query-ext-files");
  rpc::Request answer;
  answer.set_type(rpc::NOTIFY);
  answer.set_notify_success(true);
  EXPECT_EQ(state_of(pid), 't') << "the client sees the sockets that are dumped";
  answer.mutable_opts()->set_images_dir_fd(-1);
  answer.mutable_opts()->add_unix_sk_ino()->set_inode(4711);
  client.send(answer);
  const rpc::Response unlocked = client.receive();
  EXPECT_EQ(unlocked.notify().script(), "network-unlock");
  answer.clear_opts();
  client.send(answer);
  const rpc::Response response = client.receive();
  EXPECT_FALSE(response.success());
  EXPECT_NE(response.cr_errmsg().find("option unix_sk_ino isn't supported"), std::string::npos)
      << response.cr_errmsg();
  EXPECT_TRUE(runs(pid));
  EXPECT_FALSE(exists(directory_ / "checkpoint"));
}

TEST_F(CriuRpc, RequestsThatAreNotSupportedAreRefusedByName) {
  for (const rpc::RequestType type : {rpc::PAGE_SERVER, rpc::CPUINFO_DUMP, rpc::WAIT_PID}) {
    CriuClient client;
    const rpc::Response response = client.ask(criu_request(type, images_));
    EXPECT_EQ(response.type(), type);
    EXPECT_FALSE(response.success());
    EXPECT_EQ(response.cr_errno(), EOPNOTSUPP);
    EXPECT_NE(response.cr_errmsg().find(rpc::RequestType_Name(type)), std::string::npos);
  }
}

TEST_F(CriuRpc, ARequestThatIsNoneEndsTheConnection) {
  CriuClient client;
  client.send_bytes("\x08");
  EXPECT_THROW(static_cast<void>(client.receive()), Error);
  EXPECT_EQ(client.wait_for_end(), 1);
}

TEST_F(CriuRpc, RequestsThatLackSomethingAreAnswered) {
  CriuClient client;
  rpc::Request request;
  request.set_type(rpc::DUMP);
  request.set_keep_open(true);
  rpc::Response response = client.ask(request);
  EXPECT_EQ(response.cr_errno(), EBADMSG) << response.cr_errmsg();
  request.set_type(rpc::NOTIFY);
  response = client.ask(request);
  EXPECT_EQ(response.type(), rpc::EMPTY);
  EXPECT_FALSE(response.success());
  request = criu_request(rpc::DUMP, images_);
  response = client.ask(request);
  EXPECT_FALSE(response.success());
  EXPECT_NE(response.cr_errmsg().find("no pid"), std::string::npos) << response.cr_errmsg();
  EXPECT_EQ(client.wait_for_end(), 1);
}

TEST_F(CriuRpc, SeveralRequestsOverOneConnection) {
  const pid_t pid = start();
  CriuClient client;
  rpc::Request request = criu_request(rpc::DUMP, images_);
  request.mutable_opts()->set_pid(pid);
  request.mutable_opts()->set_leave_running(true);
  for (const bool more : {true, true, false}) {
    request.set_keep_open(more);
    const rpc::Response response = client.ask(request);
    EXPECT_TRUE(response.success()) << response.cr_errmsg();
    EXPECT_TRUE(exists(directory_ / "checkpoint"));
    for (const char* name : {"checkpoint", "pages"}) {
      ASSERT_EQ(::unlink((directory_ / name).c_str()), 0);
    }
  }
  EXPECT_TRUE(client.moments.empty()) << "notifications are for those who ask for them";
  EXPECT_EQ(client.wait_for_end(), 0);
  EXPECT_TRUE(exists(directory_ / "criu.log")) << "the log of those who name none";
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuRpc, ActionScripts) {
  const pid_t pid = start();
  rpc::Request request = dump_request(pid);
  const std::string config = directory_ / "criu.conf";
  const std::string seen = directory_ / "seen";
  const Fd file = open_file(config, O_WRONLY | O_CREAT, 0600);
  const std::string text = "action-script \"echo $CRTOOLS_SCRIPT_ACTION $CRTOOLS_INIT_PID >>" + seen + "\"\n";
  write_all(file.get(), std::as_bytes(std::span(text)), config);
  request.mutable_opts()->set_config_file(config);
  CriuClient client;
  const rpc::Response response = client.ask(request);
  ASSERT_TRUE(response.success()) << response.cr_errmsg();
  std::string expected;
  for (const char* moment : {"pre-dump", "network-lock", "post-dump"}) {
    expected += std::string(moment) + " " + std::to_string(pid) + "\n";
  }
  EXPECT_EQ(try_read(seen), expected);
}

}  // namespace
}  // namespace godwit::e2e
