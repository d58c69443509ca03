// Services in runc's containers, each dumped and restored several times in a row, and asked from outside.
#include <fstream>

#include "tests/e2e/proc.h"
#include "tests/e2e/runc_service.h"

namespace godwit::e2e {
namespace {

constexpr int kRounds = 3;

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
