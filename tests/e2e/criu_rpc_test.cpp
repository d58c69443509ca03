// The criu front end by RPC, on plain processes: what clients get back, what they are told in between, and
// what becomes of the tree when they say no or go away.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "compat/stats.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/criu_client.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {
namespace {

using Moments = std::vector<std::string>;

const Moments kDumpMoments{"pre-dump", "network-lock", "query-ext-files", "post-dump"};
const Moments kRestoreMoments{"pre-restore",  "setup-namespaces", "post-setup-namespaces",
                              "post-restore", "network-unlock",   "pre-resume",
                              "post-resume"};

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

uint32_t word(const std::string& content, size_t index) {
  uint32_t value = 0;
  content.copy(reinterpret_cast<char*>(&value), sizeof(value), index * sizeof(value));
  return value;
}

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
  EXPECT_GT(stats.dump().pages_written(), 0U);
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
  EXPECT_EQ(stats.restore().pages_restored(), [&] {
    compat::stats::Stats before;
    before.ParseFromString(dumped.substr(12));
    return before.dump().pages_written();
  }());
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

/// The client only waits: it is the signal that ends the dump, in good order, and the client hears of it.
TEST_F(CriuRpc, AServerThatGetsSigtermDuringADump) {
  const pid_t pid = start();
  for (const std::string& moment : kDumpMoments) {
    CriuClient client;
    client.send(dump_request(pid));
    receive_until(client, moment);
    ASSERT_EQ(::kill(client.server(), SIGTERM), 0);
    rpc::Response response = client.receive();
    if (moment != "pre-dump") {
      EXPECT_EQ(response.notify().script(), "network-unlock");
      agree(client);
      response = client.receive();
    }
    EXPECT_EQ(response.type(), rpc::DUMP);
    EXPECT_FALSE(response.success());
    EXPECT_NE(response.cr_errmsg().find("at " + moment + ": interrupted by SIGTERM"), std::string::npos)
        << response.cr_errmsg();
    EXPECT_EQ(client.wait_for_end(), 1) << moment;
    EXPECT_TRUE(runs(pid)) << moment;
    EXPECT_FALSE(exists(directory_ / "checkpoint")) << moment;
  }
  dump_and_end(pid);
}

/// The tree runs on, and the next dump is as good.
TEST_F(CriuRpc, AServerThatIsKilledDuringADump) {
  const pid_t pid = start();
  for (const std::string& moment : kDumpMoments) {
    CriuClient client;
    client.send(dump_request(pid));
    receive_until(client, moment);
    ASSERT_EQ(::kill(client.server(), SIGKILL), 0);
    EXPECT_EQ(client.wait_for_end(), -1) << moment;
    EXPECT_TRUE(runs(pid)) << moment;
    // Whoever kills it behind the commit finds a checkpoint, and a tree that runs.
    EXPECT_EQ(exists(directory_ / "checkpoint"), moment == "post-dump");
  }
  dump_and_end(pid);
  EXPECT_TRUE(godwit({"verify", directory_.path()}).ok());
  for (const char* partial : {"checkpoint.partial", "pages.partial", "checkpoint.old", "pages.old"}) {
    EXPECT_FALSE(exists(directory_ / partial)) << partial;
  }
}

TEST_F(CriuRpc, AServerThatGetsSigtermDuringARestore) {
  const pid_t pid = start();
  dump_and_end(pid);
  for (const char* moment : {"pre-restore", "setup-namespaces", "pre-resume"}) {
    CriuClient client;
    client.send(restore_request());
    receive_until(client, moment);
    ASSERT_EQ(::kill(client.server(), SIGTERM), 0);
    const rpc::Response response = client.receive();
    EXPECT_EQ(response.type(), rpc::RESTORE);
    EXPECT_FALSE(response.success());
    EXPECT_NE(response.cr_errmsg().find("interrupted by SIGTERM"), std::string::npos) << response.cr_errmsg();
    EXPECT_EQ(client.wait_for_end(), 1) << moment;
    EXPECT_TRUE(wait_until_gone({pid})) << moment;
  }
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

/// At whatever moment of a dump the client says no: the tree runs on, and there is no checkpoint.
TEST_F(CriuRpc, ClientThatRefusesADump) {
  const pid_t pid = start();
  for (const std::string& moment : kDumpMoments) {
    CriuClient client;
    const rpc::Response response =
        client.ask(dump_request(pid), [&](const rpc::Notification& n) { return n.script() != moment; });
    EXPECT_FALSE(response.success()) << moment;
    EXPECT_NE(response.cr_errmsg().find(moment), std::string::npos) << response.cr_errmsg();
    EXPECT_EQ(client.moments.back(), moment == "pre-dump" ? "pre-dump" : "network-unlock");
    EXPECT_NE(client.wait_for_end(), 0);
    EXPECT_TRUE(runs(pid)) << moment;
    EXPECT_FALSE(exists(directory_ / "checkpoint")) << moment;
    EXPECT_FALSE(exists(directory_ / "inventory.img")) << moment;
    expect_log_says("dump.log", "at " + moment);
  }
}

TEST_F(CriuRpc, AnOlderCheckpointOutlivesADumpThatFails) {
  const pid_t pid = start();
  rpc::Request request = dump_request(pid);
  request.mutable_opts()->set_leave_running(true);
  CriuClient first;
  ASSERT_TRUE(first.ask(request).success());
  const auto content = [&] { return try_read(directory_ / "checkpoint"); };
  const auto older = content();
  ASSERT_TRUE(older.has_value());
  CriuClient second;
  const rpc::Response response = second.ask(request, [&](const rpc::Notification& n) {
    if (n.script() == "post-dump") {
      EXPECT_NE(content(), older);
      EXPECT_TRUE(exists(directory_ / "checkpoint.old"));
    }
    return n.script() != "post-dump";
  });
  EXPECT_FALSE(response.success());
  EXPECT_EQ(content(), older);
  EXPECT_TRUE(exists(directory_ / "inventory.img"));
  EXPECT_FALSE(exists(directory_ / "checkpoint.old"));
  EXPECT_TRUE(godwit({"verify", directory_.path()}).ok());
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuRpc, AFileOfTheClientsIsNotReplacedByOneOfTheCheckpoint) {
  const pid_t pid = start();
  write_text(directory_ / "pages", "theirs");
  CriuClient client;
  const rpc::Response response = client.ask(dump_request(pid));
  EXPECT_FALSE(response.success());
  expect_log_says("dump.log", "'pages' in " + directory_.path());
  EXPECT_EQ(try_read(directory_ / "pages"), "theirs");
  EXPECT_TRUE(runs(pid));
}

/// Such as another program's.
TEST_F(CriuRpc, AnInventoryThatWasThereIsBackAfterADumpThatFails) {
  const pid_t pid = start();
  write_text(directory_ / "inventory.img", "theirs");
  CriuClient client;
  const rpc::Response response = client.ask(dump_request(pid), [&](const rpc::Notification& n) {
    if (n.script() == "post-dump") {
      EXPECT_NE(try_read(directory_ / "inventory.img"), "theirs");
      EXPECT_EQ(try_read(directory_ / "inventory.img.old"), "theirs");
    }
    return n.script() != "post-dump";
  });
  EXPECT_FALSE(response.success());
  EXPECT_EQ(try_read(directory_ / "inventory.img"), "theirs");
  EXPECT_FALSE(exists(directory_ / "inventory.img.old"));
  dump_and_end(pid);
  EXPECT_NE(try_read(directory_ / "inventory.img"), "theirs");
  EXPECT_FALSE(exists(directory_ / "inventory.img.old"));
}

TEST_F(CriuRpc, StatisticsThatCannotBeWrittenAreAWarning) {
  const pid_t pid = start();
  for (const char* name : {"stats-dump", "stats-restore"}) {
    ASSERT_EQ(::mkdir((directory_ / name).c_str(), 0700), 0);
  }
  dump_and_end(pid);
  CriuClient client;
  const rpc::Response response = client.ask(restore_request());
  EXPECT_TRUE(response.success()) << response.cr_errmsg();
  EXPECT_TRUE(runs(pid));
  for (const std::string what : {"dump", "restore"}) {
    const std::string log = try_read(directory_ / (what + ".log")).value_or("");
    EXPECT_NE(log.find("Warn  (godwit): cannot open stats-" + what), std::string::npos) << log;
  }
}

TEST_F(CriuRpc, ClientThatGoesAwayDuringADump) {
  const pid_t pid = start();
  for (const std::string& moment : kDumpMoments) {
    CriuClient client;
    client.send(dump_request(pid));
    receive_until(client, moment);
    client.hang_up();
    EXPECT_NE(client.wait_for_end(), 0) << moment;
    EXPECT_TRUE(runs(pid)) << moment;
    EXPECT_FALSE(exists(directory_ / "checkpoint")) << moment;
    expect_log_says("dump.log", "went away at " + moment);
  }
}

/// At whatever moment before it runs the client says no: nothing of the tree is left.
TEST_F(CriuRpc, ClientThatRefusesARestore) {
  const pid_t pid = start();
  dump_and_end(pid);
  for (const std::string& moment : kRestoreMoments) {
    CriuClient client;
    const rpc::Response response =
        client.ask(restore_request(), [&](const rpc::Notification& n) { return n.script() != moment; });
    const bool too_late = moment == "post-resume";
    EXPECT_EQ(response.success(), too_late) << moment;
    EXPECT_EQ(client.wait_for_end() == 0, too_late) << moment;
    if (!too_late) {
      EXPECT_TRUE(wait_until_gone({pid})) << moment;
      expect_log_says("restore.log", "at " + moment);
    }
  }
}

TEST_F(CriuRpc, ClientThatGoesAwayDuringARestore) {
  const pid_t pid = start();
  dump_and_end(pid);
  for (const char* moment : {"setup-namespaces", "pre-resume"}) {
    CriuClient client;
    client.send(restore_request());
    receive_until(client, moment);
    client.hang_up();
    EXPECT_NE(client.wait_for_end(), 0) << moment;
    EXPECT_TRUE(wait_until_gone({pid})) << moment;
  }
}

TEST_F(CriuRpc, WhatFailsIsInTheLogAndInTheAnswer) {
  const pid_t gone = launch({"/bin/true"});
  ASSERT_EQ(wait_for_end(gone), 0);
  CriuClient client;
  const rpc::Response response = client.ask(dump_request(gone));
  EXPECT_EQ(response.type(), rpc::DUMP);
  EXPECT_FALSE(response.success());
  EXPECT_EQ(response.cr_errno(), ESRCH) << response.cr_errmsg();
  EXPECT_NE(client.wait_for_end(), 0);
  expect_log_says("dump.log", std::to_string(gone));

  CriuClient restorer;
  EXPECT_FALSE(restorer.ask(restore_request()).success());
  expect_log_says("restore.log", "checkpoint");
}

TEST_F(CriuRpc, OptionsThatWouldChangeTheResultAreRefusedByName) {
  const pid_t pid = start();
  rpc::Request request = dump_request(pid);
  request.mutable_opts()->set_lazy_pages(true);
  request.mutable_opts()->set_parent_img("../before");
  request.mutable_opts()->set_file_locks(true);
  request.mutable_opts()->set_tcp_established(false);
  CriuClient client;
  const rpc::Response response = client.ask(request);
  EXPECT_FALSE(response.success());
  expect_log_says("dump.log", "option lazy-pages isn't supported");
  expect_log_says("dump.log", "option prev-images-dir isn't supported");
  expect_log_says("dump.log", "Warn  (godwit): option file-locks has no effect");
  EXPECT_EQ(try_read(directory_ / "dump.log")->find("tcp-established"), std::string::npos);
  EXPECT_TRUE(client.moments.empty());
  EXPECT_TRUE(runs(pid));
}

/// Clients have buffers of 8 kB.
TEST_F(CriuRpc, ALongErrorIsCutForTheClient) {
  std::string long_name;
  for (int i = 0; i < 20'000; ++i) {
    long_name += "\u00e9";
  }
  rpc::Request request = dump_request(start());
  for (const char* odd : {"", "x"}) {
    request.mutable_opts()->set_parent_img(odd + long_name);
    CriuClient client;
    const rpc::Response response = client.ask(request);
    EXPECT_FALSE(response.success());
    EXPECT_LE(response.ByteSizeLong(), 4096U);
    const std::string& message = response.cr_errmsg();
    const size_t rest = message.find(" ... (the log has all of it)");
    ASSERT_NE(rest, std::string::npos) << message;
    EXPECT_EQ(message.substr(rest - 2, 2), "\u00e9") << "a whole character";
    expect_log_says("dump.log", long_name);
  }
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
  for (const rpc::RequestType type : {rpc::PRE_DUMP, rpc::PAGE_SERVER, rpc::CPUINFO_DUMP, rpc::WAIT_PID}) {
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
