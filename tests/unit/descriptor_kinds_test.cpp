#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "tests/unit/descriptor_round_trip.h"

namespace godwit::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string read_text(int fd, size_t most = 65536) {
  std::string text(most, '\0');
  const ssize_t got = ::read(fd, text.data(), most);
  text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

bool write_text(int fd, std::string_view text) {
  return ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool is_closed(int fd) {
  return ::fcntl(fd, F_GETFD) < 0;
}

/// A directory of the test's own, removed with its files.
class DescriptorKinds : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/godwit-descriptors-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    for (const char* name : {"a", "b", "fifo", "socket"}) {
      ::unlink(path(name).c_str());
    }
    EXPECT_EQ(::rmdir(directory_.c_str()), 0);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  [[nodiscard]] int create(const std::string& name, int flags = O_RDWR) const {
    return ::open(path(name).c_str(), flags | O_CREAT, 0600);
  }

 private:
  std::string directory_;
};

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

TEST_F(DescriptorKinds, EventFdsKeepCountAndKind) {
  EXPECT_EQ(round_trip(
                [] {
                  REQUIRE(::eventfd(7, EFD_SEMAPHORE | EFD_NONBLOCK) == 3);
                  REQUIRE(::eventfd(5, EFD_CLOEXEC) == 4);
                  REQUIRE(::eventfd_write(4, uint64_t{1} << 40) == 0);
                },
                [] {
                  eventfd_t count = 0;
                  REQUIRE(::eventfd_read(3, &count) == 0 && count == 1);
                  REQUIRE(::eventfd_read(4, &count) == 0 && count == (uint64_t{1} << 40) + 5);
                  REQUIRE((::fcntl(3, F_GETFL) & O_NONBLOCK) != 0 && ::fcntl(4, F_GETFD) == FD_CLOEXEC);
                }),
            "");
}

TEST_F(DescriptorKinds, TimerFdsGoOn) {
  static timespec deadline;
  EXPECT_EQ(round_trip(
                [] {
                  REQUIRE(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK) == 3);
                  const itimerspec hour{{60, 0}, {3600, 0}};
                  REQUIRE(::timerfd_settime(3, 0, &hour, nullptr) == 0);
                  REQUIRE(::timerfd_create(CLOCK_REALTIME, 0) == 4);
                  itimerspec absolute{{0, 0}, {4102444800, 5}};  // the year 2100
                  REQUIRE(::timerfd_settime(4, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &absolute,
                                            nullptr) == 0);
                  REQUIRE(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK) == 5);
                  const itimerspec soon{{0, 0}, {0, 1}};
                  REQUIRE(::timerfd_settime(5, 0, &soon, nullptr) == 0);
                  pollfd poll{5, POLLIN, 0};
                  REQUIRE(::poll(&poll, 1, 1000) == 1);
                  REQUIRE(::timerfd_create(CLOCK_MONOTONIC, 0) == 6);
                  const itimerspec often{{3600, 0}, {0, 1}};
                  REQUIRE(::timerfd_settime(6, 0, &often, nullptr) == 0);
                  poll.fd = 6;
                  REQUIRE(::poll(&poll, 1, 1000) == 1);
                },
                [] {
                  itimerspec value{};
                  uint64_t ticks = 0;
                  REQUIRE(::timerfd_gettime(3, &value) == 0 && value.it_interval.tv_sec == 60);
                  REQUIRE(value.it_value.tv_sec >= 3590 && value.it_value.tv_sec < 3600);
                  REQUIRE(::read(3, &ticks, sizeof ticks) < 0 && errno == EAGAIN);
                  REQUIRE(::timerfd_gettime(4, &value) == 0);
                  REQUIRE(::clock_gettime(CLOCK_REALTIME, &deadline) == 0);
                  const int64_t off = deadline.tv_sec + value.it_value.tv_sec - 4102444800;
                  REQUIRE(off >= -1 && off <= 0);
                  REQUIRE(::timerfd_gettime(5, &value) == 0 && value.it_value.tv_sec == 0);
                  REQUIRE(::read(5, &ticks, sizeof ticks) == sizeof ticks && ticks == 1);
                  REQUIRE(::read(6, &ticks, sizeof ticks) == sizeof ticks && ticks == 1);
                  REQUIRE(::timerfd_gettime(6, &value) == 0 && value.it_value.tv_sec >= 3590);
                }),
            "");
}

TEST_F(DescriptorKinds, SignalFdsKeepTheirMask) {
  EXPECT_EQ(round_trip(
                [] {
                  sigset_t set;
                  sigemptyset(&set);
                  sigaddset(&set, SIGUSR2);
                  REQUIRE(::signalfd(-1, &set, SFD_NONBLOCK) == 3);
                },
                [] {
                  sigset_t set;
                  sigemptyset(&set);
                  sigaddset(&set, SIGUSR1);
                  sigaddset(&set, SIGUSR2);
                  REQUIRE(::sigprocmask(SIG_BLOCK, &set, nullptr) == 0);
                  REQUIRE(::raise(SIGUSR1) == 0 && ::raise(SIGUSR2) == 0);
                  signalfd_siginfo info{};
                  REQUIRE(::read(3, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR2);
                  REQUIRE(::read(3, &info, sizeof info) < 0 && errno == EAGAIN);
                }),
            "");
}

epoll_event watch(uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return event;
}

TEST_F(DescriptorKinds, EpollsKeepTheirWatches) {
  EXPECT_EQ(round_trip(
                [] {
                  REQUIRE(::epoll_create1(EPOLL_CLOEXEC) == 3);
                  REQUIRE(::eventfd(1, 0) == 4 && ::eventfd(1, 0) == 5 && ::eventfd(0, 0) == 6);
                  epoll_event a = watch(EPOLLIN | EPOLLET, 0xaaaabbbbccccddddU);
                  epoll_event b = watch(EPOLLIN | EPOLLONESHOT, 5);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 4, &a) == 0);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 5, &b) == 0);
                  // A watch under number 6 of what is number 8 by now, and another under the same number.
                  epoll_event c = watch(EPOLLIN, 6);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 6, &c) == 0);
                  REQUIRE(::dup2(6, 8) == 8 && ::close(6) == 0 && ::eventfd(0, EFD_CLOEXEC) == 6);
                  epoll_event d = watch(EPOLLIN, 66);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 6, &d) == 0);
                  REQUIRE(::epoll_create1(0) == 7);
                  epoll_event nested = watch(EPOLLIN, 33);
                  REQUIRE(::epoll_ctl(7, EPOLL_CTL_ADD, 3, &nested) == 0);
                },
                [] {
                  std::array<epoll_event, 8> events{};
                  REQUIRE(::epoll_wait(7, events.data(), 8, 0) == 1 && events[0].data.u64 == 33);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 2);
                  REQUIRE(events[0].data.u64 + events[1].data.u64 == 0xaaaabbbbccccddddU + 5);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 0);
                  REQUIRE(::fcntl(6, F_GETFD) == FD_CLOEXEC);
                  REQUIRE(::eventfd_write(6, 1) == 0);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 1 && events[0].data.u64 == 66);
                  REQUIRE(::eventfd_write(8, 1) == 0);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 2);
                }),
            "");
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

TEST_F(DescriptorKinds, SocketPairsKeepTheirQueues) {
  const std::string large(150000, 'L');
  EXPECT_EQ(round_trip(
                [&] {
                  int pair[2];
                  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pair[0] == 3);
                  REQUIRE(write_text(3, "to four") && write_text(4, large));
                  REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair) == 0 && pair[0] == 5);
                  REQUIRE(write_text(5, "one") && write_text(5, "three"));
                  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0 && pair[0] == 7);
                  REQUIRE(write_text(8, "sequence") && ::shutdown(8, SHUT_WR) == 0);
                  const int size = 100000;
                  REQUIRE(::setsockopt(7, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
                  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pair[0] == 9);
                  REQUIRE(write_text(10, "last words") && ::close(10) == 0);
                },
                [&] {
                  REQUIRE(read_text(4) == "to four");
                  std::string got;
                  while (got.size() < large.size()) {
                    got += read_text(3);
                  }
                  REQUIRE(got == large);
                  REQUIRE(read_text(6) == "one" && read_text(6) == "three");
                  REQUIRE(::read(6, got.data(), 1) < 0 && errno == EAGAIN);
                  REQUIRE(read_text(7) == "sequence" && read_text(7).empty());
                  REQUIRE(write_text(7, "back") && read_text(8) == "back");
                  int size = 0;
                  socklen_t length = sizeof size;
                  REQUIRE(::getsockopt(7, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 && size == 200000);
                  REQUIRE(::getsockopt(4, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 && size != 200000);
                  REQUIRE(read_text(9) == "last words" && read_text(9).empty());
                }),
            "");
}

TEST_F(DescriptorKinds, DescriptorsInFlightAreRefused) {
  EXPECT_THAT(refused([] {
                int pair[2];
                REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
                alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
                char byte = 'x';
                iovec part{&byte, 1};
                msghdr header{};
                header.msg_iov = &part;
                header.msg_iovlen = 1;
                header.msg_control = control;
                header.msg_controllen = sizeof control;
                cmsghdr* message = CMSG_FIRSTHDR(&header);
                message->cmsg_level = SOL_SOCKET;
                message->cmsg_type = SCM_RIGHTS;
                message->cmsg_len = CMSG_LEN(sizeof(int));
                REQUIRE(::sendmsg(pair[0], &header, 0) == 1);
              }),
              HasSubstr("SCM_RIGHTS"));
}

TEST_F(DescriptorKinds, UnixListenersListenAgain) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path("socket").c_str());
  sockaddr_un abstract{};
  abstract.sun_family = AF_UNIX;
  const std::string name = path("abstract");
  std::memcpy(abstract.sun_path + 1, name.data(), name.size());
  const auto abstract_size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  EXPECT_EQ(round_trip(
                [&] {
                  REQUIRE(::socket(AF_UNIX, SOCK_STREAM, 0) == 3);
                  REQUIRE(::bind(3, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
                  REQUIRE(::chmod(address.sun_path, 0620) == 0 && ::listen(3, 5) == 0);
                  REQUIRE(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0) == 4);
                  REQUIRE(::bind(4, reinterpret_cast<sockaddr*>(&abstract), abstract_size) == 0);
                  REQUIRE(::listen(4, 1) == 0);
                },
                [&] {
                  struct stat status {};
                  REQUIRE(::stat(address.sun_path, &status) == 0 && (status.st_mode & 07777) == 0620);
                  const int client = ::socket(AF_UNIX, SOCK_STREAM, 0);
                  REQUIRE(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
                  const int server = ::accept(3, nullptr, nullptr);
                  REQUIRE(write_text(client, "hi") && read_text(server) == "hi");
                  const int other = ::socket(AF_UNIX, SOCK_SEQPACKET, 0);
                  REQUIRE(::connect(other, reinterpret_cast<sockaddr*>(&abstract), abstract_size) == 0);
                  REQUIRE((::fcntl(4, F_GETFL) & O_NONBLOCK) != 0 && ::accept(4, nullptr, nullptr) > 0);
                }),
            "");
}

sockaddr_in loopback(in_port_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

TEST_F(DescriptorKinds, InternetSocketsAreBoundAgain) {
  static sockaddr_in bound{};
  socklen_t size = sizeof bound;
  // The port is needed on both sides: a socket of ours finds a free one.
  const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
  bound = loopback(0);
  ASSERT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&bound), sizeof bound), 0);
  ASSERT_EQ(::getsockname(probe, reinterpret_cast<sockaddr*>(&bound), &size), 0);
  ::close(probe);
  EXPECT_EQ(round_trip(
                [&] {
                  const int on = 1;
                  const timeval timeout{3, 500000};
                  REQUIRE(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) == 3);
                  REQUIRE(::setsockopt(3, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0);
                  REQUIRE(::setsockopt(3, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0);
                  REQUIRE(::bind(3, reinterpret_cast<const sockaddr*>(&bound), sizeof bound) == 0);
                  REQUIRE(::listen(3, 77) == 0);
                  REQUIRE(::socket(AF_INET, SOCK_DGRAM, 0) == 4);
                  REQUIRE(::bind(4, reinterpret_cast<const sockaddr*>(&bound), sizeof bound) == 0);
                  REQUIRE(::socket(AF_INET6, SOCK_STREAM, 0) == 5);
                  REQUIRE(::setsockopt(5, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
                  REQUIRE(::socket(AF_INET, SOCK_DGRAM, 0) == 6);
                  REQUIRE(::connect(6, reinterpret_cast<const sockaddr*>(&bound), sizeof bound) == 0);
                },
                [&] {
                  int value = 0;
                  socklen_t length = sizeof value;
                  timeval timeout{};
                  socklen_t timeout_size = sizeof timeout;
                  REQUIRE(::getsockopt(3, SOL_SOCKET, SO_KEEPALIVE, &value, &length) == 0 && value == 1);
                  REQUIRE(::getsockopt(3, SOL_SOCKET, SO_REUSEADDR, &value, &length) == 0 && value == 0);
                  REQUIRE(::getsockopt(3, SOL_SOCKET, SO_RCVTIMEO, &timeout, &timeout_size) == 0);
                  REQUIRE(timeout.tv_sec == 3 && timeout.tv_usec == 500000);
                  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
                  REQUIRE(::connect(client, reinterpret_cast<const sockaddr*>(&bound), sizeof bound) == 0);
                  const int server = ::accept(3, nullptr, nullptr);
                  REQUIRE(write_text(client, "hi") && read_text(server) == "hi");
                  REQUIRE(write_text(6, "datagram") && read_text(4) == "datagram");
                  REQUIRE(::getsockopt(5, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length) == 0 && value == 1);
                }),
            "");
}

TEST_F(DescriptorKinds, WhatIsNotSupportedIsRefusedByName) {
  EXPECT_THAT(refused([] { REQUIRE(::inotify_init1(0) == 3); }),
              ::testing::AllOf(HasSubstr("descriptor 3 of task"), HasSubstr("anon_inode:inotify")));
  EXPECT_THAT(refused([] { REQUIRE(::open("/proc/self/status", O_RDONLY) == 3); }), HasSubstr("/status"));
  EXPECT_THAT(refused([] {
                REQUIRE(::epoll_create1(0) == 3 && ::eventfd(0, 0) == 4);
                epoll_event event = watch(EPOLLIN, 1);
                REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 4, &event) == 0);
                if (::fork() == 0) {
                  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
                  ::pause();  // holds the eventfd, outside what is dumped
                }
                REQUIRE(::close(4) == 0);
              }),
              HasSubstr("nobody in the tree"));
  EXPECT_THAT(refused([] {
                int pair[2];
                REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
                REQUIRE(::fcntl(pair[0], F_SETOWN, ::getppid()) == 0);
              }),
              HasSubstr("signals somebody outside the tree"));
  EXPECT_THAT(refused([] {
                REQUIRE(::socket(AF_INET, SOCK_DGRAM, 0) == 3);
                ip_mreq_source join{};
                join.imr_multiaddr.s_addr = htonl(0xefff0103);
                join.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
                join.imr_sourceaddr.s_addr = htonl(INADDR_LOOPBACK);
                REQUIRE(::setsockopt(3, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &join, sizeof join) == 0);
              }),
              HasSubstr("in multicast group 239.255.1.3 with a filter of sources"));
  EXPECT_THAT(refused([] { REQUIRE(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) == 3 || errno == EPERM); }),
              ::testing::AnyOf(IsEmpty(), HasSubstr("internet socket of type 3")));
}

}  // namespace
}  // namespace godwit::testing
