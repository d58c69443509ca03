// Services as Debian packages them, in runc's containers: under its seccomp filter, as their own user, in a
// network namespace that the container joins, asked from outside over a veth pair. The root file system is an
// overlay of the machine's own.
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/mount.h>

#include <cstdlib>
#include <fstream>

#include "kernel/error.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/runc_container.h"

namespace godwit::e2e {
namespace {

Outcome shell(const std::string& line) {
  return run({"/bin/sh", "-c", line + " </dev/null"});
}

void must(const std::string& line) {
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

  static constexpr int kRounds = 3;
  Reaper reaper_;
  RuncContainer container_;
  Network network_;
  Overlay overlay_;
};

TEST_F(RuncService, RedisWithData) {
  ASSERT_NO_FATAL_FAILURE(
      start("['/usr/bin/redis-server', '--protected-mode', 'no', '--save', '', '--dir', '/tmp']", "redis"));
  const auto ask = [](const std::string& command) {
    return shell("redis-cli -h " + Network::address() + " " + command).output;
  };
  ASSERT_TRUE(wait_until([&] { return ask("ping") == "PONG\n"; }, 10)) << ask("ping");
  ASSERT_EQ(ask("eval 'for i = 1, 20000 do redis.call(\"set\", \"key\" .. i, i * 7) end return 1' 0"), "1\n");
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_NO_FATAL_FAILURE(checkpoint_and_restore());
    EXPECT_EQ(ask("dbsize"), std::to_string(20000 + round) + "\n");
    EXPECT_EQ(
        ask("eval 'local n = 0 for i = 1, 20000 do if tonumber(redis.call(\"get\", \"key\" .. i)) == i * 7 "
            "then n = n + 1 end end return n' 0"),
        "20000\n");
    EXPECT_EQ(ask("set another" + std::to_string(round) + " 1"), "OK\n");
  }
}

TEST_F(RuncService, NginxWithWorkers) {
  ASSERT_NO_FATAL_FAILURE(start("['/usr/sbin/nginx', '-g', 'daemon off;']", "root"));
  const std::string page = fetch("80");
  ASSERT_NE(page.find("nginx"), std::string::npos) << page;
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_NO_FATAL_FAILURE(checkpoint_and_restore());
    EXPECT_EQ(fetch("80"), page);
    EXPECT_TRUE(container_.exec("/usr/sbin/nginx -s reload").ok());
  }
}

TEST_F(RuncService, PythonOnAReadOnlyRoot) {
  ASSERT_NO_FATAL_FAILURE(
      start("['/usr/bin/python3', '-m', 'http.server', '8000', '--directory', '/usr/share']", "nobody",
            "c['root']['readonly'] = True"));
  const std::string page = fetch("8000");
  ASSERT_NE(page.find("doc/"), std::string::npos) << page;
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_NO_FATAL_FAILURE(checkpoint_and_restore());
    EXPECT_EQ(fetch("8000"), page);
  }
}

TEST_F(RuncService, AJavaVirtualMachine) {
  std::ofstream(container_.file("Count.java")) << R"(
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.atomic.AtomicInteger;

public class Count {
  public static void main(String[] arguments) throws Exception {
    AtomicInteger count = new AtomicInteger();
    HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
    server.createContext("/", exchange -> {
      byte[] answer = ("count " + count.incrementAndGet()).getBytes();
      exchange.getResponseHeaders().add("Connection", "close");
      exchange.sendResponseHeaders(200, answer.length);
      exchange.getResponseBody().write(answer);
      exchange.close();
    });
    server.start();
  }
}
)";
  ASSERT_NO_FATAL_FAILURE(start("['/usr/bin/java', '-Xmx200m', '/Count.java']", "nobody"));
  ASSERT_EQ(fetch("8080"), "count 1");
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_NO_FATAL_FAILURE(checkpoint_and_restore());
    EXPECT_EQ(fetch("8080"), "count " + std::to_string(2 + round));
  }
}

}  // namespace
/// A union of layers doesn't decode file handles: what is watched is looked for.
TEST_F(RuncService, WatchesOfFiles) {
  ASSERT_NO_FATAL_FAILURE(
      start("['/usr/bin/python3', '-c', r\"\"\"import ctypes, os\n"
            "os.makedirs('/tmp/deep/er')\n"
            "open('/tmp/deep/er/watched', 'w')\n"
            "libc = ctypes.CDLL(None)\n"
            "fd = libc.inotify_init()\n"
            "libc.inotify_add_watch(fd, b'/tmp/deep/er/watched', 2)\n"
            "libc.inotify_add_watch(fd, b'/tmp/deep', 256)\n"
            "open('/tmp/seen', 'w')\n"
            "while True:\n"
            "  event = os.read(fd, 4096)\n"
            "  with open('/tmp/seen', 'a') as seen: print(int.from_bytes(event[:4], 'little'), file=seen)\n"
            "\"\"\"]",
            "nobody"));
  const auto seen = [&] { return try_read(container_.file("tmp/seen")).value_or(""); };
  const auto write = [&](const std::string& file) {
    return container_.exec("/bin/sh -c 'echo >>/tmp/deep/" + file + "'").ok();
  };
  ASSERT_TRUE(wait_until([&] { return try_read(container_.file("tmp/seen")).has_value(); }));
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_NO_FATAL_FAILURE(checkpoint_and_restore());
    const std::string before = seen();
    ASSERT_TRUE(write("er/watched"));
    EXPECT_TRUE(wait_until([&] { return seen() == before + "1\n"; }, 10)) << seen();
    ASSERT_TRUE(write("new" + std::to_string(round)));
    EXPECT_TRUE(wait_until([&] { return seen() == before + "1\n2\n"; }, 10)) << seen();
  }
}

}  // namespace godwit::e2e
