// The criu front end by its command line and as a service.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/criu_client.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Fd connect_to(const std::string& address) {
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  address.copy(name.sun_path, sizeof(name.sun_path) - 1);
  const timeval patience{30, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    throw errno_error("cannot connect to {}", address);
  }
  return socket;
}

class CriuCli : public testing::Test {
 protected:
  static Outcome criu(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), CRIU_BINARY);
    return run(arguments);
  }
  static pid_t start() { return launch({"/bin/sleep", "1000"}); }
  static bool runs(pid_t pid) {
    return wait_until([&] { return state_of(pid) == 'S' || state_of(pid) == 'R'; });
  }
  std::string log(const std::string& name) { return try_read(directory_ / name).value_or("(no log)"); }

  Reaper reaper_;
  TemporaryDirectory directory_;
  const std::string images_ = directory_.path();
};

TEST_F(CriuCli, Version) {
  const Outcome outcome = criu({"--version"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(outcome.output.starts_with("Version: 4.")) << outcome.output;
}

TEST_F(CriuCli, HelpListsEveryOption) {
  const Outcome outcome = criu({"--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* option : {"--tree", "--restore-sibling", "--lazy-pages", "--cgroup-root"}) {
    EXPECT_TRUE(contains(outcome.output, option)) << option;
  }
}

TEST_F(CriuCli, WrongUsage) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"fly"}, {"dump", "--warp"}, {"dump", "more"}, {"swrk"}, {"swrk", "x"}}) {
    const Outcome outcome = criu(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_TRUE(contains(outcome.output, "see 'criu --help'")) << outcome.output;
  }
}

TEST_F(CriuCli, Check) {
  EXPECT_TRUE(contains(criu({"check"}).output, "Looks good.\n"));
  for (const char* feature : {"seccomp_suspend", "cgroupns", "external_net_ns"}) {
    EXPECT_EQ(criu({"check", "--feature", feature}).exit_code, 0) << feature;
  }
  EXPECT_EQ(criu({"check", "--feature", "lazy_pages"}).exit_code, 1);
  const Outcome unknown = criu({"check", "--feature", "warp"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_TRUE(contains(unknown.output, "warp")) << unknown.output;
}

TEST_F(CriuCli, DumpAndRestoreDetached) {
  const pid_t pid = start();
  const std::string tree = std::to_string(pid);
  Outcome outcome = criu({"dump", "-t", tree, "-D", images_, "-o", "dump.log", "-v4", "--file-locks"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output << log("dump.log");
  EXPECT_EQ(outcome.output, "");
  EXPECT_TRUE(contains(log("dump.log"), "dumped 1 tasks")) << log("dump.log");
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  outcome =
      criu({"restore", "-D", images_, "-o", "restore.log", "-d", "--pidfile", "pid", "--display-stats"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output << log("restore.log");
  EXPECT_EQ(try_read(directory_ / "pid"), tree + "\n");
  EXPECT_TRUE(contains(outcome.output, "Pages restored: ")) << outcome.output;
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuCli, WorkDirectory) {
  const TemporaryDirectory work;
  const pid_t pid = start();
  const Outcome outcome =
      criu({"dump", "-t", std::to_string(pid), "-D", images_, "-W", work.path(), "-o", "log", "-R"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  for (const char* name : {"log", "stats-dump"}) {
    EXPECT_TRUE(try_read(work / name).has_value()) << name;
    EXPECT_FALSE(try_read(directory_ / name).has_value()) << name;
  }
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuCli, RestoreAsSibling) {
  const pid_t pid = start();
  ASSERT_EQ(criu({"dump", "-t", std::to_string(pid), "-D", images_}).exit_code, 0);
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  const Outcome outcome = criu({"restore", "-D", images_, "-d", "-S"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST_F(CriuCli, TheRestorerBecomesACommand) {
  const pid_t pid = start();
  ASSERT_EQ(criu({"dump", "-t", std::to_string(pid), "-D", images_}).exit_code, 0);
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  const std::string command = "ps -o ppid= -p " + std::to_string(pid) + "; echo $$";
  const Outcome outcome = criu({"restore", "-D", images_, "--exec-cmd", "--", "/bin/sh", "-c", command});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const std::vector<std::string> words = words_of([&] {
    std::string one_line = outcome.output;
    std::replace(one_line.begin(), one_line.end(), '\n', ' ');
    return one_line;
  }());
  ASSERT_EQ(words.size(), 2U) << outcome.output;
  EXPECT_EQ(words[0], words[1]) << "the command is the root's parent";
}

TEST_F(CriuCli, ActionScripts) {
  const pid_t pid = start();
  const std::string script = "echo $CRTOOLS_SCRIPT_ACTION $CRTOOLS_INIT_PID $CRTOOLS_IMAGE_DIR >>seen";
  const auto seen = [&] { return try_read(directory_ / "seen").value_or(""); };
  const std::string tail = " " + std::to_string(pid) + " " + images_ + "\n";
  ASSERT_EQ(criu({"dump", "-t", std::to_string(pid), "-D", images_, "--action-script", script}).exit_code, 0);
  EXPECT_EQ(seen(), "pre-dump" + tail + "network-lock" + tail + "post-dump" + tail);
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  ::unlink((directory_ / "seen").c_str());
  ASSERT_EQ(criu({"restore", "-D", images_, "-d", "--action-script", script}).exit_code, 0);
  EXPECT_TRUE(seen().starts_with("pre-restore " + images_ + "\nsetup-namespaces" + tail)) << seen();
  EXPECT_TRUE(seen().ends_with("pre-resume" + tail + "post-resume" + tail)) << seen();
}

TEST_F(CriuCli, ActionScriptThatFails) {
  const pid_t pid = start();
  const Outcome outcome = criu({"dump", "-t", std::to_string(pid), "-D", images_, "--action-script",
                                "test $CRTOOLS_SCRIPT_ACTION != post-dump"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.output, "failed at post-dump with exit code 1")) << outcome.output;
  EXPECT_TRUE(runs(pid));
  EXPECT_FALSE(try_read(directory_ / "checkpoint").has_value());
}

/// They neither inherit what the program does with signals, nor are its command's.
TEST_F(CriuCli, ProgramsThatItStartsHaveSignalsAsTheyExpect) {
  const std::string look = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
  const auto expect_usual = [](const std::string& text) {
    EXPECT_TRUE(contains(text, "SigBlk:\t0000000000000000\n")) << text;
    const size_t ignored = text.find("SigIgn:\t");
    ASSERT_NE(ignored, std::string::npos) << text;
    const uint64_t mask = std::strtoull(text.c_str() + ignored + 8, nullptr, 16);
    EXPECT_EQ(mask & (1ULL << (SIGPIPE - 1) | 1ULL << (SIGXFSZ - 1)), 0U) << text;
  };
  const pid_t pid = start();
  ASSERT_EQ(
      criu({"dump", "-t", std::to_string(pid), "-D", images_, "--action-script", look + " >seen"}).exit_code,
      0);
  expect_usual(try_read(directory_ / "seen").value_or(""));
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  const Outcome outcome = criu({"restore", "-D", images_, "--action-script", look + " >seen-by-restore",
                                "--exec-cmd", "--", "/bin/sh", "-c", look});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  expect_usual(try_read(directory_ / "seen-by-restore").value_or(""));
  expect_usual(outcome.output);
}

TEST_F(CriuCli, AnActionScriptThatHangsEndsWithADumpThatGetsSigterm) {
  const pid_t pid = start();
  for (const char* moment : {"pre-dump", "network-lock", "post-dump"}) {
    const std::string hang = fmt::format(
        "test $CRTOOLS_SCRIPT_ACTION != {} || {{ echo $$ >{}; exec sleep 1000; }}; "
        "echo $CRTOOLS_SCRIPT_ACTION >>seen",
        moment, moment);
    const pid_t dumper = launch({CRIU_BINARY, "dump", "-t", std::to_string(pid), "-D", images_, "-o",
                                 "dump.log", "--action-script", hang});
    const auto script = [&] { return try_read(directory_ / moment).value_or(""); };
    ASSERT_TRUE(wait_until([&] { return script().ends_with('\n'); }));
    const pid_t script_pid = std::atoi(script().c_str());
    ASSERT_EQ(::kill(dumper, SIGTERM), 0);
    const int status = wait_for_end(dumper);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
    EXPECT_TRUE(wait_until_gone({script_pid}));
    EXPECT_TRUE(contains(log("dump.log"), "interrupted by SIGTERM")) << log("dump.log");
    if (moment != std::string("pre-dump")) {
      EXPECT_TRUE(log("seen").ends_with("network-unlock\n")) << log("seen");
      ::unlink((directory_ / "seen").c_str());
    }
    EXPECT_TRUE(runs(pid));
    EXPECT_FALSE(try_read(directory_ / "checkpoint").has_value());
  }
}

TEST_F(CriuCli, AnActionScriptThatHangsEndsWithARestoreThatGetsSigterm) {
  const pid_t pid = start();
  ASSERT_EQ(criu({"dump", "-t", std::to_string(pid), "-D", images_}).exit_code, 0);
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  const pid_t restorer =
      launch({CRIU_BINARY, "restore", "-D", images_, "-d", "--action-script",
              "test $CRTOOLS_SCRIPT_ACTION != pre-resume || { echo >hangs; exec sleep 1000; }"});
  ASSERT_TRUE(wait_until([&] { return try_read(directory_ / "hangs").has_value(); }));
  ASSERT_EQ(::kill(restorer, SIGTERM), 0);
  const int status = wait_for_end(restorer);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
  EXPECT_TRUE(wait_until_gone({pid}));
}

TEST_F(CriuCli, WhatAnActionScriptRunsEndsWithIt) {
  const pid_t pid = start();
  const pid_t dumper = launch({CRIU_BINARY, "dump", "-t", std::to_string(pid), "-D", images_,
                               "--action-script", "sleep 1000 & echo $! >child; wait; exit 1"});
  const auto child = [&] { return try_read(directory_ / "child").value_or(""); };
  ASSERT_TRUE(wait_until([&] { return child().ends_with('\n'); }));
  ASSERT_EQ(::kill(dumper, SIGTERM), 0);
  const int status = wait_for_end(dumper);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
  EXPECT_TRUE(wait_until_gone({std::atoi(child().c_str())}, 10));
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuCli, AnActionScriptThatDoesNotHeedSigtermEndsWithTheNext) {
  const pid_t pid = start();
  const pid_t dumper = launch({CRIU_BINARY, "dump", "-t", std::to_string(pid), "-D", images_,
                               "--action-script", "trap '' TERM; echo >hangs; exec sleep 1000"});
  ASSERT_TRUE(wait_until([&] { return try_read(directory_ / "hangs").has_value(); }));
  const auto began = std::chrono::steady_clock::now();
  int status = 0;
  ASSERT_TRUE(wait_until([&] {
    ::kill(dumper, SIGTERM);
    return ::waitpid(dumper, &status, WNOHANG) == dumper;
  }));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(4))
      << "it waits for 5 s otherwise";
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuCli, OptionsFromAFile) {
  const pid_t pid = start();
  const std::string config = directory_ / "options";
  write_text(config, "leave-running\nlog-file from-the-file\n");
  const Outcome outcome = criu({"dump", "-t", std::to_string(pid), "-D", images_, "--config", config});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_TRUE(runs(pid));
  EXPECT_TRUE(try_read(directory_ / "from-the-file").has_value());
  write_text(config, "lazy-pages\n");
  const Outcome refused = criu({"dump", "-t", std::to_string(pid), "-D", images_, "-R", "--config", config});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(contains(refused.output, "option lazy-pages isn't supported")) << refused.output;
}

TEST_F(CriuCli, OptionsFromTheFileOfTheUser) {
  const pid_t pid = start();
  ASSERT_EQ(::mkdir((directory_ / ".criu").c_str(), 0700), 0);
  write_text(directory_ / ".criu/default.conf", "lazy-pages\n");
  const std::string command =
      "HOME='" + images_ + "' " + CRIU_BINARY + " dump -R -D '" + images_ + "' -t " + std::to_string(pid);
  const Outcome refused = run({"/bin/sh", "-c", command});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(contains(refused.output, "option lazy-pages isn't supported")) << refused.output;
  const Outcome done = run({"/bin/sh", "-c", command + " --no-default-config"});
  EXPECT_EQ(done.exit_code, 0) << done.output;
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuCli, ARestoreWaitsForTheRootAndPassesSignalsOn) {
  const pid_t pid = start();
  ASSERT_EQ(criu({"dump", "-t", std::to_string(pid), "-D", images_}).exit_code, 0);
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  const pid_t restorer = launch({CRIU_BINARY, "restore", "-D", images_, "--pidfile", "pid"});
  ASSERT_TRUE(wait_until([&] { return try_read(directory_ / "pid") == std::to_string(pid) + "\n"; }));
  ASSERT_TRUE(runs(pid));
  EXPECT_EQ(::waitpid(restorer, nullptr, WNOHANG), 0);
  ASSERT_EQ(::kill(restorer, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(restorer), 0);
  EXPECT_TRUE(wait_until_gone({pid}));
}

TEST_F(CriuCli, WithoutStandardDescriptorsNoLineGetsIntoTheCheckpoint) {
  const pid_t pid = start();
  const Outcome outcome = run({"/bin/sh", "-c",
                               std::string(CRIU_BINARY) + " dump -v4 -R -D '" + images_ + "' -t " +
                                   std::to_string(pid) + " <&- >&- 2>&-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  const Outcome verified = godwit({"verify", images_});
  EXPECT_TRUE(verified.ok()) << verified.output;
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuCli, ASocketOfAnotherKindIsRefused) {
  const Outcome outcome = criu({"swrk", "0"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.output, "isn't a SOCK_SEQPACKET socket")) << outcome.output;
}

TEST_F(CriuCli, CommandsThatAreNotSupportedAreRefusedByName) {
  const pid_t pid = start();
  for (const char* command : {"page-server", "lazy-pages", "dedup"}) {
    const Outcome outcome = criu({command, "-t", std::to_string(pid), "-D", images_});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_TRUE(contains(outcome.output, command)) << outcome.output;
  }
  EXPECT_TRUE(runs(pid));
}

TEST_F(CriuCli, ThePidFileIsThereBeforeTheTreeRuns) {
  const pid_t pid = start();
  ASSERT_EQ(criu({"dump", "-t", std::to_string(pid), "-D", images_}).exit_code, 0);
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(pid)));
  const Outcome outcome = criu({"restore", "-D", images_, "-d", "--pidfile", "pid", "--action-script",
                                "test $CRTOOLS_SCRIPT_ACTION != post-restore || cp pid seen"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(try_read(directory_ / "seen"), std::to_string(pid) + "\n");
}

TEST_F(CriuCli, Service) {
  const std::string address = directory_ / "socket";
  const std::string pidfile = directory_ / "service.pid";
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const Fd read_end(ready[0]);
  Fd write_end(ready[1]);
  LaunchOptions options;
  options.in_child = [&] { ::fcntl(write_end.get(), F_SETFD, 0); };
  const std::string script =
      "test -S " + address + " && echo $CRTOOLS_SCRIPT_ACTION >" + (directory_ / "seen");
  const pid_t service = launch({CRIU_BINARY, "service", "--address", address, "--pidfile", pidfile,
                                "--status-fd", std::to_string(write_end.get()), "--action-script", script},
                               options);
  write_end.reset();
  char byte = 1;
  ASSERT_EQ(::read(read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 0);
  EXPECT_EQ(try_read(directory_ / "seen"), "status-ready\n");
  EXPECT_EQ(try_read(pidfile), std::to_string(service) + "\n");
  const pid_t pid = start();
  const Fd images = open_file(images_, O_RDONLY | O_DIRECTORY);
  for (int round = 0; round < 2; ++round) {
    CriuClient client(connect_to(address));
    rpc::Request request = criu_request(rpc::DUMP, images);
    request.mutable_opts()->set_pid(pid);
    request.mutable_opts()->set_leave_running(true);
    const rpc::Response response = client.ask(request);
    EXPECT_TRUE(response.success()) << response.cr_errmsg();
  }
  EXPECT_TRUE(runs(pid));
  ASSERT_EQ(::kill(service, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(service), 0);
  EXPECT_FALSE(try_read(pidfile).has_value());
  EXPECT_NE(::access(address.c_str(), F_OK), 0);
}

/// Its descriptors aren't the client's.
TEST_F(CriuCli, AServiceRefusesToHandOverDescriptorsByNumber) {
  const std::string address = directory_ / "socket";
  const pid_t service = launch({CRIU_BINARY, "service", "--address", address});
  ASSERT_TRUE(wait_until([&] { return ::access(address.c_str(), F_OK) == 0; }));
  const Fd images = open_file(images_, O_RDONLY | O_DIRECTORY);
  rpc::Request request = criu_request(rpc::RESTORE, images);
  auto* handed_over = request.mutable_opts()->add_inherit_fd();
  handed_over->set_fd(1);
  handed_over->set_key("pipe:[1]");
  CriuClient client(connect_to(address));
  const rpc::Response response = client.ask(request);
  EXPECT_FALSE(response.success());
  EXPECT_TRUE(contains(response.cr_errmsg(), "option inherit-fd isn't supported by a service"))
      << response.cr_errmsg();
  ASSERT_EQ(::kill(service, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(service), 0);
}

TEST_F(CriuCli, AServiceThatCannotAcceptForAWhileGoesOn) {
  const std::string address = directory_ / "socket";
  const std::string service_log = directory_ / "log";
  const pid_t service = launch({CRIU_BINARY, "service", "--address", address, "-o", service_log});
  ASSERT_TRUE(wait_until([&] { return ::access(address.c_str(), F_OK) == 0; }));
  rlimit before{};
  ASSERT_EQ(::prlimit(service, RLIMIT_NOFILE, nullptr, &before), 0);
  const rlimit none{.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(::prlimit(service, RLIMIT_NOFILE, &none, nullptr), 0);
  CriuClient client(connect_to(address));
  rpc::Request request;
  request.set_type(rpc::VERSION);
  client.send(request);
  ASSERT_TRUE(wait_until([&] { return contains(log("log"), "cannot accept a client"); })) << log("log");
  ASSERT_EQ(::prlimit(service, RLIMIT_NOFILE, &before, nullptr), 0);
  EXPECT_TRUE(client.receive().success());
  ASSERT_EQ(::kill(service, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(service), 0);
}

TEST_F(CriuCli, AServiceWithAStatusDescriptorThatIsNoneDoesNotStart) {
  for (const char* status : {"x", "1x"}) {
    const Outcome outcome = criu({"service", "--address", directory_ / "socket", "--status-fd", status});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_TRUE(contains(outcome.output, "status descriptor")) << outcome.output;
  }
}

/// In the background, and through clients that go away in the middle.
TEST_F(CriuCli, ServiceInTheBackground) {
  const std::string address = directory_ / "socket";
  const std::string pidfile = directory_ / "service.pid";
  ASSERT_EQ(criu({"service", "-d", "--address", address, "--pidfile", pidfile}).exit_code, 0);
  ASSERT_TRUE(wait_until([&] { return try_read(pidfile).value_or("").ends_with("\n"); }));
  const pid_t service = std::atoi(try_read(pidfile)->c_str());
  const pid_t pid = start();
  const Fd images = open_file(images_, O_RDONLY | O_DIRECTORY);
  rpc::Request request = criu_request(rpc::DUMP, images);
  request.mutable_opts()->set_pid(pid);
  request.mutable_opts()->set_leave_running(true);
  request.mutable_opts()->set_notify_scripts(true);
  {
    CriuClient client(connect_to(address));
    client.send(request);
    EXPECT_EQ(client.receive().notify().script(), "pre-dump");
  }
  ASSERT_TRUE(wait_until([&] { return contains(log("criu.log"), "went away at pre-dump"); }))
      << log("criu.log");
  CriuClient client(connect_to(address));
  const rpc::Response response = client.ask(request);
  EXPECT_TRUE(response.success()) << response.cr_errmsg();
  EXPECT_TRUE(runs(pid));
  ASSERT_EQ(::kill(service, SIGTERM), 0);
  EXPECT_TRUE(wait_until_gone({service}));
}

}  // namespace
}  // namespace godwit::e2e
