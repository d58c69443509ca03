// Descriptors that wait in unix sockets: of files, pipes, memory and sockets, that tasks have or nobody else,
// several with one message, among plain bytes of a stream, in sockets that are in flight themselves, and a
// socket in its own queue.
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "tests/workloads/unix_address.h"

using namespace workload;

namespace {

struct Pair {
  int a, b;
  explicit Pair(int type) {
    int ends[2];
    must(socketpair(AF_UNIX, type, 0, ends), "socketpair");
    a = ends[0];
    b = ends[1];
  }
};

void must_send(int socket, std::string_view text, const std::vector<int>& descriptors) {
  must(send_with(socket, text, descriptors) ? 0 : -1, "send descriptors");
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  // A file that two descriptors share, one of them in flight.
  const Pair files(SOCK_STREAM);
  const int file =
      static_cast<int>(must(open(in_directory("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), "open"));
  must(write_text(file, "position") ? 0 : -1, "write");
  must(write_text(files.a, "before") ? 0 : -1, "write");
  must_send(files.a, "with", {file, file});
  must(write_text(files.a, "after") ? 0 : -1, "write");

  // What only a message has: both ends of a pipe with content, memory, a counter, an unlinked file.
  const Pair lone(SOCK_DGRAM);
  int pipes[2];
  must(pipe(pipes), "pipe");
  must(write_text(pipes[1], "in the pipe") ? 0 : -1, "write");
  const int memory = static_cast<int>(must(memfd_create("in flight", MFD_CLOEXEC), "memfd_create"));
  must(write_text(memory, "in memory") ? 0 : -1, "write");
  const int counter = static_cast<int>(must(eventfd(7, 0), "eventfd"));
  const int ghost =
      static_cast<int>(must(open(in_directory("ghost").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), "open"));
  must(write_text(ghost, "no name") ? unlink(in_directory("ghost").c_str()) : -1, "unlink");
  must_send(lone.a, "first", {pipes[0], memory});
  must(write_text(lone.a, "") ? 0 : -1, "an empty message");
  must_send(lone.a, "second", {pipes[1], counter, ghost});
  for (const int one : {pipes[0], pipes[1], memory, counter, ghost}) {
    close(one);
  }

  // A connection in a socket in a socket; each end waits elsewhere.
  const Pair outer(SOCK_SEQPACKET);
  const Pair middle(SOCK_STREAM);
  const Pair inner(SOCK_STREAM);
  must(write_text(inner.a, "innermost") ? 0 : -1, "write");
  must_send(middle.a, "inner", {inner.b});
  must_send(outer.a, "middle", {middle.b, inner.a});
  must_send(outer.a, "", {middle.a});
  for (const int one : {middle.a, middle.b, inner.a, inner.b}) {
    close(one);
  }

  // In its own queue, and each in the other's.
  const Pair own(SOCK_STREAM);
  must_send(own.a, "itself", {own.b});
  must_send(own.a, "and", {own.a});
  must_send(own.b, "cross", {own.b, own.a});

  // A listening socket that nobody else has.
  const Pair service(SOCK_STREAM);
  const int listener = listen_at(in_directory("service"));
  must_send(service.a, "serve", {listener});
  close(listener);

  // Many, and a large message.
  const Pair many(SOCK_STREAM);
  const std::string large(150000, 'l');
  must(write_text(many.a, std::string(40000, 'p')) ? 0 : -1, "write");
  must_send(many.a, std::string(30000, 'd'), std::vector<int>(253, file));
  must(write_text(many.a, std::string(20000, 'p')) ? 0 : -1, "write");

  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    for (const int one :
         {files.a, files.b, lone.a, lone.b, outer.a, own.a, own.b, service.a, many.a, many.b}) {
      close(one);
    }
    mark("child");
    wait_to_go_on();
    const Received first = receive(outer.b);
    check_text(first.text, "middle", "a message between tasks");
    if (check(first.descriptors.size() == 2, "two descriptors between tasks")) {
      const Received second = receive(first.descriptors[0]);
      check_text(second.text, "inner", "a message in a socket in flight");
      check(second.descriptors.size() == 1, "a descriptor in a socket in flight");
      expect_text(second.descriptors.at(0), "innermost", "a connection of two in flight");
      check(write_text(second.descriptors.at(0), "back"), "write");
      expect_text(first.descriptors[1], "back", "a connection of two in flight");
    }
    const Received third = receive(outer.b);
    check(third.text.empty() && third.descriptors.size() == 1, "an empty message with a descriptor");
    const Received served = receive(service.b);
    check(served.descriptors.size() == 1, "a listening socket");
    const int client = connected_to(in_directory("service"));
    const int server = accept_from(served.descriptors.at(0));
    check(write_text(client, "hello"), "write");
    expect_text(server, "hello", "through a socket that was in flight");
    finish_child();
  }
  close(outer.b);
  close(service.b);
  wait_for_mark("child");
  say_ready();
  wait_to_go_on();
  expect_end(child);

  expect_text(files.b, "before", "bytes before descriptors");
  const Received with = receive(files.b);
  check_text(with.text, "with", "bytes with descriptors");
  if (check(with.descriptors.size() == 2, "a file twice")) {
    check_equal(lseek(with.descriptors[0], 0, SEEK_CUR), 8, "its position");
    check_equal(lseek(with.descriptors[1], 3, SEEK_SET), 3, "a move");
    check_equal(lseek(file, 0, SEEK_CUR), 3, "the position of the task's descriptor");
  }
  expect_text(files.b, "after", "bytes after descriptors");

  const Received one = receive(lone.b);
  const Received empty = receive(lone.b);
  const Received two = receive(lone.b);
  check(one.text == "first" && empty.text.empty() && two.text == "second", "datagrams");
  if (check(one.descriptors.size() == 2 && two.descriptors.size() == 3, "descriptors of datagrams")) {
    expect_text(one.descriptors[0], "in the pipe", "a pipe in flight");
    check(write_text(two.descriptors[0], "more"), "write");
    expect_text(one.descriptors[0], "more", "both ends of a pipe in flight");
    lseek(one.descriptors[1], 0, SEEK_SET);
    expect_text(one.descriptors[1], "in memory", "memory in flight");
    uint64_t count = 0;
    check(read(two.descriptors[1], &count, sizeof count) == sizeof count, "read");
    check_equal(static_cast<long long>(count), 7, "a counter in flight");
    lseek(two.descriptors[2], 0, SEEK_SET);
    expect_text(two.descriptors[2], "no name", "an unlinked file in flight");
  }

  const Received itself = receive(own.b, 6);
  const Received other = receive(own.b);
  const Received cross = receive(own.a);
  check(itself.descriptors.size() == 1 && other.descriptors.size() == 1 && cross.descriptors.size() == 2,
        "sockets in their own queues");
  check(write_text(itself.descriptors.at(0), "x"), "write");
  expect_text(other.descriptors.at(0), "x", "the same pair");

  std::string plain = receive(many.b, 40000).text;
  check(plain == std::string(40000, 'p'), "plain bytes");
  const Received most = receive(many.b);
  check_equal(static_cast<long long>(most.text.size()), 30000, "bytes with many descriptors");
  check_equal(static_cast<long long>(most.descriptors.size()), 253, "many descriptors");
  check_equal(static_cast<long long>(receive(many.b).text.size()), 20000, "bytes after them");
  finish();
}
