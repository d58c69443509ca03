// A container of runc's is dumped by its name and restored through runc, which owns it again: what
// `godwit dump --runc` and `godwit restore --runc` promise.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/console_socket.h"
#include "tests/e2e/conversation.h"
#include "tests/e2e/counting_container.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/runc_container.h"

namespace godwit::e2e {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class ByName : public testing::Test {
 protected:
  void start() {
    ASSERT_TRUE(container_.start().ok());
    ASSERT_TRUE(container_.counts());
  }

  [[nodiscard]] std::vector<std::string> command(const std::string& name, const std::string& directory,
                                                 const std::vector<std::string>& more) const {
    std::vector<std::string> words{
        name, "--runc", container_.name, "--runtime-root", container_.state / "runc", "-D", directory};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  [[nodiscard]] Outcome dump(const std::vector<std::string>& more = {}) const {
    std::filesystem::remove_all(images_);
    return godwit(command("dump", images_, more));
  }

  [[nodiscard]] Outcome restore(const std::vector<std::string>& more = {"--detach"}) const {
    return godwit(command("restore", images_, more));
  }

  [[nodiscard]] std::string state() const { return container_.runc("state " + container_.name).output; }
  [[nodiscard]] std::string state_file() const {
    return container_.state / ("runc/" + container_.name + "/state.json");
  }

  /// The dump is refused, and the container runs on.
  void expect_refused(const std::string& says) const {
    const Outcome outcome = dump();
    EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
    EXPECT_TRUE(contains(outcome.output, says)) << outcome.output;
    EXPECT_FALSE(std::filesystem::exists(images_));
    EXPECT_TRUE(container_.counts());
  }

  Reaper reaper_;
  RuncContainer container_;
  const std::string images_ = container_.state / "images";
};

TEST_F(ByName, ThreeTimes) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = dump();
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    for (const std::string& found :
         {"runc's container " + container_.name + ": task ", container_.bundle / "rootfs",
          "bundle                 " + container_.bundle.path(), container_.name + ",",
          std::string("mounts from outside"), images_ + ": "}) {
      EXPECT_TRUE(contains(dumped.output, found)) << found << " isn't in " << dumped.output;
    }
    EXPECT_TRUE(contains(state(), "\"stopped\"")) << state();
    EXPECT_TRUE(godwit({"verify", images_}).ok());
    const int before = container_.count();
    ASSERT_GT(before, 0);
    const Outcome restored = restore();
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_TRUE(container_.counts());
    EXPECT_GE(container_.count(), before) << "it goes on where it was";
    EXPECT_TRUE(contains(state(), "\"running\"")) << state();
    EXPECT_TRUE(container_.exec("/bin/sh -c 'test -e /proc/1/stat'").ok());
  }
  EXPECT_TRUE(container_.runc("kill " + container_.name + " KILL").ok());
  EXPECT_TRUE(wait_until([&] { return contains(state(), "\"stopped\""); })) << "runc owns it";
}

TEST_F(ByName, LeftRunningAndAsJson) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 2; ++round) {
    const Outcome dumped = dump({"--leave-running", "--json"});
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    EXPECT_TRUE(container_.counts());
    EXPECT_TRUE(dumped.output.starts_with(R"({"container": {"runtime": "runc", "name": ")")) << dumped.output;
    EXPECT_TRUE(contains(dumped.output, R"("/proc/keys": "/dev/null")")) << dumped.output;
  }
  const Outcome refused = restore();
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(contains(refused.output, "is there; 'runc delete --force")) << refused.output;
  EXPECT_TRUE(container_.counts());
}

/// Its cgroup stays frozen when nobody is in it any more.
TEST_F(ByName, APausedContainer) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(container_.runc("pause " + container_.name).ok());
  const Outcome dumped = dump();
  ASSERT_TRUE(dumped.ok()) << dumped.output;
  const int before = container_.count();
  const Outcome restored = restore();
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(container_.counts()) << "it is restored running";
  EXPECT_GE(container_.count(), before);
  EXPECT_TRUE(contains(state(), "\"running\"")) << state();
}

/// Either takes what the other has written.
TEST_F(ByName, TogetherWithRuncsOwnCommands) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(dump().ok());
  ASSERT_TRUE(container_.runc("delete " + container_.name).ok());
  const Outcome by_runc = container_.restore();
  ASSERT_TRUE(by_runc.ok()) << by_runc.output;
  ASSERT_TRUE(container_.counts());

  std::filesystem::remove_all(images_);
  ASSERT_TRUE(container_.checkpoint().ok());
  const Outcome without = restore();
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_TRUE(contains(without.output, "give it by --bundle")) << without.output;
  const Outcome by_name = restore({"--detach", "--bundle", container_.bundle.path()});
  ASSERT_TRUE(by_name.ok()) << by_name.output;
  EXPECT_TRUE(container_.counts());
}

/// What the container mounts from outside is there again, what it joined is joined again.
TEST_F(ByName, WhatIsOutside) {
  const TemporaryDirectory outside;
  std::ofstream(outside / "file") << "from outside";
  const std::string network = "gwt" + std::to_string(getpid());
  ASSERT_TRUE(run({"/bin/ip", "netns", "add", network}).ok());
  container_.configure(
      "c['mounts'].append({'destination': '/data', 'type': 'bind', 'source': '" + outside.path() +
      "', 'options': ['bind', 'ro']})\n"
      "[n for n in c['linux']['namespaces'] if n['type'] == 'network'][0]['path'] = '/run/netns/" +
      network + "'");
  const auto check = [&] {
    EXPECT_EQ(container_.exec("/bin/cat /data/file").output, "from outside");
    const Outcome dumped = dump();
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    EXPECT_TRUE(contains(dumped.output, "mounts from outside    /data, ")) << dumped.output;
    EXPECT_TRUE(contains(dumped.output, "net of /run/netns/" + network)) << dumped.output;
    const Outcome restored = restore();
    ASSERT_TRUE(restored.ok()) << restored.output;
    EXPECT_EQ(container_.exec("/bin/cat /data/file").output, "from outside");
    EXPECT_TRUE(contains(run({"/bin/ip", "netns", "pids", network}).output, "\n")) << "it is in the network";
  };
  start();
  check();
  static_cast<void>(container_.runc("delete --force " + container_.name));
  EXPECT_TRUE(run({"/bin/ip", "netns", "del", network}).ok());
}

/// What the container writes into pipes of runc's comes through again, and its end ends runc and godwit.
TEST_F(ByName, Attached) {
  // The shell ends at once, and leaves runc to the reaper.
  ASSERT_TRUE(run({"/bin/sh", "-c",
                   container_.line("run --bundle '" + container_.bundle.path() + "' " + container_.name) +
                       " >'" + (container_.state / "before") + "' 2>&1 </dev/null &"})
                  .ok());
  ASSERT_TRUE(container_.counts());
  const Outcome dumped = dump();
  ASSERT_TRUE(dumped.ok()) << dumped.output;
  EXPECT_TRUE(contains(try_read(images_ + "/descriptors.json").value_or(""), "pipe:["));
  ASSERT_TRUE(wait_until([&] { return !std::filesystem::exists(state_file()); }))
      << "runc has seen the end of its container";

  const int before = container_.count();
  ASSERT_GT(before, 0);
  const std::string output = container_.state / "after";
  std::vector<std::string> words = command("restore", images_, {"--bundle", container_.bundle.path()});
  words.insert(words.begin(), GODWIT_BINARY);
  LaunchOptions options;
  options.output = output;
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  const pid_t godwit = launch(words, options);
  const auto written = [&] { return std::atoi(try_read(output).value_or("").c_str()); };
  EXPECT_TRUE(wait_until([&] { return written() > 0; }, 10)) << try_read(output).value_or("");
  EXPECT_GE(written(), before) << "the first line that the new pipe brought";
  EXPECT_TRUE(container_.counts());
  EXPECT_TRUE(container_.runc("kill " + container_.name + " KILL").ok());
  const int status = wait_for_end(godwit);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGKILL) << try_read(output).value_or("");
}

TEST_F(ByName, ATerminal) {
  container_.configure("c['process']['terminal'] = True; c['process']['args'] = ['/bin/sh']");
  std::optional<Conversation> terminal;
  {
    const ConsoleSocket console(container_.state / "console");
    ASSERT_TRUE(container_.start(console.option()).ok());
    terminal.emplace(console.receive());
  }
  terminal->type("x=41; echo is $((x))\n");
  ASSERT_TRUE(terminal->expect("is 41")) << terminal->seen();
  const Outcome dumped = dump();
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  terminal.reset();
  const ConsoleSocket console(container_.state / "console");
  const Outcome restored = restore({"--detach", "--console-socket", container_.state / "console"});
  ASSERT_TRUE(restored.ok()) << restored.words();
  terminal.emplace(console.receive());
  terminal->type("x=$((x + 1)); echo is $((x))\n");
  EXPECT_TRUE(terminal->expect("is 42")) << terminal->seen();
}

/// What our criu says comes through runc.
TEST_F(ByName, ARestoreThatFails) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(dump().ok());
  ASSERT_EQ(rename((images_ + "/descriptors.json").c_str(), (images_ + "/aside").c_str()), 0);
  const Outcome without = restore();
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_TRUE(contains(without.output, "descriptors.json")) << without.output;
  EXPECT_TRUE(contains(state(), "\"stopped\"")) << "runc hasn't been asked: " << state();
  ASSERT_EQ(rename((images_ + "/aside").c_str(), (images_ + "/descriptors.json").c_str()), 0);

  // Something that its executable can't be.
  const std::string busybox = container_.file("bin/busybox");
  ASSERT_EQ(rename(busybox.c_str(), (busybox + ".aside").c_str()), 0);
  const Outcome failed = restore();
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_TRUE(
      contains(failed.output, "godwit: restore: runc couldn't restore container '" + container_.name + "': "))
      << failed.output;
  EXPECT_TRUE(contains(failed.output, "busybox")) << failed.output;
  EXPECT_TRUE(contains(failed.output, "give --bundle " + container_.bundle.path())) << failed.output;
  ASSERT_EQ(rename((busybox + ".aside").c_str(), busybox.c_str()), 0);
  const Outcome restored = restore({"--detach", "--bundle", container_.bundle.path()});
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(container_.counts());
}

TEST_F(ByName, NamesThatAreRefused) {
  const auto expect = [&](const std::vector<std::string>& words, int code, const std::string& says) {
    const Outcome outcome = godwit(words);
    EXPECT_EQ(outcome.exit_code, code) << outcome.words();
    EXPECT_TRUE(contains(outcome.output, says)) << outcome.output;
    EXPECT_FALSE(std::filesystem::exists(images_));
  };
  for (const char* name : {"..", ".", "../../etc", "a/b", "a b", "web\n"}) {
    expect({"dump", "--runc", name, "-D", images_}, 1, "can't be the name of a container");
    expect({"dump", "--runc", name, "-D", images_, "--leave-running"}, 1, "can't be the name of a container");
  }
  expect({"dump", "--runc", "nobody", "--runtime-root", container_.state.path(), "-D", images_}, 1,
         "runc has no container 'nobody' in " + container_.state.path());
  expect({"dump", "--runc", "web", "--podman", "web", "-D", images_}, 2, "one runtime");
  expect({"dump", "--runc", "web", "-t", "1", "-D", images_}, 2, "exclude each other");
  expect({"dump", "--runtime-root", "/run", "-t", "1", "-D", images_}, 2, "goes with --runc and --podman");
  expect({"dump", "--runc", "web", "-o", images_}, 2, "-D says which");
  expect({"restore", "--runc", "web", "-i", images_}, 2, "-D says which");
  expect({"restore", "-D", images_, "--bundle", "/srv/web"}, 2, "go with --runc");
  expect({"restore", "-D", images_, "--runc", "web", "--external", "a=b"}, 2,
         "the runtime's affair with --runc");
}

/// runc's state is believed only where /proc says the same.
TEST_F(ByName, AStateThatCannotBeBelieved) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string good = read_file(state_file());
  const auto with = [&](const std::string& content) { std::ofstream(state_file()) << content; };
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    with(at == std::string::npos ? text : text.replace(at, from.size(), to));
  };
  const auto number_after = [&](const std::string& text, const std::string& key) {
    const size_t at = text.find(key) + key.size();
    return text.substr(at, text.find(',', at) - at);
  };
  const std::string pid = "\"init_process_pid\":";
  const std::string start_time = "\"init_process_start\":";

  with("garbage");
  expect_refused("isn't JSON");
  with(good.substr(0, good.size() / 2));
  expect_refused("isn't JSON");
  with(std::string(5 << 20, ' '));
  expect_refused("more than 4194304 bytes");
  with("");
  expect_refused("isn't JSON");
  changed(pid + number_after(good, pid), pid + "-3");
  expect_refused("'init_process_pid'");
  changed(pid + number_after(good, pid), pid + std::to_string(getpid()));
  expect_refused("it has ended: task " + std::to_string(getpid()));
  changed("\"id\":\"" + container_.name, "\"id\":\"other");
  expect_refused("it is of container 'other'");

  // Another task's, under its own start time, but not in the container's cgroup.
  const pid_t stranger = launch({"/bin/sleep", "1000"});
  std::string foreign = good;
  for (const auto& [key, value] :
       {std::pair(pid, std::to_string(stranger)),
        std::pair(
            start_time, *[&]() -> std::optional<std::string> {
              for (const auto& [name, field] :
                   e2e::parse_stat(try_read("/proc/" + std::to_string(stranger) + "/stat").value_or(""))) {
                if (name == "starttime") {
                  return field;
                }
              }
              return std::nullopt;
            }())}) {
    foreign.replace(foreign.find(key), key.size() + number_after(good, key).size(), key + value);
  }
  with(foreign);
  expect_refused("isn't in the container's cgroup");
  kill_tree(stranger);

  // Nobody waits for whoever might write to a FIFO.
  ASSERT_EQ(unlink(state_file().c_str()), 0);
  ASSERT_EQ(mkfifo(state_file().c_str(), 0600), 0);
  expect_refused("isn't a regular file");
  ASSERT_EQ(unlink(state_file().c_str()), 0);

  with(good);
  const Outcome dumped = dump({"--leave-running"});
  EXPECT_TRUE(dumped.ok()) << dumped.output;
}

TEST_F(ByName, AContainerThatHasNotBeenStarted) {
  ASSERT_TRUE(run({"/bin/sh", "-c",
                   container_.line("create --bundle '" + container_.bundle.path() + "' " + container_.name) +
                       " >/dev/null 2>&1 </dev/null"})
                  .ok());
  const Outcome outcome = dump();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  EXPECT_TRUE(contains(outcome.output, "created, but not started")) << outcome.output;
}

TEST_F(ByName, AContainerThatPodmanManages) {
  container_.configure("c['annotations'] = {'io.container.manager': 'libpod'}");
  ASSERT_NO_FATAL_FAILURE(start());
  expect_refused("use --podman");
}

TEST_F(ByName, ANamespaceThatRuncWouldNotJoinAgain) {
  container_.configure(
      "[n for n in c['linux']['namespaces'] if n['type'] == 'ipc'][0]['path'] = '/proc/self/ns/ipc'");
  ASSERT_NO_FATAL_FAILURE(start());
  expect_refused("joined the ipc namespace /proc/self/ns/ipc");
}

}  // namespace
}  // namespace godwit::e2e
