// Names of unix sockets, and sending descriptors through them.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <vector>

#include "tests/workloads/descriptor.h"

namespace workload {

/// A path, or with '@' in front an abstract name.
struct Address {
  sockaddr_un name{};
  socklen_t size = sizeof(sa_family_t);

  Address() { name.sun_family = AF_UNIX; }
  explicit Address(const std::string& text) : Address() {
    text.copy(name.sun_path, sizeof name.sun_path - 1);
    if (text[0] == '@') {
      name.sun_path[0] = '\0';
      size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size());
    } else {
      size = sizeof name;
    }
  }
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&name); }
  [[nodiscard]] std::string text() const {
    if (size <= offsetof(sockaddr_un, sun_path)) {
      return "";
    }
    if (name.sun_path[0] != '\0') {
      return name.sun_path;
    }
    return "@" + std::string(name.sun_path + 1, size - offsetof(sockaddr_un, sun_path) - 1);
  }
};

inline std::string abstract_in_directory(const char* name) {
  return "@" + in_directory(name);
}

inline int make_socket(int type) {
  return static_cast<int>(must(socket(AF_UNIX, type, 0), "socket"));
}

inline int listen_at(const std::string& name, int type = SOCK_STREAM, int backlog = 5) {
  const int made = make_socket(type);
  const Address address(name);
  must(bind(made, address.get(), address.size), "bind");
  must(listen(made, backlog), "listen");
  return made;
}

inline int bound_to(const std::string& name, int type) {
  const int made = make_socket(type);
  const Address address(name);
  must(bind(made, address.get(), address.size), "bind");
  return made;
}

inline int connected_to(const std::string& name, int type = SOCK_STREAM) {
  const int made = make_socket(type);
  const Address address(name);
  must(connect(made, address.get(), address.size), "connect");
  return made;
}

inline int accept_from(int listener) {
  return static_cast<int>(must(accept(listener, nullptr, nullptr), "accept"));
}

inline std::string name_of(int socket) {
  Address address;
  address.size = sizeof address.name;
  return getsockname(socket, address.get(), &address.size) == 0 ? address.text() : "no name";
}

inline std::string name_of_peer(int socket) {
  Address address;
  address.size = sizeof address.name;
  return getpeername(socket, address.get(), &address.size) == 0 ? address.text() : "no peer";
}

inline void check_text(const std::string& found, const std::string& wanted, const char* what) {
  if (found != wanted) {
    fail("%s: '%s' instead of '%s'", what, found.c_str(), wanted.c_str());
  }
}

/// Sends `text` with descriptors.
inline bool send_with(int socket, std::string_view text, const std::vector<int>& descriptors) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
  cmsghdr* message = CMSG_FIRSTHDR(&header);
  message->cmsg_level = SOL_SOCKET;
  message->cmsg_type = SCM_RIGHTS;
  message->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
  memcpy(CMSG_DATA(message), descriptors.data(), sizeof(int) * descriptors.size());
  return sendmsg(socket, &header, 0) == static_cast<ssize_t>(text.size());
}

/// What one recvmsg(2) gives.
struct Received {
  std::string text;
  std::vector<int> descriptors;
  bool has_sender = false;
  ucred sender{};
  std::string from;
  int flags = 0;
};

inline Received receive(int socket, size_t most = 65536, int flags = MSG_DONTWAIT) {
  Received received;
  received.text.resize(most);
  Address from;
  iovec part{received.text.data(), most};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253) + CMSG_SPACE(sizeof(ucred))] = {};
  msghdr header{};
  header.msg_name = &from.name;
  header.msg_namelen = sizeof from.name;
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket, &header, flags);
  received.text.resize(static_cast<size_t>(got > 0 ? got : 0));
  if (got < 0) {
    return received;
  }
  received.flags = header.msg_flags;
  from.size = header.msg_namelen;
  received.from = from.text();
  for (cmsghdr* one = CMSG_FIRSTHDR(&header); one != nullptr; one = CMSG_NXTHDR(&header, one)) {
    if (one->cmsg_type == SCM_CREDENTIALS) {
      received.has_sender = true;
      memcpy(&received.sender, CMSG_DATA(one), sizeof(ucred));
    }
    if (one->cmsg_type == SCM_RIGHTS) {
      received.descriptors.resize((one->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      memcpy(received.descriptors.data(), CMSG_DATA(one), received.descriptors.size() * sizeof(int));
    }
  }
  return received;
}

}  // namespace workload
