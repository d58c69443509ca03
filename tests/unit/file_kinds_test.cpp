#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/unit/descriptor_kinds.h"

namespace godwit::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(DescriptorKinds, FilesKeepPositionFlagsNumbersAndSharing) {
  EXPECT_EQ(round_trip(
                [&] {
                  REQUIRE(create("a") == 3);
                  REQUIRE(write_text(3, "hello"));
                  REQUIRE(::dup3(3, 7, O_CLOEXEC) == 7);
                  REQUIRE(::open(path("a").c_str(), O_WRONLY | O_APPEND | O_NONBLOCK) == 4);
                  REQUIRE(::open(path("").c_str(), O_RDONLY | O_DIRECTORY) == 5);
                  REQUIRE(::open("/dev/zero", O_RDONLY) == 6);
                  REQUIRE(::open(path("a").c_str(), O_PATH | O_CLOEXEC) == 8);
                  REQUIRE(::open(path("a").c_str(), O_RDONLY) == 9);
                  REQUIRE(::dup2(9, 20) == 20 && ::close(9) == 0);
                },
                [&] {
                  REQUIRE(::lseek(3, 0, SEEK_CUR) == 5);
                  REQUIRE(::lseek(7, 1, SEEK_SET) == 1 && ::lseek(3, 0, SEEK_CUR) == 1);
                  REQUIRE(::fcntl(3, F_GETFD) == 0 && ::fcntl(7, F_GETFD) == FD_CLOEXEC);
                  REQUIRE((::fcntl(4, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK)) ==
                          (O_WRONLY | O_APPEND | O_NONBLOCK));
                  REQUIRE((::fcntl(5, F_GETFL) & O_DIRECTORY) != 0);
                  char byte = 1;
                  REQUIRE(::read(6, &byte, 1) == 1 && byte == 0);
                  REQUIRE((::fcntl(8, F_GETFL) & O_PATH) != 0 && ::fcntl(8, F_GETFD) == FD_CLOEXEC);
                  REQUIRE(is_closed(9) && read_text(20) == "hello" && ::lseek(3, 0, SEEK_CUR) == 1);
                  REQUIRE(is_closed(10) && is_closed(21));
                }),
            "");
}

TEST_F(DescriptorKinds, TwoTasksShareADescriptionAndItsPosition) {
  EXPECT_EQ(round_trip(
                [&] {
                  REQUIRE(create("a") == 3 && write_text(3, "0123456789"));
                  REQUIRE(::lseek(3, 2, SEEK_SET) == 2);
                  int ends[2];
                  REQUIRE(::pipe(ends) == 0 && ends[0] == 4 && ends[1] == 5);
                  REQUIRE(::eventfd(0, 0) == 6);
                },
                [&] {
                  REQUIRE(read_text(4, 1) == "x");
                  REQUIRE(::lseek(3, 0, SEEK_CUR) == 5);
                },
                [&] {
                  REQUIRE(read_text(3, 3) == "234");
                  REQUIRE(write_text(5, "x"));
                }),
            "");
}

TEST_F(DescriptorKinds, UnlinkedFilesKeepContentHolesAndOwner) {
  EXPECT_EQ(round_trip(
                [&] {
                  REQUIRE(create("a") == 3);
                  REQUIRE(::open(path("a").c_str(), O_RDONLY) == 4);
                  REQUIRE(::pwrite(3, "begin", 5, 0) == 5 && ::pwrite(3, "end", 3, 10 << 20) == 3);
                  REQUIRE(::fchmod(3, 04640) == 0 && ::lseek(3, 7, SEEK_SET) == 7);
                  REQUIRE(::unlink(path("a").c_str()) == 0);
                },
                [&] {
                  struct stat status {};
                  REQUIRE(::fstat(3, &status) == 0);
                  REQUIRE(status.st_nlink == 0 && status.st_mode == (S_IFREG | 04640));
                  REQUIRE(status.st_size == (10 << 20) + 3 && status.st_blocks < 64);
                  REQUIRE(::lseek(3, 0, SEEK_CUR) == 7);
                  REQUIRE(read_text(4, 5) == "begin");
                  REQUIRE(::lseek(4, 10 << 20, SEEK_SET) > 0 && read_text(4) == "end");
                  REQUIRE(::pwrite(3, "B", 1, 0) == 1);
                  REQUIRE(::lseek(4, 0, SEEK_SET) == 0 && read_text(4, 5) == "Begin");
                  REQUIRE((::fcntl(4, F_GETFL) & O_ACCMODE) == O_RDONLY);
                }),
            "");
}

TEST_F(DescriptorKinds, AFileThatHasOnlyLostItsNameIsRefused) {
  EXPECT_THAT(refused([&] {
                REQUIRE(create("a") == 3);
                REQUIRE(::link(path("a").c_str(), path("b").c_str()) == 0);
                REQUIRE(::unlink(path("a").c_str()) == 0);
              }),
              HasSubstr("has lost this name"));
}

TEST_F(DescriptorKinds, LocksAreHeldAgain) {
  EXPECT_EQ(round_trip(
                [&] {
                  REQUIRE(create("a") == 3 && create("b") == 4);
                  struct flock range {};
                  range.l_type = F_WRLCK;
                  range.l_start = 10;
                  range.l_len = 5;
                  REQUIRE(::fcntl(3, F_SETLK, &range) == 0);
                  REQUIRE(::open(path("a").c_str(), O_RDONLY) == 5);
                  REQUIRE(::flock(4, LOCK_EX) == 0);
                },
                [&] {
                  struct flock range {};
                  range.l_type = F_WRLCK;
                  const int other = ::open(path("a").c_str(), O_RDWR);
                  REQUIRE(::fcntl(other, F_OFD_GETLK, &range) == 0 && range.l_type == F_WRLCK);
                  REQUIRE(range.l_start == 10 && range.l_len == 5 && range.l_pid == ::getpid());
                  const int b = ::open(path("b").c_str(), O_RDWR);
                  REQUIRE(::flock(b, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK);
                  REQUIRE(::flock(4, LOCK_UN) == 0 && ::flock(b, LOCK_SH | LOCK_NB) == 0);
                }),
            "");
}

}  // namespace
}  // namespace godwit::testing
