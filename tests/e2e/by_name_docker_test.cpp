// Containers of Docker's are dumped by their names and restored through Docker, which owns them again: what
// `godwit dump --docker` and `godwit restore --docker` promise.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/docker.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class DockerByName : public Docker {
 protected:
  void start(const std::string& options = "--network none", const std::string& before_counting = "") const {
    const Outcome started = docker("run -d " + options + " --name first counter /bin/sh -c '" +
                                   before_counting + kCountForever + "'");
    ASSERT_TRUE(started.ok()) << started.words();
    ASSERT_TRUE(counts());
  }

  [[nodiscard]] Outcome by_name(const std::string& command, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{command, "--docker", "first", "-D", images_};
    const std::vector<std::string> options = options_of_godwit();
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), more.begin(), more.end());
    return godwit(words);
  }
  [[nodiscard]] Outcome dump(const std::vector<std::string>& more = {}) const {
    std::filesystem::remove_all(images_);
    return by_name("dump", more);
  }
  [[nodiscard]] Outcome restore() const { return by_name("restore"); }

  [[nodiscard]] std::string status() const {
    return docker("ps --all --format '{{.Names}} {{.State}}'").output;
  }
  /// What Docker has of them.
  [[nodiscard]] std::string checkpoints() const { return docker("checkpoint ls first").output; }

  /// The dump is refused, and the container runs on.
  void expect_refused(const std::string& says, const std::vector<std::string>& more = {}) const {
    const Outcome outcome = dump(more);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
    EXPECT_TRUE(contains(outcome.output, says)) << outcome.output;
    EXPECT_FALSE(std::filesystem::exists(images_));
    EXPECT_FALSE(contains(checkpoints(), "godwit-")) << checkpoints();
    EXPECT_TRUE(counts());
  }

  const std::string images_ = state_ / "images";
};

TEST_F(DockerByName, ThreeTimes) {
  ASSERT_NO_FATAL_FAILURE(
      start("-p 18080:80 -v named:/named", "echo hello >/index.html; httpd -p 80 -h /; "));
  ASSERT_TRUE(wait_until([&] { return fetch() == "hello\n"; }, 10)) << fetch();
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = dump();
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    for (const std::string& found :
         {std::string("Docker's container first: task "), std::string("  id                     "),
          state_ / "data/", std::string("mounts from outside    /named"),
          std::string("network                bridge 172."), images_ + ": 3 tasks"}) {
      EXPECT_TRUE(contains(dumped.output, found)) << found << " isn't in " << dumped.output;
    }
    EXPECT_EQ(status(), "first exited\n");
    EXPECT_TRUE(godwit({"verify", images_}).ok());
    EXPECT_TRUE(contains(godwit({"inspect", images_}).output, "httpd"));
    const int before = std::atoi(docker("logs --tail 1 first").output.c_str());
    ASSERT_GT(before, 0);
    EXPECT_FALSE(contains(fetch(), "hello")) << "nobody answers while it is down";
    const Outcome restored = restore();
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_EQ(status(), "first running\n");
    EXPECT_TRUE(counts());
    EXPECT_GE(count(), before) << "it goes on where it was";
    EXPECT_EQ(fetch(), "hello\n");
    EXPECT_FALSE(contains(checkpoints(), "godwit-")) << checkpoints();
  }
  ASSERT_TRUE(docker("kill first").ok());
  EXPECT_TRUE(wait_until([&] { return status() == "first exited\n"; }, 10)) << "Docker owns it: " << status();
}

TEST_F(DockerByName, LeftRunningAndRestoredLater) {
  ASSERT_NO_FATAL_FAILURE(start("--network none -t"));
  for (int round = 0; round < 2; ++round) {
    const Outcome dumped = dump({"--leave-running", "--json"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_TRUE(dumped.output.starts_with(R"({"container": {"runtime": "docker", "name": "first", "id": ")"))
        << dumped.output;
    EXPECT_TRUE(counts());
  }
  const Outcome there = restore();
  EXPECT_EQ(there.exit_code, 1);
  EXPECT_TRUE(contains(there.output, "is there: its state is 'running'")) << there.output;
  const int before = count();
  ASSERT_TRUE(docker("kill first").ok());
  const Outcome restored = restore();
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_GT(before, 0);
  EXPECT_TRUE(wait_until([&] { return count() > before; }, 10));
}

TEST_F(DockerByName, WhatIsRefused) {
  ASSERT_NO_FATAL_FAILURE(start("--network none --restart always"));
  expect_refused("since its restart policy is 'always'; 'docker update --restart=no first' changes that");
  EXPECT_TRUE(dump({"--leave-running"}).ok());
  ASSERT_TRUE(docker("update --restart=no first").ok());

  ASSERT_TRUE(docker("exec -d first /bin/sleep 1000").ok());
  expect_refused("which isn't of its tree; 'docker exec' started it");
  ASSERT_TRUE(docker("exec first /bin/sh -c 'kill $(busybox pidof sleep)'").ok());

  ASSERT_TRUE(docker("pause first").ok());
  const Outcome paused = dump();
  EXPECT_EQ(paused.exit_code, 1);
  EXPECT_TRUE(contains(paused.output, "it is paused; 'docker unpause first' has it run on")) << paused.output;
  ASSERT_TRUE(docker("unpause first").ok());

  std::ofstream(images_) << "a file";
  EXPECT_EQ(by_name("dump").exit_code, 1);
  EXPECT_TRUE(counts());
  std::filesystem::remove(images_);

  EXPECT_TRUE(wait_until([&] { return dump().ok(); }, 10)) << dump().output;
  const Outcome ended = by_name("dump");
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_TRUE(contains(ended.output, "it doesn't run: its state is 'exited'")) << ended.output;
}

/// With which its checkpoints would go.
TEST_F(DockerByName, OneThatDockerRemovesWhenItEnds) {
  ASSERT_NO_FATAL_FAILURE(start("--rm --network none"));
  expect_refused("since it was started with --rm; --leave-running dumps it without ending it");
  EXPECT_TRUE(dump({"--leave-running"}).ok());
  EXPECT_TRUE(counts());
}

TEST_F(DockerByName, ARestoreThatFails) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(dump().ok());
  const std::string root = docker("inspect --format '{{.GraphDriver.Data.UpperDir}}' first").output;
  const std::string upper = root.substr(0, root.find('\n'));
  // As if its executable had been removed: a white-out.
  ASSERT_TRUE(
      run({"/bin/sh", "-c", "mkdir -p '" + upper + "/bin' && mknod '" + upper + "/bin/busybox' c 0 0"}).ok());
  const Outcome failed = restore();
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_TRUE(contains(failed.output, "Docker's container 'first': docker start ")) << failed.output;
  EXPECT_TRUE(contains(failed.output, "criu failed: ")) << "whose log Docker removes: " << failed.output;
  EXPECT_EQ(status(), "first exited\n");
  EXPECT_FALSE(contains(checkpoints(), "godwit-")) << checkpoints();
  std::filesystem::remove(upper + "/bin/busybox");
  const Outcome restored = restore();
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(counts());
}

/// The daemon finds another criu than ours, or none.
class DockerWithoutOurs : public DockerByName {
 protected:
  void SetUp() override {}
};

TEST_F(DockerWithoutOurs, IsRefused) {
  ASSERT_NO_FATAL_FAILURE(set_up("PATH='" + state_.path() + "/programs':/usr/sbin:/usr/bin:/sbin:/bin"));
  ASSERT_NO_FATAL_FAILURE(start());
  expect_refused("finds no criu in its PATH; start dockerd with ");
  std::filesystem::create_directory(state_ / "programs");
  std::ofstream(state_ / "programs/criu") << "#!/bin/sh\necho 'Version: 4.2'\n";
  std::filesystem::permissions(state_ / "programs/criu", std::filesystem::perms::owner_all);
  expect_refused("finds " + (state_ / "programs/criu") + ", which isn't godwit's; start dockerd with ");
}

}  // namespace
}  // namespace godwit::e2e
