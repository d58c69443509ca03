#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/unit/descriptor_kinds.h"
#include "tests/workloads/unix_address.h"

namespace godwit::testing {
namespace {

using ::testing::HasSubstr;

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

TEST_F(DescriptorKinds, DescriptorsInFlightArriveAfterARestore) {
  EXPECT_EQ(round_trip(
                [&] {
                  int pair[2];
                  int pipe[2];
                  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pair[0] == 3);
                  REQUIRE(::pipe(pipe) == 0 && write_text(pipe[1], "in the pipe"));
                  REQUIRE(workload::send_with(3, "x", {pipe[0], 3}));
                  REQUIRE(::close(pipe[0]) == 0 && ::close(pipe[1]) == 0);
                },
                [&] {
                  const workload::Received received = workload::receive(4);
                  REQUIRE(received.text == "x" && received.descriptors.size() == 2);
                  REQUIRE(read_text(received.descriptors[0]) == "in the pipe");
                  REQUIRE(read_text(received.descriptors[0]).empty());
                  REQUIRE(write_text(received.descriptors[1], "back") && read_text(4) == "back");
                }),
            "");
}

TEST_F(DescriptorKinds, ALockOnAFileInFlightIsRefused) {
  EXPECT_THAT(refused([&] {
                int pair[2];
                REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
                const int file = ::open(path("file").c_str(), O_RDWR | O_CREAT, 0600);
                REQUIRE(::flock(file, LOCK_EX) == 0 && workload::send_with(pair[0], "x", {file}));
                REQUIRE(::close(file) == 0);
              }),
              HasSubstr("in a message in a socket, with a lock on it, isn't supported"));
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

}  // namespace
}  // namespace godwit::testing
