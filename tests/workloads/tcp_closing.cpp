// Connections that are being closed or have been, with both ends in the tree: each state that two living ends
// can have, with and without data that nobody has read or that couldn't be sent.
#include "tests/workloads/tcp.h"

using namespace workload;

namespace {

constexpr size_t kAll = size_t{64} << 20;  // as much as the kernel takes

enum State {
  kEstablished = 1,
  kFinWait1 = 4,
  kFinWait2 = 5,
  kClosed = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kClosing = 11
};

int state_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  check(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0, "TCP_INFO");
  return info.tcpi_state;
}

void expect_state(int fd, int wanted, const char* what) {
  for (int i = 0; i < 400 && state_of(fd) != wanted; ++i) {
    pause_ms(5);
  }
  check_equal(state_of(fd), wanted, what);
}

void expect_end_of(int fd, const char* what) {
  pollfd ready{fd, POLLIN, 0};
  char byte = 0;
  const bool comes = poll(&ready, 1, 20000) == 1;
  const ssize_t got = comes ? recv(fd, &byte, 1, 0) : -2;
  if (got != 0) {
    fail("%s: %zd (%s) instead of its end", what, got, strerror(errno));
  }
}

/// One connection in its state, and what has been written to either end.
struct Made {
  Pair pair{};
  size_t to_client = 0;
  size_t to_server = 0;
};

struct Case {
  const char* name;
  int family;
  size_t to_client;  // bytes, before anything is closed
  size_t to_server;
  void (*close)(Pair);
  int client;  // states
  int server;
  void (*go_on)(const char*, Made&);
};

void client_shuts(Pair pair) {
  shutdown(pair.client, SHUT_WR);
}

void both_shut(Pair pair) {
  shutdown(pair.client, SHUT_WR);
  expect_state(pair.server, kCloseWait, "half closed");
  shutdown(pair.server, SHUT_WR);
}

void client_shuts_both_ways(Pair pair) {
  shutdown(pair.client, SHUT_RDWR);
}

void client_reads_no_more(Pair pair) {
  shutdown(pair.client, SHUT_RD);
}

/// Before the client's FIN, which can't be sent yet.
void both_shut_at_once(Pair pair) {
  shutdown(pair.client, SHUT_WR);
  expect_state(pair.client, kFinWait1, "unsent");
  shutdown(pair.server, SHUT_WR);
}

void server_resets(Pair pair) {
  const linger now{1, 0};
  must(setsockopt(pair.server, SOL_SOCKET, SO_LINGER, &now, sizeof now), "SO_LINGER");
  must(close(pair.server), "close");
}

void server_resets_and_client_knows(Pair pair) {
  server_resets(pair);
  expect_state(pair.client, kClosed, "reset");
  check_equal(option(pair.client, SOL_SOCKET, SO_ERROR), ECONNRESET, "SO_ERROR");
}

/// The server may still say something, then ends it, too.
void half_closed(const char* name, Made& made) {
  const auto [client, server] = made.pair;
  expect_stream(server, 0, made.to_server, name);
  expect_end_of(server, name);
  check(write_stream(server, made.to_client, 50000, 0) == 50000, "write after the other end's end");
  check(send(client, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "write after one's own end");
  shutdown(server, SHUT_WR);
  expect_stream(client, 0, made.to_client + 50000, name);
  expect_end_of(client, name);
  expect_state(server, kClosed, "closed from both sides");
}

/// All comes that was written, then the end.
void both_closed(const char* name, Made& made) {
  expect_stream(made.pair.server, 0, made.to_server, name);
  expect_end_of(made.pair.server, name);
  expect_stream(made.pair.client, 0, made.to_client, name);
  expect_end_of(made.pair.client, name);
  check(send(made.pair.client, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "write after the end");
  expect_state(made.pair.client, kClosed, name);
  expect_state(made.pair.server, kClosed, name);
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  check(getpeername(made.pair.client, reinterpret_cast<sockaddr*>(&peer), &size) == -1 && errno == ENOTCONN,
        "getpeername");
}

void reads_no_more(const char* name, Made& made) {
  const auto [client, server] = made.pair;
  expect_end_of(client, name);
  check(write_stream(client, made.to_server, 1000, 0) == 1000, "write after reading has been shut");
  expect_stream(server, 0, made.to_server + 1000, name);
  shutdown(client, SHUT_WR);
  expect_end_of(server, name);
}

void reset(const char* name, Made& made) {
  const int client = made.pair.client;
  pollfd ready{client, POLLIN, 0};
  check(poll(&ready, 1, 0) == 1 && (ready.revents & (POLLERR | POLLHUP)) == (POLLERR | POLLHUP), "poll");
  char byte = 0;
  check(recv(client, &byte, 1, 0) == -1 && errno == ECONNRESET, name);
  expect_end_of(client, name);
}

void reset_and_known(const char* name, Made& made) {
  const int client = made.pair.client;
  pollfd ready{client, POLLIN, 0};
  check(poll(&ready, 1, 0) == 1 && (ready.revents & (POLLERR | POLLHUP)) == POLLHUP, "poll");
  expect_stream(client, 0, made.to_client, name);
  expect_end_of(client, name);
}

constexpr Case kCases[] = {
    {"half closed", AF_INET, 0, 0, client_shuts, kFinWait2, kCloseWait, half_closed},
    {"half closed with data", AF_INET6, 70000, 300, client_shuts, kFinWait2, kCloseWait, half_closed},
    {"shut both ways", AF_INET, 0, 10, client_shuts_both_ways, kFinWait2, kCloseWait,
     [](const char* name, Made& made) {
       expect_stream(made.pair.server, 0, made.to_server, name);
       expect_end_of(made.pair.server, name);
       expect_end_of(made.pair.client, name);
     }},
    {"not to be read", AF_INET, 0, 10, client_reads_no_more, kEstablished, kEstablished, reads_no_more},
    {"end not sent", AF_INET, 5, kAll, client_shuts, kFinWait1, kEstablished, half_closed},
    {"last end not sent", AF_INET6, kAll, 5, both_shut, kFinWait2, kLastAck, both_closed},
    {"both at once", AF_INET, 5, kAll, both_shut_at_once, kClosing, kFinWait2, both_closed},
    {"closed", AF_INET, 0, 0, both_shut, kClosed, kClosed, both_closed},
    {"closed with data", AF_INET6, 40000, 200, both_shut, kClosed, kClosed, both_closed},
    {"reset", AF_INET, 0, 0, server_resets, kClosed, 0, reset},
    {"reset and known", AF_INET6, 0, 0, server_resets_and_client_knows, kClosed, 0, reset_and_known},
};

Made make(const Case& of) {
  Made made;
  made.pair = connect_pair(of.family, of.family == AF_INET ? "127.0.0.1" : "::1");
  made.to_client = write_stream(made.pair.server, 0, of.to_client, MSG_DONTWAIT);
  made.to_server = write_stream(made.pair.client, 0, of.to_server, MSG_DONTWAIT);
  of.close(made.pair);
  return made;
}

void expect_states(const Case& of, const Made& made) {
  expect_state(made.pair.client, of.client, of.name);
  if (of.server != 0) {
    expect_state(made.pair.server, of.server, of.name);
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Made made[std::size(kCases)];
  for (size_t i = 0; i < std::size(kCases); ++i) {
    made[i] = make(kCases[i]);
    expect_states(kCases[i], made[i]);
  }
  say_ready();
  wait_to_go_on();
  for (size_t i = 0; i < std::size(kCases); ++i) {
    if (kCases[i].client != kClosing) {  // with its end still to be sent it comes back as one that was second
      expect_states(kCases[i], made[i]);
    }
    kCases[i].go_on(kCases[i].name, made[i]);
  }
  finish();
}
