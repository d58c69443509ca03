// POSIX locks, of a file that a child has open too, flock locks, and locks of open file descriptions (F_OFD):
// whose they are, what they cover, shared and exclusive, and when they end.
#include <fcntl.h>
#include <sys/file.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

int open_lockable(const char* name, int flags = O_RDWR) {
  return static_cast<int>(must(open(in_directory(name).c_str(), flags | O_CREAT, 0600), "open"));
}

struct flock range_of(short type, off_t start, off_t length) {
  struct flock range {};
  range.l_type = type;
  range.l_start = start;
  range.l_len = length;
  return range;
}

void lock(int fd, int command, short type, off_t start, off_t length) {
  struct flock range = range_of(type, start, length);
  must(fcntl(fd, command, &range), "lock");
}

/// Who would be in the way of a lock from `start` on.
void expect_in_the_way(int fd, int command, short type, off_t start, off_t length, const struct flock& wanted,
                       const char* what) {
  struct flock found = range_of(type, start, length);
  check(fcntl(fd, command, &found) == 0, what);
  check_equal(found.l_type, wanted.l_type, what);
  if (wanted.l_type != F_UNLCK) {
    check_equal(found.l_start, wanted.l_start, what);
    check_equal(found.l_len, wanted.l_len, what);
    check_equal(found.l_pid, wanted.l_pid, what);
  }
}

constexpr pid_t kNobody = -1;  // the owner of a description's lock

struct flock held(short type, off_t start, off_t length, pid_t owner) {
  struct flock range = range_of(type, start, length);
  range.l_pid = owner;
  return range;
}

const struct flock kFree = held(F_UNLCK, 0, 0, 0);

void check_posix(int fd, pid_t owner) {
  expect_in_the_way(fd, F_GETLK, F_WRLCK, 0, 0, held(F_WRLCK, 10, 5, owner), "the first POSIX lock");
  expect_in_the_way(fd, F_GETLK, F_WRLCK, 15, 0, held(F_RDLCK, 100, 0, owner), "a POSIX lock to the end");
  expect_in_the_way(fd, F_GETLK, F_RDLCK, 15, 0, kFree, "reading beside a lock for reading");
}

void check_of_descriptions(int exclusive, int shared) {
  const int other = open_lockable("ofd");
  expect_in_the_way(other, F_OFD_GETLK, F_RDLCK, 0, 0, held(F_WRLCK, 20, 7, kNobody), "an OFD lock");
  expect_in_the_way(other, F_OFD_GETLK, F_WRLCK, 27, 0, held(F_RDLCK, 50, 0, kNobody), "a shared OFD lock");
  expect_in_the_way(exclusive, F_OFD_GETLK, F_WRLCK, 0, 50, kFree, "an OFD lock isn't in its own way");
  check(close(shared) == 0, "close");
  expect_in_the_way(other, F_OFD_GETLK, F_WRLCK, 27, 0, held(F_RDLCK, 50, 0, kNobody),
                    "an OFD lock while the parent has the description");
  close(other);
}

void check_flock(int whole, int with_others) {
  const int other = open_lockable("flock");
  check(flock(other, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK, "the file is locked");
  check(flock(whole, LOCK_UN) == 0 && flock(other, LOCK_SH | LOCK_NB) == 0, "the lock is the description's");
  const int another = open_lockable("flock with others");
  check(flock(another, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK, "a lock with others");
  check(flock(another, LOCK_SH | LOCK_NB) == 0, "one more of it");
  check(flock(with_others, LOCK_EX | LOCK_NB) != 0, "no more alone");
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const int posix = open_lockable("posix");
  lock(posix, F_SETLK, F_WRLCK, 10, 5);
  lock(posix, F_SETLK, F_RDLCK, 100, 0);
  const int whole = open_lockable("flock");
  must(flock(whole, LOCK_EX), "flock");
  const int with_others = open_lockable("flock with others", O_RDONLY);
  must(flock(with_others, LOCK_SH), "flock");
  const int exclusive = open_lockable("ofd");
  lock(exclusive, F_OFD_SETLK, F_WRLCK, 20, 7);
  const int shared = open_lockable("ofd", O_RDONLY);
  lock(shared, F_OFD_SETLK, F_RDLCK, 50, 0);
  const pid_t parent = getpid();
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    mark("child");
    wait_to_go_on();
    check_posix(posix, parent);
    check_flock(whole, with_others);
    check_of_descriptions(exclusive, shared);
    finish_child();
  }
  wait_for_mark("child");

  say_ready();
  wait_to_go_on();
  expect_end(child);
  // The last descriptor of a description takes its locks with it.
  const int other = open_lockable("ofd");
  close(shared);
  expect_in_the_way(other, F_OFD_GETLK, F_WRLCK, 27, 0, kFree, "an OFD lock after its last descriptor");
  finish();
}
