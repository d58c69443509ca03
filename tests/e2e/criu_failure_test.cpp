// What becomes of the tree and of an older checkpoint when a client of the criu front end says no or goes
// away, when the server is ended, or when something can't be done.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/criu_client.h"
#include "tests/e2e/criu_rpc.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {
namespace {

class CriuFailure : public CriuRpc {};

/// The client only waits: it is the signal that ends the dump, in good order, and the client hears of it.
TEST_F(CriuFailure, AServerThatGetsSigtermDuringADump) {
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
TEST_F(CriuFailure, AServerThatIsKilledDuringADump) {
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

TEST_F(CriuFailure, AServerThatGetsSigtermDuringARestore) {
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

/// At whatever moment of a dump the client says no: the tree runs on, and there is no checkpoint.
TEST_F(CriuFailure, ClientThatRefusesADump) {
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

TEST_F(CriuFailure, AnOlderCheckpointOutlivesADumpThatFails) {
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

TEST_F(CriuFailure, AFileOfTheClientsIsNotReplacedByOneOfTheCheckpoint) {
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
TEST_F(CriuFailure, AnInventoryThatWasThereIsBackAfterADumpThatFails) {
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

TEST_F(CriuFailure, StatisticsThatCannotBeWrittenAreAWarning) {
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

TEST_F(CriuFailure, ClientThatGoesAwayDuringADump) {
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
TEST_F(CriuFailure, ClientThatRefusesARestore) {
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

TEST_F(CriuFailure, ClientThatGoesAwayDuringARestore) {
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

TEST_F(CriuFailure, WhatFailsIsInTheLogAndInTheAnswer) {
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

/// Clients have buffers of 8 kB.
TEST_F(CriuFailure, ALongErrorIsCutForTheClient) {
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

}  // namespace
}  // namespace godwit::e2e
