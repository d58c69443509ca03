#include "runtimes/runc_state.h"

#include <gtest/gtest.h>

#include "kernel/error.h"

namespace godwit::runtimes {
namespace {

/// As runc 1.1 writes it, without what isn't read.
constexpr const char* kState =
    R"({"id":"web","init_process_pid":4711,"init_process_start":435945,"config":{"rootfs":"/srv/web/rootfs",)"
    R"("mounts":[{"source":"proc","destination":"/proc","device":"proc","flags":0},)"
    R"({"source":"/data","destination":"/data","device":"bind","flags":4097}],)"
    R"("devices":[{"type":99,"path":"/dev/null"}],"namespaces":[{"type":"NEWPID","path":""},)"
    R"({"type":"NEWNET","path":"/run/netns/blue"}],"mask_paths":["/proc/keys"],)"
    R"("labels":["bundle=/srv/web","io.container.manager=libpod","plain"]},)"
    R"("cgroup_paths":{"":"/sys/fs/cgroup/unified/web","cpu":"/sys/fs/cgroup/cpu/web"},)"
    R"("external_descriptors":["/dev/null","pipe:[17]","/dev/null"]})";

/// With one text in the place of another.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = kState;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

void expect_refused(const std::string& text, const std::string& says) {
  try {
    static_cast<void>(parse_runc_state(text));
    FAIL() << "it was taken: " << text.substr(0, 100);
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
  }
}

TEST(RuncState, IsRead) {
  const RuncState state = parse_runc_state(kState);
  EXPECT_EQ(state.id, "web");
  EXPECT_EQ(state.pid, 4711);
  EXPECT_EQ(state.start_time, 435945U);
  EXPECT_EQ(state.root, "/srv/web/rootfs");
  EXPECT_EQ(state.bundle, "/srv/web");
  EXPECT_EQ(state.manager, "libpod");
  ASSERT_EQ(state.mounts.size(), 2U);
  EXPECT_EQ(state.mounts[1].destination, "/data");
  EXPECT_EQ(state.mounts[1].kind, "bind");
  EXPECT_EQ(state.devices, std::vector<std::string>{"/dev/null"});
  EXPECT_EQ(state.masked_paths, std::vector<std::string>{"/proc/keys"});
  ASSERT_EQ(state.namespaces.size(), 2U);
  EXPECT_EQ(state.namespaces[0].path, "");
  EXPECT_EQ(state.namespaces[1].type, "NEWNET");
  EXPECT_EQ(state.namespaces[1].path, "/run/netns/blue");
  EXPECT_EQ(state.cgroups.at("cpu"), "/sys/fs/cgroup/cpu/web");
  EXPECT_EQ(state.standard_files[1], "pipe:[17]");
}

TEST(RuncState, ListsMayBeNull) {
  EXPECT_TRUE(parse_runc_state(changed(R"(["/proc/keys"])", "null")).masked_paths.empty());
  EXPECT_TRUE(parse_runc_state(changed(R"("mask_paths")", R"("other")")).masked_paths.empty());
}

TEST(RuncState, WhatIsNoJson) {
  expect_refused("", "isn't JSON");
  expect_refused(
      "\x7f"
      "ELF",
      "isn't JSON, as byte 1 shows");
  expect_refused(std::string(kState).substr(0, 200), "isn't JSON");
  expect_refused(std::string(kState) + "}", "isn't JSON");
  expect_refused(changed("web", "\xff"), "isn't JSON");
  expect_refused("[]", "'id'");
  expect_refused("7", "'id'");
  expect_refused(changed("4711", "1e999"), "number that is too large");
}

TEST(RuncState, WhatWouldTakeAllMemory) {
  expect_refused(std::string(kLongestState + 1, ' '), "more than 4194304 bytes");
  expect_refused(std::string(kLongestState, '['), "nested more than 64 deep");
}

TEST(RuncState, EveryValueIsLookedAt) {
  for (const char* pid : {"0", "-1", "1.5", "\"4711\"", "null", "4194305", "18446744073709551616"}) {
    expect_refused(changed("4711", pid), "'init_process_pid'");
  }
  expect_refused(changed("435945", "0"), "'init_process_start'");
  expect_refused(changed("\"web\"", "7"), "'id' isn't a string");
  expect_refused(changed("/srv/web/rootfs", "rootfs"), "'rootfs' isn't an absolute path");
  expect_refused(changed("/srv/web/rootfs", R"(/srv\u0000)"), "'rootfs'");
  expect_refused(changed("/srv/web/rootfs", "/" + std::string(5000, 'a')), "'rootfs'");
  expect_refused(changed("bundle=/srv/web", "bundle=web"), "'bundle' isn't an absolute path");
  expect_refused(changed(R"("destination":"/data",)", ""), "'destination'");
  expect_refused(changed(R"("device":"bind")", R"("device":[])"), "'device'");
  expect_refused(changed(R"(["/proc/keys"])", "{}"), "'mask_paths' isn't a list");
  expect_refused(changed("/proc/keys", "keys"), "'mask_paths'");
  expect_refused(changed("/run/netns/blue", "blue"), "'path of a namespace'");
  expect_refused(changed(R"("path":"/dev/null")", R"("path":true)"), "'path of a device'");
  expect_refused(changed("/sys/fs/cgroup/cpu/web", "cpu"), "'cgroup_paths'");
  expect_refused(changed(R"("config":{)", R"("config":[],"x":{)"), "'rootfs'");
  expect_refused(changed(R"("/dev/null","pipe)", R"("pipe)"), "'external_descriptors'");
  expect_refused(changed(R"("pipe:[17]")", "17"), "'external_descriptors'");
}

}  // namespace
}  // namespace godwit::runtimes
