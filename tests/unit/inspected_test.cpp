#include "runtimes/inspected.h"

#include <gtest/gtest.h>

#include "kernel/error.h"
#include "runtimes/client.h"

namespace godwit::runtimes {
namespace {

const std::string kId(64, 'a');

/// As Podman 4.3 and Docker 20.10 print it, without what isn't read.
std::string description() {
  return R"([{"Id":")" + kId +
         R"(","Name":"/web","StaticDir":"/srv/web","State":{"Status":"running","Running":true,"Paused":false,)"
         R"("Pid":4711},"Rootfs":"","GraphDriver":{"Data":{"MergedDir":"/srv/merged"}},)"
         R"("Mounts":[{"Type":"bind","Source":"/data","Destination":"/here"},{"Destination":"/memory"}],)"
         R"("HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"},"NetworkMode":"default"},)"
         R"("NetworkSettings":{"Networks":{"blue":{"IPAddress":"10.0.0.2"},"green":{"IPAddress":""}}}}])";
}

/// With one text in the place of another.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = description();
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

void expect_refused(const std::string& text, const std::string& says) {
  try {
    static_cast<void>(parse_inspected(text));
    FAIL() << "it was taken: " << text.substr(0, 100);
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(says), std::string::npos) << e.what();
  }
}

TEST(Inspected, IsRead) {
  const InspectedContainer container = parse_inspected(description());
  EXPECT_EQ(container.id, kId);
  EXPECT_EQ(container.name, "web");
  EXPECT_EQ(container.status, "running");
  EXPECT_TRUE(container.running);
  EXPECT_FALSE(container.paused);
  EXPECT_FALSE(container.restarting);
  EXPECT_EQ(container.pid, 4711);
  EXPECT_TRUE(container.removed_at_end);
  EXPECT_EQ(container.restart_policy, "always");
  EXPECT_EQ(container.root, "/srv/merged");
  EXPECT_EQ(container.directory, "/srv/web");
  EXPECT_EQ(container.mounts.at("/here"), "/data");
  EXPECT_EQ(container.mounts.at("/memory"), "");
  EXPECT_EQ(container.network, "blue 10.0.0.2, green");
}

TEST(Inspected, WhatMayBeMissing) {
  EXPECT_EQ(parse_inspected(changed(R"("StaticDir":"/srv/web",)", "")).directory, "");
  EXPECT_EQ(parse_inspected(changed(R"({"Data":{"MergedDir":"/srv/merged"}})", "null")).root, "");
  EXPECT_EQ(parse_inspected(changed(R"("Rootfs":"")", R"("Rootfs":"/srv/root")")).root, "/srv/root");
  EXPECT_EQ(parse_inspected(changed(R"({"Name":"always"})", "null")).restart_policy, "");
  EXPECT_EQ(parse_inspected(changed(R"({"blue":{"IPAddress":"10.0.0.2"},"green":{"IPAddress":""}})", "null"))
                .network,
            "default");
}

TEST(Inspected, NothingIsBelieved) {
  expect_refused("", "isn't JSON");
  expect_refused("[]", "isn't a list of one container");
  expect_refused("{}", "isn't a list of one container");
  expect_refused("[1]", "there should be an object");
  expect_refused("[{}, {}]", "isn't a list of one container");
  expect_refused(std::string(100, '['), "nested more than 64 deep");
  expect_refused(std::string((4 << 20) + 1, ' '), "more than 4194304 bytes");
  expect_refused(changed(kId, "../../etc"), "'Id' isn't 64 hexadecimal digits");
  expect_refused(changed(kId, std::string(64, '/')), "'Id' isn't 64 hexadecimal digits");
  expect_refused(changed(kId, std::string(65, 'a')), "'Id' isn't 64 hexadecimal digits");
  expect_refused(changed("\"/web\"", "3"), "'Name' isn't a string");
  expect_refused(changed("\"/web\"", "\"" + std::string(5000, 'x') + "\""), "longer than any path");
  expect_refused(changed("\"/srv/web\"", "\"web\""), "'StaticDir' isn't an absolute path");
  expect_refused(changed("\"Running\":true", "\"Running\":1"), "'Running' is neither true nor false");
  for (const char* pid : {"-3", "\"4711\"", "4711.5", "4194305", "null", "18446744073709551616"}) {
    expect_refused(changed("4711", pid), "'Pid' isn't a number from 0 to 4194304");
  }
  expect_refused(changed(R"([{"Type")", R"({"a":[{"Type")"), "isn't JSON");
  expect_refused(changed(R"("Destination":"/here")", R"("Destination":"here")"), "isn't an absolute path");
  expect_refused(changed(R"("IPAddress":"10.0.0.2")", R"("IPAddress":[])"), "'IPAddress' isn't a string");
  expect_refused(changed(R"({"blue":{"IPAddress":"10.0.0.2"},"green":{"IPAddress":""}})", "[]"),
                 "'Networks' isn't an object");
}

TEST(ClientsWords, TheReasonIsOneLine) {
  EXPECT_EQ(failure_in(""), "");
  EXPECT_EQ(failure_in("\n \n"), "");
  EXPECT_EQ(failure_in("Error: no such container web\n"), "no such container web");
  EXPECT_EQ(failure_in("level=warning msg=old\nError: it is gone\n\n"), "it is gone");
  EXPECT_EQ(failure_in("one\ntwo\n"), "two");
  EXPECT_EQ(failure_in("Error response from daemon: criu failed\nlog file: /a.log\n"),
            "criu failed log file: /a.log");
  EXPECT_EQ(failure_in("Error: \x1b[31mred\x07\n"), " [31mred");
  EXPECT_LE(failure_in("Error: " + std::string(100000, 'x')).size(), 1000U);
}

TEST(ClientsWords, TheLogThatTheyName) {
  EXPECT_EQ(log_named_in("criu failed: type NOTIFY errno 0 path= /run/web/criu-dump.log: unknown"),
            "/run/web/criu-dump.log");
  EXPECT_EQ(log_named_in("type RESTORE errno 0\nlog file: /run/work/restore.log: unknown"),
            "/run/work/restore.log");
  EXPECT_EQ(log_named_in("path= "), "");
  EXPECT_EQ(log_named_in("path= /run/dump"), "");
  EXPECT_EQ(log_named_in("path= dump.log"), "");
  EXPECT_EQ(log_named_in(""), "");
}

}  // namespace
}  // namespace godwit::runtimes
