#include "kernel/netlink.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>
#include <vector>

#include "kernel/error.h"

namespace godwit {
namespace {

/// Plays the kernel at the other end of a connection: answers each request by a list of one message and its
/// end, of which the first `interrupted` say that the list has changed meanwhile.
class Kernel {
 public:
  explicit Kernel(int interrupted) : interrupted_(interrupted) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      throw errno_error("cannot make a pair of sockets");
    }
    ours_ = Fd(ends[0]);
    theirs_ = Fd(ends[1]);
    thread_ = std::thread([this] { answer(); });
  }
  ~Kernel() { thread_.join(); }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  [[nodiscard]] Fd connect() { return std::move(theirs_); }
  [[nodiscard]] int requests() const { return requests_; }

 private:
  void answer() {
    std::byte request[4096];
    while (::recv(ours_.get(), request, sizeof request, 0) > 0) {
      ++requests_;
      const auto flags =
          static_cast<uint16_t>(NLM_F_MULTI | (requests_ <= interrupted_ ? NLM_F_DUMP_INTR : 0));
      const struct {
        nlmsghdr header;
        uint32_t payload;
      } messages[2] = {{{sizeof messages[0], 77, flags, 0, 0}, static_cast<uint32_t>(requests_)},
                       {{sizeof messages[0], NLMSG_DONE, NLM_F_MULTI, 0, 0}, 0}};
      ::send(ours_.get(), messages, sizeof messages, MSG_NOSIGNAL);
    }
  }

  int interrupted_;
  std::atomic<int> requests_ = 0;
  Fd ours_;
  Fd theirs_;
  std::thread thread_;
};

/// What a list has: the numbers in its messages.
std::vector<uint32_t> list(Kernel& kernel) {
  std::vector<uint32_t> seen;
  netlink::Connection(kernel.connect()).dump(netlink::Request(1), [&](const netlink::Message& message) {
    seen.push_back(netlink::to_u32(message.payload));
  });
  return seen;
}

TEST(Netlink, AListThatChangedIsReadAgain) {
  Kernel kernel(3);
  EXPECT_EQ(list(kernel), std::vector<uint32_t>{4});
  EXPECT_EQ(kernel.requests(), 4);
}

TEST(Netlink, AListThatChangesForEverIsAFailure) {
  Kernel kernel(1 << 20);
  try {
    static_cast<void>(list(kernel));
    ADD_FAILURE() << "it passed for complete";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), EINTR);
    EXPECT_NE(std::string(e.what()).find("changed each time"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace godwit
