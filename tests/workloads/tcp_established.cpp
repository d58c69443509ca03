// Connections with both ends in the tree, idle or with full queues, of every kind of address; the ends of the
// last one are in two tasks.
#include "tests/workloads/tcp.h"

using namespace workload;

namespace {

struct Case {
  const char* name;
  int family;
  const char* host;
  size_t to_server;  // bytes that wait; more than fits: as many as the kernel takes
  size_t to_client;
};

constexpr size_t kAll = size_t{64} << 20;
constexpr Case kCases[] = {
    {"idle", AF_INET, "127.0.0.1", 0, 0},
    {"idle6", AF_INET6, "::1", 0, 0},
    {"mapped", AF_INET6, "::ffff:127.0.0.1", 100, 1},
    {"some each way", AF_INET, "127.0.0.1", 5000, 70000},
    {"full", AF_INET, "127.0.0.2", kAll, 3},
    {"full6", AF_INET6, "::1", 7, kAll},
};

struct Connection {
  Pair pair;
  size_t to_server;
  size_t to_client;
  Address client;
  Address server;
};

Connection make(const Case& of) {
  Connection made{connect_pair(of.family, of.host), 0, 0, {}, {}};
  made.to_server = write_stream(made.pair.client, 0, of.to_server, MSG_DONTWAIT);
  made.to_client = write_stream(made.pair.server, 1000, of.to_client, MSG_DONTWAIT);
  made.client = name_of(made.pair.client, false);
  made.server = name_of(made.pair.server, false);
  return made;
}

/// All that waited comes, then what is written now, both ways; then the ends of both.
void go_on(const Case& of, Connection& connection) {
  const auto [client, server] = connection.pair;
  check(same(name_of(client, false), connection.client) && same(name_of(server, true), connection.client) &&
            same(name_of(server, false), connection.server) && same(name_of(client, true), connection.server),
        "addresses of a connection");
  check_equal(option(client, SOL_SOCKET, SO_REUSEADDR), 0, "SO_REUSEADDR");
  expect_stream(server, 0, connection.to_server, of.name);
  expect_stream(client, 1000, connection.to_client, of.name);
  expect_nothing(server, "more than was written to the server");
  expect_nothing(client, "more than was written to the client");
  check(write_stream(client, connection.to_server, 100000, 0) == 100000, "write to the server");
  expect_stream(server, connection.to_server, 100000, of.name);
  check(write_stream(server, connection.to_client, 1, 0) == 1, "write to the client");
  expect_stream(client, connection.to_client, 1, of.name);
  shutdown(client, SHUT_WR);
  check(read_text(server).empty(), "end of a connection");
  close(server);
  check(read_text(client).empty(), "end of a connection from the other side");
  close(client);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Connection connections[std::size(kCases)];
  for (size_t i = 0; i < std::size(kCases); ++i) {
    connections[i] = make(kCases[i]);
  }
  const Pair apart = connect_pair(AF_INET, "127.0.0.1");
  check(write_stream(apart.client, 0, 20000, 0) == 20000, "write to the child");
  const pid_t child = fork();
  if (child == 0) {
    close(apart.client);
    wait_to_go_on();
    expect_stream(apart.server, 0, 20000, "from the parent");
    check(write_stream(apart.server, 0, 20000, 0) == 20000, "write to the parent");
    finish_child();
  }
  close(apart.server);

  say_ready();
  wait_to_go_on();
  for (size_t i = 0; i < std::size(kCases); ++i) {
    go_on(kCases[i], connections[i]);
  }
  expect_stream(apart.client, 0, 20000, "from the child");
  expect_end(child);
  finish();
}
