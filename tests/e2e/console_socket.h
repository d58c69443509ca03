#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::e2e {

/// Where runc sends a master to.
class ConsoleSocket {
 public:
  explicit ConsoleSocket(const std::string& path)
      : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), path_(path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (!listener_ ||
        bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_.get(), 1) != 0) {
      throw errno_error("cannot listen at {}", path);
    }
  }
  ~ConsoleSocket() { unlink(path_.c_str()); }
  ConsoleSocket(const ConsoleSocket&) = delete;
  ConsoleSocket& operator=(const ConsoleSocket&) = delete;

  [[nodiscard]] std::string option() const { return "--console-socket '" + path_ + "'"; }

  /// What has been sent by now.
  [[nodiscard]] Fd receive() const {
    const Fd connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    char text[4096];
    iovec data{text, sizeof text};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    if (!connection || recvmsg(connection.get(), &message, MSG_CMSG_CLOEXEC) <= 0 ||
        CMSG_FIRSTHDR(&message) == nullptr) {
      throw errno_error("no master has come");
    }
    int master = -1;
    std::memcpy(&master, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof master);
    return Fd(master);
  }

 private:
  Fd listener_;
  std::string path_;
};

}  // namespace godwit::e2e
