// Two tasks that share descriptions under different numbers, up to the last that the hard limit allows: an
// eventfd, a pipe, an unlinked file, a memfd that both have mapped.
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

/// Moves a descriptor to another number.
int move_to(int fd, int number) {
  must(dup2(fd, number), "dup2");
  must(close(fd), "close");
  return number;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  rlimit limit{};
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  const int top = static_cast<int>(limit.rlim_max);
  int pipe_ends[2];
  must(pipe(pipe_ends), "pipe");
  int event = move_to(static_cast<int>(must(eventfd(0, EFD_NONBLOCK), "eventfd")), top - 1);
  int reader = move_to(pipe_ends[0], top - 2);
  int writer = move_to(pipe_ends[1], top - 40);
  int file =
      move_to(static_cast<int>(must(open(in_directory("unlinked").c_str(), O_RDWR | O_CREAT, 0600), "open")),
              top - 3);
  must(unlink(in_directory("unlinked").c_str()), "unlink");
  must(write_text(file, "kept") ? 0 : -1, "write");
  int memory = move_to(static_cast<int>(must(memfd_create("shared", 0), "memfd_create")), top - 4);
  must(ftruncate(memory, 4096), "ftruncate");
  auto* const word =
      static_cast<volatile int*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0));
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    // The numbers of the parent in another order.
    const int aside = move_to(event, 20);
    reader = move_to(reader, top - 1);
    event = move_to(aside, top - 2);
    file = move_to(file, top - 5);
    memory = move_to(memory, top - 300);
    mark("child");
    wait_to_go_on();
    expect_text(reader, "from the parent", "the pipe");
    eventfd_t count = 0;
    check(eventfd_read(event, &count) == 0 && count == 7, "the eventfd");
    check_equal(lseek(file, 0, SEEK_CUR), 4, "position in the unlinked file");
    check_equal(*word, 42, "the shared memory");
    finish_child();
  }
  wait_for_mark("child");
  *word = 0;
  say_ready();
  wait_to_go_on();
  *word = 42;
  check(eventfd_write(event, 7) == 0, "the eventfd");
  check(write_text(writer, "from the parent"), "the pipe");
  expect_end(child);
  finish();
}
