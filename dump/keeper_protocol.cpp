#include "dump/keeper_protocol.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "kernel/error.h"

namespace godwit::keeper {

namespace {

constexpr size_t kMostDescriptors = 2;
using ControlBuffer = std::array<std::byte, CMSG_SPACE(kMostDescriptors * sizeof(int))>;

std::vector<Fd> take_descriptors(msghdr& header) {
  std::vector<Fd> descriptors;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      descriptors.emplace_back(fd);
    }
  }
  return descriptors;
}

}  // namespace

std::string socket_path(const TaskIdentity& root) {
  return fmt::format("{}/keeper-{}-{}", kDirectory, root.pid, root.start_time);
}

void send(int socket, const Message& message, const std::vector<int>& descriptors) {
  iovec part{const_cast<Message*>(&message), sizeof(message)};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) ControlBuffer control{};
  const size_t bytes = std::min(descriptors.size(), kMostDescriptors) * sizeof(int);
  if (bytes > 0) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(rights), descriptors.data(), bytes);
  }
  while (::sendmsg(socket, &header, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) {
      throw errno_error("cannot speak with the keeper of write tracking");
    }
  }
}

std::optional<Received> receive(int socket) {
  Received received;
  iovec part{&received.message, sizeof(received.message)};
  alignas(cmsghdr) ControlBuffer control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t got = -1;
  while ((got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (got < 0 && errno != ECONNRESET) {
    throw errno_error("cannot hear the keeper of write tracking");
  }
  if (got <= 0) {
    return std::nullopt;
  }
  received.descriptors = take_descriptors(header);
  if (got != sizeof(Message) || received.message.version != Message::kVersion) {
    throw error("the keeper of write tracking is of another version");
  }
  return received;
}

}  // namespace godwit::keeper
