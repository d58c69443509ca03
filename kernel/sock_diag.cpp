#include "kernel/sock_diag.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

#include <cstring>
#include <vector>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

template <typename T>
T payload_of(const rtattr* attribute) {
  T value{};
  std::memcpy(&value, RTA_DATA(attribute), std::min<size_t>(sizeof value, RTA_PAYLOAD(attribute)));
  return value;
}

/// A path is counted with its final zero; in an abstract name every byte counts.
std::string name_of(const rtattr* attribute) {
  std::string name(static_cast<const char*>(RTA_DATA(attribute)), RTA_PAYLOAD(attribute));
  if (!name.empty() && name.front() != '\0') {
    name.resize(std::min(name.size(), name.find('\0')));
  }
  return name;
}

UnixSocketInfo parse(const unix_diag_msg* message, size_t length) {
  UnixSocketInfo info;
  info.state = message->udiag_state;
  auto left = static_cast<int>(length - NLMSG_ALIGN(sizeof *message));
  const auto* attribute =
      reinterpret_cast<const rtattr*>(reinterpret_cast<const char*>(message) + NLMSG_ALIGN(sizeof *message));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    switch (attribute->rta_type) {
      case UNIX_DIAG_PEER:
        info.has_peer = true;
        info.peer_inode = payload_of<uint32_t>(attribute);
        break;
      case UNIX_DIAG_SHUTDOWN:
        info.shutdown = payload_of<uint8_t>(attribute);
        break;
      case UNIX_DIAG_RQLEN: {
        const auto lengths = payload_of<unix_diag_rqlen>(attribute);
        info.queue = lengths.udiag_rqueue;
        info.backlog = lengths.udiag_wqueue;
        break;
      }
      case UNIX_DIAG_VFS: {
        const auto file = payload_of<unix_diag_vfs>(attribute);
        info.file_inode = file.udiag_vfs_ino;
        info.file_device = file.udiag_vfs_dev;
        break;
      }
      case UNIX_DIAG_NAME:
        info.name = name_of(attribute);
        break;
      default:
        break;
    }
  }
  return info;
}

void send_request(int socket) {
  struct {
    nlmsghdr header;
    unix_diag_req request;
  } message{};
  message.header.nlmsg_len = sizeof message;
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message.request.sdiag_family = AF_UNIX;
  message.request.udiag_states = ~0U;
  message.request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_VFS;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(socket, &message, sizeof message, 0, reinterpret_cast<const sockaddr*>(&kernel),
               sizeof kernel) < 0) {
    throw errno_error("cannot ask for unix sockets");
  }
}

}  // namespace

std::unordered_map<uint32_t, UnixSocketInfo> list_unix_sockets() {
  const Fd socket(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket) {
    throw errno_error("cannot make a sock_diag socket");
  }
  send_request(socket.get());
  std::unordered_map<uint32_t, UnixSocketInfo> sockets;
  std::vector<nlmsghdr> buffer(32768 / sizeof(nlmsghdr));
  for (;;) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size() * sizeof(nlmsghdr), 0);
    if (got < 0) {
      throw errno_error("cannot read about unix sockets");
    }
    auto left = static_cast<uint32_t>(got);
    for (const nlmsghdr* header = buffer.data(); NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) {
        return sockets;
      }
      if (header->nlmsg_type == NLMSG_ERROR) {
        throw Error("cannot list unix sockets", -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error);
      }
      const auto* message = static_cast<const unix_diag_msg*>(NLMSG_DATA(header));
      sockets[message->udiag_ino] = parse(message, NLMSG_PAYLOAD(header, 0));
    }
  }
}

}  // namespace godwit
