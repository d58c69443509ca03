// Pipes and FIFOs: what is in them, capacity, flags, packets, missing ends, ends in two tasks.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  int across[2], large[2], packets[2], half[2], deaf[2];
  must(pipe2(across, O_CLOEXEC), "pipe");
  must(pipe2(large, O_NONBLOCK), "pipe");
  must(fcntl(large[1], F_SETPIPE_SZ, 1 << 18), "capacity");
  const std::string much(200000, 'm');
  must(write_text(large[1], much) ? 0 : -1, "fill");
  must(pipe2(packets, O_DIRECT), "pipe");
  must(write_text(packets[1], "one") && write_text(packets[1], "three") ? 0 : -1, "packets");
  must(pipe(half), "pipe");
  must(write_text(half[1], "last") ? close(half[1]) : -1, "close the writer");
  must(pipe(deaf), "pipe");
  must(close(deaf[0]), "close the reader");
  must(mkfifo(in_directory("fifo").c_str(), 0600), "mkfifo");
  const int fifo_out =
      static_cast<int>(must(open(in_directory("fifo").c_str(), O_RDONLY | O_NONBLOCK), "fifo"));
  const int fifo_in = static_cast<int>(must(open(in_directory("fifo").c_str(), O_WRONLY), "fifo"));
  must(write_text(fifo_in, "in the fifo") ? 0 : -1, "fill the fifo");
  signal(SIGPIPE, SIG_IGN);

  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    close(across[0]);
    mark("child");
    wait_to_go_on();
    check(write_text(across[1], "from the child"), "the child writes");
    finish_child();
  }
  must(close(across[1]), "close");
  must(fcntl(across[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : -1, "flags");
  wait_for_mark("child");
  say_ready();
  wait_to_go_on();
  expect_end(child);
  expect_text(across[0], "from the child", "the pipe between tasks");
  check(read_text(across[0]).empty(), "end of file after the child's end");
  check_equal(fcntl(large[0], F_GETPIPE_SZ), 1 << 18, "capacity");
  std::string found;
  for (std::string part = read_text(large[0]); !part.empty(); part = read_text(large[0])) {
    found += part;
  }
  check(found == much, "what was in the large pipe");
  check((fcntl(large[1], F_GETFL) & O_NONBLOCK) != 0, "O_NONBLOCK");
  check(read_text(packets[0]) == "one" && read_text(packets[0]) == "three", "packets");
  check(read_text(half[0]) == "last" && read_text(half[0]).empty(), "a pipe without a writer");
  check(!write_text(deaf[1], "x") && errno == EPIPE, "a pipe without a reader");
  expect_text(fifo_out, "in the fifo", "the fifo");
  check(write_text(fifo_in, "more"), "write to the fifo");
  expect_text(fifo_out, "more", "the fifo again");
  finish();
}
