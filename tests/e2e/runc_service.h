#pragma once

#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/mount.h>
#include <unistd.h>

#include <string>

#include "kernel/error.h"
#include "tests/e2e/runc_container.h"

/// Services as Debian packages them, in runc's containers: under its seccomp filter, as their own user, in a
/// network namespace that the container joins, asked from outside over a veth pair. The root file system is
/// an overlay of the machine's own.
namespace godwit::e2e {

inline Outcome shell(const std::string& line) {
  return run({"/bin/sh", "-c", line + " </dev/null"});
}

inline void must(const std::string& line) {
  const Outcome done = shell(line);
  if (!done.ok()) {
    throw error("{}: {}", line, done.words());
  }
}

/// A network namespace that we reach by a pair of devices.
class Network {
 public:
  Network() {
    must("ip netns add " + name_);
    must("ip link add " + name_ + " type veth peer name eth0 netns " + name_);
    must("ip addr add 10.213.7.1/30 dev " + name_ + " && ip link set " + name_ + " up");
    must("ip -n " + name_ + " addr add " + address() + "/30 dev eth0");
    must("ip -n " + name_ + " link set eth0 up && ip -n " + name_ + " link set lo up");
  }
  ~Network() { static_cast<void>(shell("ip netns del " + name_)); }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  [[nodiscard]] std::string path() const { return "/run/netns/" + name_; }
  static std::string address() { return "10.213.7.2"; }

 private:
  const std::string name_ = "gwt" + std::to_string(getpid());
};

/// The machine's root file system, with what is written kept apart, in memory.
class Overlay {
 public:
  Overlay(const std::string& layers, const std::string& root) : layers_(layers), root_(root) {
    must("mkdir -p '" + layers + "' && mount -t tmpfs godwit-test '" + layers + "' && mkdir '" + layers +
         "/upper' '" + layers + "/work' && mount -t overlay godwit-test -o lowerdir=/,upperdir='" + layers +
         "/upper',workdir='" + layers + "/work' '" + root + "'");
  }
  ~Overlay() {
    umount2(root_.c_str(), MNT_DETACH);
    umount2(layers_.c_str(), MNT_DETACH);
  }
  Overlay(const Overlay&) = delete;
  Overlay& operator=(const Overlay&) = delete;

 private:
  std::string layers_;
  std::string root_;
};

class RuncService : public testing::Test {
 protected:
  RuncService() : overlay_(container_.state / "layers", container_.bundle / "rootfs") {}

  void TearDown() override {
    static_cast<void>(container_.runc("delete --force " + container_.name));  // before its root goes
  }

  /// `program` in Python: a list of words. `user`: whose uid and gid it has.
  void start(const std::string& program, const std::string& user, const std::string& more = "") {
    const passwd* who = getpwnam(user.c_str());
    ASSERT_NE(who, nullptr) << user;
    container_.configure(
        "c['process']['args'] = " + program + "\nc['process']['user'] = {'uid': " +
        std::to_string(who->pw_uid) + ", 'gid': " + std::to_string(who->pw_gid) +
        "}\nc['process']['rlimits'] = []\n"
        "for s in ('bounding', 'effective', 'permitted'):\n"
        "  c['process']['capabilities'][s] += ['CAP_SETUID', 'CAP_SETGID', 'CAP_CHOWN', 'CAP_DAC_OVERRIDE']\n"
        "for n in c['linux']['namespaces']:\n"
        "  if n['type'] == 'network': n['path'] = '" +
        network_.path() + "'\n" + more);
    const Outcome started = container_.start();
    ASSERT_TRUE(started.ok()) << started.words();
  }

  /// What curl(1) gets from the service, which may not listen yet.
  static std::string fetch(const std::string& port) {
    Outcome fetched;
    EXPECT_TRUE(wait_until(
        [&] {
          fetched = shell("curl -s -S --max-time 5 http://" + Network::address() + ":" + port + "/");
          return fetched.ok();
        },
        20))
        << fetched.words();
    return fetched.output;
  }

  /// mountinfo without what is another in each namespace: ids, devices, peer groups. runc itself has other
  /// sources for masked files and cgroups when it restores.
  [[nodiscard]] std::string mounts() const {
    return container_
        .exec(
            "/bin/sh -c \"grep -v '/null ' /proc/self/mountinfo | "
            "sed -e 's/^[0-9]* [0-9]* [0-9:]* //' -e 's/ [a-z]*:[0-9]*//g' -e '/ cgroup /s/^[^ ]* //' | "
            "sort\"")
        .output;
  }

  void checkpoint_and_restore() {
    const std::string before = mounts();
    const Outcome dumped = container_.checkpoint();
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    const Outcome restored = container_.restore();
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_EQ(mounts(), before);
    EXPECT_NE(before.find(" overlay "), std::string::npos) << before;
  }

  Reaper reaper_;
  RuncContainer container_;
  Network network_;
  Overlay overlay_;
};

}  // namespace godwit::e2e
