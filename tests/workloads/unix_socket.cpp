// Unix sockets: pairs with what waits in them, half shut down, with a closed peer, between two tasks; and
// listening ones, by path and abstract.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstddef>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

int connect_to(const sockaddr_un& address, socklen_t size) {
  const int client = socket(AF_UNIX, SOCK_STREAM, 0);
  check(connect(client, reinterpret_cast<const sockaddr*>(&address), size) == 0, "connect");
  return client;
}

void check_listener(int listener, const sockaddr_un& address, socklen_t size) {
  const int client = connect_to(address, size);
  const int server = accept(listener, nullptr, nullptr);
  check(write_text(client, "hello"), "write to the listener");
  expect_text(server, "hello", "through the listener");
  close(client);
  close(server);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  int stream[2], datagrams[2], sequence[2], orphan[2];
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), "socketpair");
  const std::string much(150000, 's');
  must(write_text(stream[0], much) ? 0 : -1, "fill");
  must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, datagrams), "socketpair");
  must(write_text(datagrams[0], "one") && write_text(datagrams[0], "three") ? 0 : -1, "send");
  must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sequence), "socketpair");
  must(write_text(sequence[1], "record") ? shutdown(sequence[1], SHUT_WR) : -1, "shutdown");
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, orphan), "socketpair");
  must(write_text(orphan[1], "last words") ? close(orphan[1]) : -1, "close");
  sockaddr_un path{}, abstract{};
  path.sun_family = abstract.sun_family = AF_UNIX;
  strcpy(path.sun_path, in_directory("socket").c_str());
  strcpy(abstract.sun_path + 1, in_directory("abstract").c_str());
  const auto abstract_size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + strlen(abstract.sun_path + 1));
  const int by_path = static_cast<int>(must(socket(AF_UNIX, SOCK_STREAM, 0), "socket"));
  must(bind(by_path, reinterpret_cast<sockaddr*>(&path), sizeof path), "bind");
  must(chmod(path.sun_path, 0620), "chmod");
  must(listen(by_path, 7), "listen");
  const int by_name = static_cast<int>(must(socket(AF_UNIX, SOCK_STREAM, 0), "socket"));
  must(bind(by_name, reinterpret_cast<sockaddr*>(&abstract), abstract_size), "bind");
  must(listen(by_name, 7), "listen");

  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    mark("child");
    wait_to_go_on();
    check(write_text(stream[1], "from the child"), "the child writes");
    finish_child();
  }
  wait_for_mark("child");
  say_ready();
  wait_to_go_on();
  expect_end(child);
  expect_text(stream[0], "from the child", "the pair between tasks");
  std::string found;
  while (found.size() < much.size()) {
    const std::string part = read_text(stream[1], much.size() - found.size());
    if (part.empty()) {
      break;
    }
    found += part;
  }
  check(found == much, "what was in the stream");
  check(read_text(datagrams[1]) == "one" && read_text(datagrams[1]) == "three", "datagrams");
  check(read_text(datagrams[1]).empty() && errno == EAGAIN, "no more datagrams");
  check(read_text(sequence[0]) == "record" && read_text(sequence[0]).empty(), "a half that was shut down");
  check(write_text(sequence[0], "back"), "the other half");
  expect_text(sequence[1], "back", "the other half");
  check(read_text(orphan[0]) == "last words" && read_text(orphan[0]).empty(), "a peer that had closed");
  struct stat status {};
  check(stat(path.sun_path, &status) == 0 && (status.st_mode & 07777) == 0620, "mode of the socket's file");
  check_equal(status.st_uid, getuid(), "owner of the socket's file");
  check_listener(by_path, path, sizeof path);
  check_listener(by_name, abstract, abstract_size);
  finish();
}
