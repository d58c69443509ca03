// Waits at the address that its arguments name for one connection, and sends back what comes, until the other
// end has no more to say. The port that it got stands in the file "port".
#include "tests/workloads/tcp.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  const char* host = argc > 2 ? argv[2] : "127.0.0.1";
  const int family = strchr(host, ':') != nullptr ? AF_INET6 : AF_INET;
  const int listener = listen_at({family, host, 0});
  append("port", std::to_string(name_of(listener, false).port()).c_str());
  say_ready();
  const int connection = static_cast<int>(must(accept(listener, nullptr, nullptr), "accept"));
  mark("accepted");
  std::string data(65536, '\0');
  for (;;) {
    const ssize_t got = recv(connection, data.data(), data.size(), 0);
    if (got <= 0) {
      check_equal(got, 0, "recv");
      break;
    }
    for (ssize_t done = 0; done < got;) {
      const ssize_t sent =
          send(connection, data.data() + done, static_cast<size_t>(got - done), MSG_NOSIGNAL);
      if (sent <= 0) {
        fail("send: %s", strerror(errno));
        finish();
      }
      done += sent;
    }
  }
  close(connection);
  wait_to_go_on();
  finish();
}
