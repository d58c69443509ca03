// Files, directories and devices: position, flags, close-on-exec, one description shared by dup and fork,
// and unlinked files with content and holes.
#include <sys/stat.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr off_t kFar = 8 << 20;

void check_ghost(int ghost, int reader) {
  struct stat status {};
  check(fstat(ghost, &status) == 0 && status.st_nlink == 0, "the unlinked file has no name");
  check_equal(status.st_mode, S_IFREG | 0640, "mode of the unlinked file");
  check_equal(status.st_size, kFar + 3, "size of the unlinked file");
  check_equal(status.st_uid, getuid(), "owner of the unlinked file");
  check(status.st_blocks < 128, "the unlinked file is sparse");
  expect_text(reader, "begin", "the unlinked file");
  check(pread(reader, nullptr, 0, 0) == 0 && lseek(reader, kFar, SEEK_SET) == kFar, "seek far");
  expect_text(reader, "end", "the unlinked file's end");
  check(pwrite(ghost, "B", 1, 0) == 1 && lseek(reader, 0, SEEK_SET) == 0, "write to the unlinked file");
  expect_text(reader, "Begin", "one file behind both descriptors");
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const int shared =
      static_cast<int>(must(open(in_directory("data").c_str(), O_RDWR | O_CREAT, 0600), "open"));
  check(write_text(shared, "0123456789"), "fill the file");
  const int twin = static_cast<int>(must(fcntl(shared, F_DUPFD_CLOEXEC, 50), "dup"));
  const int log = static_cast<int>(must(
      open(in_directory("log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0600), "open a log"));
  const int folder =
      static_cast<int>(must(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open directory"));
  const int path = static_cast<int>(must(open(in_directory("data").c_str(), O_PATH), "O_PATH"));
  const int zero = static_cast<int>(must(open("/dev/zero", O_RDONLY), "open /dev/zero"));
  const int random = static_cast<int>(must(open("/dev/urandom", O_RDONLY), "open /dev/urandom"));
  const std::string name = in_directory("ghost");
  const int ghost =
      static_cast<int>(must(open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600), "open a ghost"));
  const int reader = static_cast<int>(must(open(name.c_str(), O_RDONLY), "open it again"));
  must(fchmod(ghost, 0640), "chmod");
  must(pwrite(ghost, "begin", 5, 0), "write");
  must(pwrite(ghost, "end", 3, kFar), "write");
  must(unlink(name.c_str()), "unlink");
  must(lseek(shared, 2, SEEK_SET), "seek");

  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    mark("child");
    wait_to_go_on();
    expect_text(shared, "234", "the child reads on from the position");
    finish_child();
  }
  wait_for_mark("child");
  say_ready();
  wait_to_go_on();
  expect_end(child);
  check_equal(lseek(shared, 0, SEEK_CUR), 5, "position after the child has read");
  check_equal(lseek(twin, 7, SEEK_SET), 7, "seek by the duplicate");
  expect_text(shared, "789", "position set by the duplicate");
  check_equal(fcntl(twin, F_GETFD), FD_CLOEXEC, "close-on-exec of the duplicate");
  check_equal(fcntl(shared, F_GETFD), 0, "close-on-exec of the original");
  check_equal(fcntl(log, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_WRONLY | O_APPEND | O_NONBLOCK,
              "flags of the log");
  check((fcntl(folder, F_GETFL) & O_DIRECTORY) != 0, "the directory is one");
  check((fcntl(path, F_GETFL) & O_PATH) != 0, "O_PATH");
  expect_text(zero, std::string(4, '\0'), "/dev/zero");
  check(read_text(random, 8).size() == 8, "/dev/urandom");
  check_ghost(ghost, reader);
  finish();
}
