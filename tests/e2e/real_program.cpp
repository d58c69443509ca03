#include "tests/e2e/real_program.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {

namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

bool have_program(const std::string& path) {
  return access(path.c_str(), X_OK) == 0;
}

int free_port() {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw errno_error("cannot find a free port");
  }
  return ntohs(address.sin_port);
}

std::string http_get(int port, const std::string& path) {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  const timeval patience{10, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return {};
  }
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  std::string answer;
  char buffer[4096];
  ssize_t n = send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
  while (n > 0 && (n = recv(fd.get(), buffer, sizeof buffer, 0)) > 0) {
    answer.append(buffer, static_cast<size_t>(n));
  }
  return answer;
}

int connected_sockets(pid_t pid) {
  int connected = 0;
  const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0U)));
  for (const int number : numbers_in("/proc/" + std::to_string(pid) + "/fd")) {
    const Fd fd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), number, 0U)));
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    sockaddr_storage local{};
    socklen_t local_size = sizeof local;
    // The ends of a socketpair have no names; a client's connection has at our end.
    if (fd && getpeername(fd.get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0 &&
        getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &local_size) == 0 &&
        local_size > sizeof(sa_family_t)) {
      ++connected;
    }
  }
  return connected;
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) {
    throw error("cannot write {}", path);
  }
}

}  // namespace godwit::e2e
