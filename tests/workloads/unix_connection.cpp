// Connections through listening unix sockets, within a task and between tasks: by path and abstract, stream
// and seqpacket, with the client bound or not, with what waits at either end, half shut down, one end closed,
// and with the listening socket or its file gone.
#include <csignal>

#include "tests/workloads/unix_address.h"

using namespace workload;

namespace {

constexpr int kTypes[] = {SOCK_STREAM, SOCK_SEQPACKET};

struct Connection {
  int client;
  int server;
};

Connection connection(int listener, const std::string& name, int type) {
  const int client = connected_to(name, type);
  return {client, accept_from(listener)};
}

std::string path_of(const char* what, int type) {
  return in_directory(what) + (type == SOCK_STREAM ? ".stream" : ".packets");
}

std::string abstract_of(const char* what, int type) {
  return "@" + path_of(what, type);
}

/// All that one task has of one type.
struct Set {
  int type;
  int listener, gone_listener;
  Connection by_path, by_name, bound, after_listener, half, closed_client, closed_server, reset;

  explicit Set(int of_type) : type(of_type) {
    listener = listen_at(path_of("socket", type), type);
    by_path = connection(listener, path_of("socket", type), type);
    must(write_text(by_path.client, "to the server") && write_text(by_path.server, "to the client") ? 0 : -1,
         "write");
    must(write_text(by_path.client, "more") ? 0 : -1, "write");

    const int abstract = listen_at(abstract_of("abstract", type), type);
    by_name = connection(abstract, abstract_of("abstract", type), type);
    gone_listener = abstract;

    bound.client = bound_to(path_of("client", type), type);
    const Address address(path_of("socket", type));
    must(connect(bound.client, address.get(), address.size), "connect");
    bound.server = accept_from(listener);

    const std::string name = path_of("unlinked", type);
    const int brief = listen_at(name, type);
    after_listener = connection(brief, name, type);
    close(brief);
    unlink(name.c_str());

    half = connection(listener, path_of("socket", type), type);
    must(write_text(half.client, "the last") ? shutdown(half.client, SHUT_WR) : -1, "shutdown");
    closed_client = connection(listener, path_of("socket", type), type);
    must(write_text(closed_client.client, "left") ? close(closed_client.client) : -1, "close");
    closed_server = connection(listener, path_of("socket", type), type);
    must(write_text(closed_server.server, "left") ? close(closed_server.server) : -1, "close");
    reset = connection(listener, path_of("socket", type), type);
    must(write_text(reset.server, "left") && write_text(reset.client, "unread") ? close(reset.client) : -1,
         "close");
  }

  void check_all() const {
    const bool packets = type == SOCK_SEQPACKET;
    check_text(name_of(by_path.server), path_of("socket", type), "name of what was accepted");
    check_text(name_of_peer(by_path.client), path_of("socket", type), "name of what was connected to");
    check_text(name_of(by_path.client), "", "name of a client");
    expect_text(by_path.server, packets ? "to the server" : "to the servermore", "what had been sent");
    if (packets) {
      expect_text(by_path.server, "more", "what had been sent");
    }
    expect_text(by_path.client, "to the client", "what had been sent back");

    check_text(name_of(by_name.server), abstract_of("abstract", type), "abstract name");
    check(write_text(by_name.client, "anew"), "write");
    expect_text(by_name.server, "anew", "by abstract name");
    const Connection another = connection(gone_listener, abstract_of("abstract", type), type);
    check(write_text(another.server, "anew"), "write");
    expect_text(another.client, "anew", "another by abstract name");

    check_text(name_of(bound.client), path_of("client", type), "name of a bound client");
    check_text(name_of_peer(bound.server), path_of("client", type),
               "name of a bound client, seen by its peer");
    check_text(name_of(after_listener.server), path_of("unlinked", type), "name of one that has gone");
    check(access(path_of("unlinked", type).c_str(), F_OK) != 0, "a name that had gone is there");
    check(write_text(after_listener.server, "anew"), "write");
    expect_text(after_listener.client, "anew", "without a listening socket");

    expect_text(half.server, "the last", "before the end");
    check(read_text(half.server).empty(), "the end of one half");
    check(write_text(half.server, "back"), "write");
    expect_text(half.client, "back", "the other half");
    expect_text(closed_client.server, "left", "of a client that has gone");
    check(read_text(closed_client.server).empty(), "the end of what a client has left");
    expect_text(closed_server.client, "left", "of a server that has gone");
    check_text(name_of_peer(closed_server.client), path_of("socket", type), "name of one that has gone");

    int error = 0;
    socklen_t size = sizeof error;
    check(getsockopt(reset.server, SOL_SOCKET, SO_ERROR, &error, &size) == 0, "getsockopt");
    check_equal(error, ECONNRESET, "error of a connection whose client went without reading");
    const Connection third = connection(listener, path_of("socket", type), type);
    check(write_text(third.server, "anew"), "write");
    expect_text(third.client, "anew", "another by path");
  }
};

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  const Set stream(kTypes[0]);
  const Set packets(kTypes[1]);
  const int listener = listen_at(in_directory("service"));
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    // Only its own connection: the rest is the parent's alone.
    close_range(3, ~0U, 0);
    const int own = connected_to(in_directory("service"));
    const int other = connected_to(in_directory("service"));
    must(write_text(own, "from the child") ? 0 : -1, "write");
    mark("connected");
    wait_to_go_on();
    expect_text(own, "from the parent", "what the parent had sent");
    check_text(name_of_peer(own), in_directory("service"), "the parent's name");
    check(write_text(own, "the child's answer"), "write");
    expect_text(own, "bye", "the parent");
    check(write_text(other, "both"), "write");
    finish_child();
  }
  const int server = accept_from(listener);
  const int both = accept_from(listener);
  const pid_t worker = static_cast<pid_t>(must(fork(), "fork"));
  if (worker == 0) {
    // Has what its parent accepted, too.
    mark("worker");
    wait_to_go_on();
    expect_text(both, "both", "what two tasks have");
    finish_child();
  }
  must(write_text(server, "from the parent") ? 0 : -1, "write");
  wait_for_mark("connected");
  wait_for_mark("worker");
  say_ready();
  wait_to_go_on();
  expect_text(server, "from the child", "what the child had sent");
  expect_text(server, "the child's answer", "what the child sends");
  check(write_text(server, "bye"), "write");
  expect_end(child);
  expect_end(worker);
  stream.check_all();
  packets.check_all();
  finish();
}
