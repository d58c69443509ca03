// Two connections that nobody has agreed to yet: one asked for without waiting, one that a child waits for.
// The port at 127.0.0.1 is an argument.
#include "tests/workloads/tcp.h"

using namespace workload;

namespace {

bool is_opening(int fd) {
  constexpr int kSynSent = 2;
  tcp_info info{};
  socklen_t size = sizeof info;
  check(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0, "TCP_INFO");
  return info.tcpi_state == kSynSent;
}

void exchange(int fd, const char* text) {
  check(write_text(fd, text), "write");
  expect_text(fd, text, "echo");
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Address address(AF_INET, "127.0.0.1", static_cast<uint16_t>(atoi(argv[2])));
  const int waiting = tcp_socket(AF_INET);
  const pid_t child = fork();
  if (child == 0) {
    check(connect(waiting, address.any(), address.size) == 0, "connect of the child");
    exchange(waiting, "child");
    finish_child();
  }
  const int asked = tcp_socket(AF_INET);
  fcntl(asked, F_SETFL, O_NONBLOCK);
  check(connect(asked, address.any(), address.size) == -1 && errno == EINPROGRESS, "connect");
  const Address local = name_of(asked, false);
  while (!is_opening(waiting)) {
    pause_ms(1);
  }
  wait_until_asleep(child);
  check(is_opening(asked), "state");

  say_ready();
  wait_to_go_on();
  check(is_opening(asked), "state");
  check(same(name_of(asked, false), local), "local address");
  check((fcntl(asked, F_GETFL) & O_NONBLOCK) != 0, "O_NONBLOCK");
  mark("went");
  pollfd ready{asked, POLLOUT, 0};
  check(poll(&ready, 1, 30000) == 1, "poll");
  check_equal(option(asked, SOL_SOCKET, SO_ERROR), 0, "SO_ERROR");
  fcntl(asked, F_SETFL, 0);
  exchange(asked, "parent");
  expect_end(child);
  finish();
}
