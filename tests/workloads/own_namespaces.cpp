// What is in namespaces of the tree's own: host name, System V and POSIX ipc (a limit), a loopback device
// that is up. Run in new uts, ipc and net namespaces.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "tests/workloads/workload.h"

namespace {

void check_names() {
  utsname names{};
  uname(&names);
  workload::check(strcmp(names.nodename, "inside.example") == 0, "host name");
  workload::check(strcmp(names.domainname, "within") == 0, "domain name");
}

sockaddr_in address() {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(8080);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return to;
}

constexpr const char* kSetting = "/proc/sys/kernel/msgmax";

void check_setting() {
  char value[32] = {};
  const int fd = open(kSetting, O_RDONLY | O_CLOEXEC);
  workload::check(fd >= 0 && read(fd, value, sizeof value - 1) > 0 && strcmp(value, "4711\n") == 0,
                  "the longest message that the namespace allows");
  close(fd);
}

/// Through the loopback device of the namespace.
void check_connection(int listener) {
  const sockaddr_in to = address();
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  workload::check(connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0, "connect");
  const int server = accept(listener, nullptr, nullptr);
  char c = 'x';
  workload::check(server >= 0 && write(client, &c, 1) == 1 && read(server, &c, 1) == 1,
                  "a byte over loopback");
  close(server);
  close(client);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::must(sethostname("inside.example", 14), "sethostname");
  workload::must(setdomainname("within", 6), "setdomainname");
  const int setting = open(kSetting, O_WRONLY | O_CLOEXEC);
  workload::must(write(setting, "4711", 4), "write msgmax");
  close(setting);
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  workload::must(ioctl(control, SIOCSIFFLAGS, &request), "bring loopback up");
  close(control);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const sockaddr_in to = address();
  workload::must(bind(listener, reinterpret_cast<const sockaddr*>(&to), sizeof to), "bind");
  workload::must(listen(listener, 5), "listen");
  const pid_t child = fork();
  if (child == 0) {
    workload::mark("child");
    workload::wait_to_go_on();
    check_names();
    workload::finish_child();
  }
  workload::wait_for_mark("child");
  check_names();
  workload::say_ready();
  workload::wait_to_go_on();
  check_names();
  check_setting();
  check_connection(listener);
  workload::check(msgget(1, 0) < 0 && errno == ENOENT, "no message queue");
  workload::expect_end(child);
  workload::finish();
}
