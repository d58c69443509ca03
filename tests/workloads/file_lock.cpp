// POSIX locks, of a file that a child has open too, and flock locks.
#include <fcntl.h>
#include <sys/file.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  const int file =
      static_cast<int>(must(open(in_directory("posix").c_str(), O_RDWR | O_CREAT, 0600), "open"));
  const int whole =
      static_cast<int>(must(open(in_directory("flock").c_str(), O_RDWR | O_CREAT, 0600), "open"));
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_start = 10;
  range.l_len = 5;
  must(fcntl(file, F_SETLK, &range), "lock");
  must(flock(whole, LOCK_EX), "flock");
  const pid_t parent = getpid();
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    mark("child");
    wait_to_go_on();
    struct flock found {};
    found.l_type = F_WRLCK;
    check(fcntl(file, F_GETLK, &found) == 0 && found.l_type == F_WRLCK, "the range is locked");
    check_equal(found.l_start, 10, "start of the lock");
    check_equal(found.l_len, 5, "length of the lock");
    check_equal(found.l_pid, parent, "owner of the lock");
    const int other = open(in_directory("flock").c_str(), O_RDWR);
    check(flock(other, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK, "the file is locked");
    check(flock(whole, LOCK_UN) == 0 && flock(other, LOCK_SH | LOCK_NB) == 0,
          "the lock is the description's");
    finish_child();
  }
  wait_for_mark("child");
  say_ready();
  wait_to_go_on();
  expect_end(child);
  finish();
}
