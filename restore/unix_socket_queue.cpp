#include "restore/unix_socket_queue.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "images-format/unix_socket.pb.h"
#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit::making {

namespace {

constexpr int kBufferLock = 72;  // SO_BUF_LOCK, Linux 5.14
constexpr int kLargeBuffer = 1 << 30;
constexpr size_t kMostDescriptors = 253;  // SCM_MAX_FD, in one message

void set_option(int socket, int option, int value) {
  if (::setsockopt(socket, SOL_SOCKET, option, &value, sizeof value) != 0) {
    throw errno_error("cannot set socket option {}", option);
  }
}

int get_option(int socket, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket, SOL_SOCKET, option, &value, &size) != 0) {
    throw errno_error("cannot get socket option {}", option);
  }
  return value;
}

/// While it lives, everything finds room at the other end, and no message gets credentials of ours.
class Filler {
 public:
  explicit Filler(int socket)
      : socket_(socket),
        buffer_(get_option(socket, SO_SNDBUF)),
        locked_(get_option(socket, kBufferLock)),
        credentials_(get_option(socket, SO_PASSCRED)) {
    set_option(socket, SO_PASSCRED, 0);
    set_option(socket, SO_SNDBUFFORCE, kLargeBuffer);
  }
  Filler(const Filler&) = delete;
  Filler& operator=(const Filler&) = delete;
  ~Filler() = default;

  /// To be called last. Throws Error.
  void put_back() const {
    // What is set is doubled by the kernel: socket(7).
    set_option(socket_, SO_SNDBUFFORCE, buffer_ / 2);
    set_option(socket_, kBufferLock, locked_);
    set_option(socket_, SO_PASSCRED, credentials_);
  }

 private:
  int socket_;
  int buffer_;
  int locked_;
  int credentials_;
};

/// The control data of a message.
class Control {
 public:
  template <typename T>
  void add(int type, std::span<const T> items) {
    const size_t bytes = items.size_bytes();
    cmsghdr header{};
    header.cmsg_level = SOL_SOCKET;
    header.cmsg_type = type;
    header.cmsg_len = CMSG_LEN(bytes);
    std::memcpy(bytes_.data() + size_, &header, sizeof header);
    std::memcpy(bytes_.data() + size_ + CMSG_LEN(0), items.data(), bytes);
    size_ += CMSG_SPACE(bytes);
  }

  void put_into(msghdr& message) {
    message.msg_control = size_ == 0 ? nullptr : bytes_.data();
    message.msg_controllen = size_;
  }

 private:
  alignas(cmsghdr)
      std::array<std::byte, CMSG_SPACE(sizeof(int) * kMostDescriptors) + CMSG_SPACE(sizeof(ucred))> bytes_{};
  size_t size_ = 0;
};

ssize_t try_to_send(int socket, const image::UnixMessage& message, std::span<const int> descriptors,
                    const ucred* sender) {
  Control control;
  if (!descriptors.empty()) {
    control.add(SCM_RIGHTS, descriptors);
  }
  if (sender != nullptr) {
    control.add(SCM_CREDENTIALS, std::span(sender, 1));
  }
  iovec part{const_cast<char*>(message.data().data()), message.data().size()};  // NOLINT: it is only read
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  control.put_into(header);
  return ::sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void send(int socket, const image::UnixMessage& message, const FillContext& context) {
  std::vector<Fd> descriptors;
  std::vector<int> numbers;
  if (static_cast<size_t>(message.open_files_size()) > kMostDescriptors) {
    throw error("{} descriptors are in flight in one message", message.open_files_size());
  }
  for (const uint32_t id : message.open_files()) {
    descriptors.push_back(context.descriptor(id));
    numbers.push_back(descriptors.back().get());
  }
  const image::UnixCredentials& recorded = message.sender();
  ucred sender{context.pid_now(recorded.pid()), recorded.uid(), recorded.gid()};
  const ucred* with = message.has_sender() ? &sender : nullptr;
  ssize_t sent = sender.pid == 0 && with != nullptr ? -1 : try_to_send(socket, message, numbers, with);
  if (sent < 0 && with != nullptr && (sender.pid == 0 || errno == ESRCH)) {
    log::warning(
        "a message that waits in a socket is from process {}, which isn't there any more; its reader "
        "finds another number",
        recorded.pid());
    sender.pid = ::getpid();
    sent = try_to_send(socket, message, numbers, with);
  }
  if (sent != static_cast<ssize_t>(message.data().size())) {
    throw errno_error("cannot fill the queue of a socket");
  }
}

void fill_end(const image::UnixSocketEnd& receiver, int to, int from, const FillContext& context) {
  if (receiver.queue().messages().empty()) {
    return;
  }
  const Filler sending(from);
  const Filler receiving(to);
  for (const image::UnixMessage& message : receiver.queue().messages()) {
    send(from, message, context);
  }
  receiving.put_back();
  sending.put_back();
}

}  // namespace

void fill_unix_sockets(const google::protobuf::Message& message, const FillContext& context) {
  const auto& record = static_cast<const image::UnixSocket&>(message);
  const bool needed = std::ranges::any_of(record.ends(), [](const image::UnixSocketEnd& end) {
    return end.queue().messages_size() > 0 || end.shutdown() != 0 || end.queue().reset();
  });
  if (!needed) {
    return;
  }
  std::vector<Fd> ends;
  for (const image::UnixSocketEnd& end : record.ends()) {
    ends.push_back(context.descriptor(end.open_file().id()));
  }
  if (record.ends_size() == 2) {
    fill_end(record.ends(0), ends[0].get(), ends[1].get(), context);
    fill_end(record.ends(1), ends[1].get(), ends[0].get(), context);
  }
  for (int i = 0; i < record.ends_size(); ++i) {
    if (record.ends(i).queue().reset() &&
        ::send(ends[static_cast<size_t>(i)].get(), "", 1, MSG_NOSIGNAL) != 1) {
      throw errno_error("cannot send what a closed socket hasn't read");
    }
    const uint32_t how = record.ends(i).shutdown();
    if (how != 0 && ::shutdown(ends[static_cast<size_t>(i)].get(), static_cast<int>(how) - 1) != 0) {
      throw errno_error("cannot shut a socket down");
    }
  }
}

}  // namespace godwit::making
