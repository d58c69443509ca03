#include "dump/unix_socket_name.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <optional>

#include "kernel/error.h"
#include "kernel/namespace.h"

namespace godwit {

namespace {

constexpr uint8_t kListening = 10;                           // the kernel's net/tcp_states.h
constexpr unsigned long kSocketFile = SIOCPROTOPRIVATE + 0;  // SIOCUNIXFILE

std::string name_in(const sockaddr_un& address, socklen_t size) {
  std::string name;
  if (size > offsetof(sockaddr_un, sun_path)) {
    name.assign(address.sun_path,
                std::min<size_t>(size - offsetof(sockaddr_un, sun_path), sizeof address.sun_path));
  }
  // A path may be counted with its final zero; in an abstract name every byte counts.
  if (!name.empty() && name.front() != '\0') {
    name.resize(std::min(name.size(), name.find('\0')));
  }
  return name;
}

}  // namespace

std::string name_of_unix_socket(int socket, const std::string& name) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw errno_error("cannot ask {} for its name", name);
  }
  return name_in(address, size);
}

std::string name_of_unix_peer(int socket, const std::string& name) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    if (errno == ENOTCONN) {
      return {};
    }
    throw errno_error("cannot ask {} for its peer's name", name);
  }
  return name_in(address, size);
}

UnixSockets::UnixSockets(int net_namespace) {
  std::optional<EnteredNamespace> entered;
  if (net_namespace >= 0) {
    entered.emplace("net", net_namespace);
  }
  all_ = list_unix_sockets();
  probe_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe_) {
    throw errno_error("cannot make a socket");
  }
}

const UnixSocketInfo* UnixSockets::find(uint64_t inode) const {
  const auto found = all_.find(static_cast<uint32_t>(inode));
  return found == all_.end() ? nullptr : &found->second;
}

bool UnixSockets::is_listened_to(const UnixSocketInfo& info) const {
  return std::ranges::any_of(all_, [&](const auto& entry) {
    const UnixSocketInfo& other = entry.second;
    return other.state == kListening && other.name == info.name && other.file_inode == info.file_inode &&
           other.file_device == info.file_device;
  });
}

/// A datagram socket that connects to what isn't one is told so (EPROTOTYPE), and leaves no trace there. That
/// tells whether anything is bound to a name, listening or not.
bool UnixSockets::holds_its_name(int socket, const UnixSocketInfo& info) const {
  if (is_listened_to(info)) {
    return false;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = info.name;
  Fd file;
  if (name.front() != '\0') {
    file = Fd(::ioctl(socket, kSocketFile));
    if (!file) {
      throw errno_error("cannot open the file of unix socket {}", name);
    }
    name = fmt::format("/proc/self/fd/{}", file.get());
  }
  name.copy(address.sun_path, sizeof address.sun_path);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::connect(probe_.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) {
    return true;
  }
  if (errno != EPROTOTYPE && errno != ECONNREFUSED) {
    throw errno_error("cannot ask who has the name of a unix socket");
  }
  return errno == EPROTOTYPE;
}

}  // namespace godwit
