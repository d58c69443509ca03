#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/unit/descriptor_kinds.h"

namespace godwit::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(DescriptorKinds, PipesKeepWhatIsInThem) {
  EXPECT_EQ(round_trip(
                [&] {
                  int ends[2];
                  REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0 && ends[0] == 3 && ends[1] == 4);
                  REQUIRE(write_text(4, "in the pipe"));
                  REQUIRE(::fcntl(3, F_SETFL, 0) == 0);
                  REQUIRE(::pipe(ends) == 0 && ends[0] == 5 && ends[1] == 6);
                  REQUIRE(::fcntl(6, F_SETPIPE_SZ, 4096 * 4) == 4096 * 4);
                  REQUIRE(::dup2(6, 30) == 30 && ::close(6) == 0);  // ends in descending order
                  REQUIRE(::dup2(5, 31) == 31 && ::close(5) == 0);
                  REQUIRE(::open("/proc/self/fd/31", O_RDONLY | O_NONBLOCK) == 5);
                },
                [&] {
                  REQUIRE((::fcntl(3, F_GETFL) & O_NONBLOCK) == 0 && (::fcntl(4, F_GETFL) & O_NONBLOCK) != 0);
                  REQUIRE(::fcntl(3, F_GETFD) == FD_CLOEXEC);
                  REQUIRE(read_text(3) == "in the pipe");
                  REQUIRE(::fcntl(31, F_GETPIPE_SZ) == 4096 * 4);
                  REQUIRE(write_text(30, "abc") && read_text(5, 1) == "a" && read_text(31) == "bc");
                  REQUIRE((::fcntl(5, F_GETFL) & O_NONBLOCK) != 0);
                }),
            "");
}

TEST_F(DescriptorKinds, PipesKeepPacketsAndMissingEnds) {
  EXPECT_EQ(round_trip(
                [&] {
                  int ends[2];
                  REQUIRE(::pipe2(ends, O_DIRECT) == 0 && ends[0] == 3 && ends[1] == 4);
                  REQUIRE(write_text(4, "one") && write_text(4, "three"));
                  REQUIRE(::pipe(ends) == 0 && ends[0] == 5 && ends[1] == 6);
                  REQUIRE(write_text(6, "last") && ::close(6) == 0);
                  REQUIRE(::pipe(ends) == 0 && ends[0] == 6 && ends[1] == 7);
                  REQUIRE(::close(6) == 0);
                },
                [&] {
                  REQUIRE(read_text(3) == "one" && read_text(3) == "three");
                  REQUIRE((::fcntl(4, F_GETFL) & O_DIRECT) != 0);
                  REQUIRE(read_text(5) == "last" && read_text(5).empty());
                  ::signal(SIGPIPE, SIG_IGN);
                  REQUIRE(is_closed(6) && !write_text(7, "x") && errno == EPIPE);
                }),
            "");
}

TEST_F(DescriptorKinds, PipesThatLeaveTheTreeAreRefused) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  for (const int kept : {0, 1}) {
    EXPECT_THAT(refused([&] {
                  const std::string link =
                      "/proc/" + std::to_string(::getppid()) + "/fd/" + std::to_string(ends[kept]);
                  REQUIRE(::open(link.c_str(), kept == 0 ? O_RDONLY : O_WRONLY) == 3);
                }),
                HasSubstr("whose other end is outside the tree"));
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(DescriptorKinds, FifosKeepWhatIsInThem) {
  EXPECT_EQ(round_trip(
                [&] {
                  REQUIRE(::mkfifo(path("fifo").c_str(), 0600) == 0);
                  REQUIRE(::open(path("fifo").c_str(), O_RDONLY | O_NONBLOCK) == 3);
                  REQUIRE(::open(path("fifo").c_str(), O_WRONLY) == 4);
                  REQUIRE(write_text(4, "in the fifo"));
                },
                [&] {
                  REQUIRE(read_text(3) == "in the fifo");
                  REQUIRE(write_text(4, "more") && read_text(3) == "more");
                  REQUIRE(::close(4) == 0 && ::read(3, nullptr, 0) == 0);
                }),
            "");
}

}  // namespace
}  // namespace godwit::testing
