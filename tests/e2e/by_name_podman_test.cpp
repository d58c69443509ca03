// Containers of Podman's are dumped by their names and restored through Podman, which owns them again: what
// `godwit dump --podman` and `godwit restore --podman` promise.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/e2e/podman.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/runtime.h"

namespace godwit::e2e {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class PodmanByName : public Podman {
 protected:
  [[nodiscard]] Outcome by_name(const std::string& command, const std::vector<std::string>& more = {},
                                const std::string& name = "first") const {
    std::vector<std::string> words{command, "--podman", name, "-D", images_};
    const std::vector<std::string> options = options_of_godwit();
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), more.begin(), more.end());
    return godwit(words);
  }

  [[nodiscard]] Outcome dump(const std::vector<std::string>& more = {}) const {
    std::filesystem::remove_all(images_);
    return by_name("dump", more);
  }
  [[nodiscard]] Outcome restore(const std::vector<std::string>& more = {}) const {
    return by_name("restore", more);
  }

  [[nodiscard]] std::string status() const {
    return podman("inspect --format '{{.Name}} {{.State.Status}}' first").output;
  }
  /// In which Podman keeps what is the container's.
  [[nodiscard]] std::string directory() const {
    const std::string printed = podman("inspect --format '{{.StaticDir}}' first").output;
    return printed.substr(0, printed.find('\n'));
  }
  [[nodiscard]] bool has(const std::string& file) const {
    return std::filesystem::exists(images_ + "/" + file);
  }

  /// The dump is refused, and the container runs on.
  void expect_refused(const std::string& says, const std::vector<std::string>& more = {}) const {
    const Outcome outcome = dump(more);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
    EXPECT_TRUE(contains(outcome.output, says)) << outcome.output;
    EXPECT_FALSE(std::filesystem::exists(images_));
    EXPECT_TRUE(counts("first"));
  }

  const std::string images_ = state_ / "images";
};

TEST_F(PodmanByName, ThreeTimes) {
  ASSERT_TRUE(with_criu("mkdir '" + state_.path() + "/there'").ok());
  ASSERT_NO_FATAL_FAILURE(start("--network none -v '" + state_.path() + "/there:/here' -v named:/named"));
  ASSERT_TRUE(
      podman("exec first /bin/sh -c 'echo one >/here/a; echo two >/named/b; echo three >/dev/shm/c'").ok());
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = dump();
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    for (const std::string& found :
         {std::string("Podman's container first: task "), std::string("  id                     "),
          state_ / "root/overlay/", std::string("/libpod-"),
          std::string("mounts from outside    /here, /named"), std::string("network                none"),
          images_ + ": "}) {
      EXPECT_TRUE(contains(dumped.output, found)) << found << " isn't in " << dumped.output;
    }
    EXPECT_EQ(status(), "first exited\n");
    EXPECT_TRUE(godwit({"verify", images_}).ok());
    EXPECT_TRUE(contains(godwit({"inspect", images_}).output, "sh  running"));
    const int before = last_line("first");
    ASSERT_GT(before, 0);
    const Outcome restored = restore();
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_EQ(status(), "first running\n");
    EXPECT_TRUE(contains(podman("ps").output, "first"));
    EXPECT_TRUE(counts("first"));
    EXPECT_GE(count("first"), before) << "it goes on where it was";
    EXPECT_TRUE(wait_until([&] { return last_line("first") > before; }, 10)) << "its output goes on";
    EXPECT_EQ(podman("exec first cat /here/a /named/b /dev/shm/c").output, "one\ntwo\nthree\n");
  }
  ASSERT_TRUE(podman("kill first").ok());
  EXPECT_TRUE(wait_until([&] { return status() == "first exited\n"; }, 10)) << "Podman owns it: " << status();
}

/// The checkpoint in our directory is one of its own: Podman's may go, or be another's.
TEST_F(PodmanByName, LeftRunningAndRestoredLater) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 2; ++round) {
    const Outcome dumped = dump({"--leave-running", "--json"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_TRUE(dumped.output.starts_with(R"({"container": {"runtime": "podman", "name": "first", "id": ")"))
        << dumped.output;
    EXPECT_TRUE(contains(dumped.output, R"("tasks": )")) << dumped.output;
    EXPECT_TRUE(counts("first"));
  }
  const Outcome there = restore();
  EXPECT_EQ(there.exit_code, 1);
  EXPECT_TRUE(contains(there.output, "is there: its state is 'running'")) << there.output;

  const int before = last_line("first");
  ASSERT_TRUE(counts("first"));
  // Podman makes another checkpoint itself, which it still has when ours has been restored.
  ASSERT_TRUE(podman("container checkpoint --keep first").ok());
  const std::string podmans = directory() + "/checkpoint/checkpoint";
  const std::string content = try_read(podmans).value_or("");
  ASSERT_FALSE(content.empty());
  ASSERT_NE(content, try_read(images_ + "/checkpoint").value_or(""));
  const Outcome restored = restore();
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(counts("first"));
  EXPECT_GT(before, 0);
  EXPECT_TRUE(try_read(podmans) == content);
  EXPECT_TRUE(godwit({"verify", images_}).ok());

  ASSERT_TRUE(podman("kill first").ok());
  std::filesystem::remove_all(directory() + "/checkpoint");
  const Outcome again = restore();
  ASSERT_TRUE(again.ok()) << again.words();
  EXPECT_TRUE(counts("first"));
  EXPECT_FALSE(std::filesystem::exists(directory() + "/checkpoint")) << "it wasn't there before";
}

/// Either takes what the other has made.
TEST_F(PodmanByName, TogetherWithPodmansOwnCommands) {
  ASSERT_NO_FATAL_FAILURE(start("--network none -t"));
  ASSERT_TRUE(dump().ok());
  const Outcome by_podman = podman("container restore first");
  ASSERT_TRUE(by_podman.ok()) << by_podman.output;
  ASSERT_TRUE(counts("first"));
  EXPECT_TRUE(godwit({"verify", images_}).ok()) << "Podman has removed its own";
  const Outcome again = podman("container checkpoint first");
  ASSERT_TRUE(again.ok()) << again.output;
  EXPECT_TRUE(godwit({"verify", images_}).ok()) << "and made another";
}

/// Nothing of Podman's is in the way or lost, and what criu says comes through.
TEST_F(PodmanByName, ARestoreThatFails) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(dump().ok());
  const std::string podmans = directory() + "/checkpoint/checkpoint";
  const std::string content = try_read(podmans).value_or("");

  // Something that its executable can't be.
  const std::string root = podman("mount first").output;
  const std::string busybox = root.substr(0, root.find('\n')) + "/bin/busybox";
  ASSERT_EQ(rename(busybox.c_str(), (busybox + ".aside").c_str()), 0);
  const Outcome failed = restore();
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_TRUE(contains(failed.output, "Podman's container 'first': podman container restore failed: "))
      << failed.output;
  EXPECT_TRUE(contains(failed.output, "busybox")) << failed.output;
  EXPECT_EQ(status(), "first exited\n");
  EXPECT_TRUE(!content.empty() && try_read(podmans) == content);
  ASSERT_EQ(rename((busybox + ".aside").c_str(), busybox.c_str()), 0);
  static_cast<void>(podman("unmount first"));
  const Outcome restored = restore();
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(counts("first"));
}

/// Podman has made the checkpoint and ended the container, but it can't be copied: it runs on.
TEST_F(PodmanByName, ACheckpointThatCannotBeCopied) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string small = state_ / "small";
  ASSERT_TRUE(with_criu("mkdir '" + small + "' && mount -t tmpfs -o size=64k tmpfs '" + small + "'").ok());
  std::vector<std::string> words{"dump", "--podman", "first", "-D", small + "/images"};
  const std::vector<std::string> options = options_of_godwit();
  words.insert(words.end(), options.begin(), options.end());
  const Outcome outcome = godwit(words);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  EXPECT_TRUE(contains(outcome.output, "No space left on device")) << outcome.output;
  EXPECT_TRUE(std::filesystem::is_empty(small));
  EXPECT_EQ(status(), "first running\n");
  EXPECT_TRUE(counts("first"));
}

TEST_F(PodmanByName, WhatIsRefused) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(podman("pause first").ok());
  const Outcome paused = dump();
  EXPECT_EQ(paused.exit_code, 1);
  EXPECT_TRUE(contains(paused.output, "it is paused; 'podman unpause first' has it run on")) << paused.output;
  ASSERT_TRUE(podman("unpause first").ok());

  ASSERT_TRUE(podman("exec -d first /bin/sleep 1000").ok());
  expect_refused("which isn't of its tree; 'podman exec' started it");
  ASSERT_TRUE(podman("exec first /bin/sh -c 'kill $(busybox pidof sleep)'").ok());
  EXPECT_TRUE(wait_until([&] { return dump({"--leave-running"}).ok(); }, 10)) << dump().output;

  expect_refused("different namespace", {"--runtime-option=--namespace=other"});
  std::ofstream(images_) << "a file";
  const Outcome taken = by_name("dump");
  EXPECT_EQ(taken.exit_code, 1) << taken.words();
  EXPECT_TRUE(counts("first"));
  EXPECT_EQ(try_read(images_), "a file");
  std::filesystem::remove(images_);

  ASSERT_TRUE(dump().ok());
  const Outcome ended = by_name("dump");
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_TRUE(contains(ended.output, "it doesn't run: its state is 'exited'")) << ended.output;
  ASSERT_TRUE(podman("create --network none --name second counter /bin/sh").ok());
  const Outcome others = by_name("restore", {}, "second");
  EXPECT_EQ(others.exit_code, 1);
  EXPECT_TRUE(contains(others.output, "is the checkpoint of podman's container ")) << others.output;
  std::filesystem::remove(images_ + "/container.json");
  const Outcome whose = restore();
  EXPECT_EQ(whose.exit_code, 1);
  EXPECT_TRUE(contains(whose.output, "'godwit dump --podman' writes it")) << whose.output;
}

TEST_F(PodmanByName, OneThatPodmanRemovesWhenItEnds) {
  ASSERT_NO_FATAL_FAILURE(start("--rm --network none"));
  expect_refused("since it was started with --rm; --leave-running dumps it without ending it");
  const Outcome left = dump({"--leave-running"});
  EXPECT_TRUE(contains(left.output, "--rm")) << "Podman refuses it by itself: " << left.output;
  EXPECT_TRUE(counts("first"));
}

TEST_F(PodmanByName, NamesAndOptionsThatAreRefused) {
  const auto expect = [&](const std::vector<std::string>& words, int code, const std::string& says) {
    const Outcome outcome = godwit(words);
    EXPECT_EQ(outcome.exit_code, code) << outcome.words();
    EXPECT_TRUE(contains(outcome.output, says)) << outcome.output;
    EXPECT_FALSE(std::filesystem::exists(images_));
  };
  for (const char* name : {"..", "-a", "../../etc", "a/b", "a b", "web\n"}) {
    expect({"dump", std::string("--podman=") + name, "-D", images_}, 1, "can't be the name of a container");
    expect({"dump", std::string("--docker=") + name, "-D", images_}, 1, "can't be the name of a container");
  }
  EXPECT_TRUE(contains(by_name("dump", {}, "nobody").output, "no such container nobody"));
  expect({"dump", "--podman", "web", "-o", images_}, 2, "-D says which");
  expect({"dump", "--podman", "web", "-D", images_, "--leave-stopped"}, 2, "--leave-running, or ends");
  expect({"dump", "--podman", "web", "-D", images_, "--compress", "zstd"}, 2, "can't be told of");
  expect({"dump", "--podman", "web", "-D", images_, "--runtime-option", "rm"}, 2, "can't be a global option");
  expect({"dump", "--runc", "web", "-D", images_, "--runtime-option=--debug"}, 2, "goes with --podman and");
  expect({"dump", "--docker", "web", "-D", images_, "--runtime-root", "/srv"}, 2,
         "goes with --runc and --podman");
  expect({"restore", "--podman", "web", "-D", images_, "--bundle", "/srv"}, 2, "go with --runc");
  expect({"restore", "--podman", "web", "-D", images_, "--pidfile", "/run/web"}, 2,
         "--pidfile doesn't go with");
}

}  // namespace
}  // namespace godwit::e2e
