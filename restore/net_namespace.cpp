#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "restore/net.h"

namespace godwit {

namespace {

void bring_loopback_up() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (!socket || ::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) {
    throw errno_error("cannot bring the loopback device up");
  }
}

}  // namespace

void furnish_net_namespace(const image::NetNamespace& record) {
  if (record.devices().empty()) {
    if (record.loopback_up()) {
      bring_loopback_up();
    }
    return;
  }
  netlink::Connection connection(NETLINK_ROUTE);
  apply_common_net_settings(record);
  make_net_devices(connection, record);
  apply_net_device_settings(record);
  bring_net_devices_up(connection, record);
  fill_net_tables(connection, record);
  load_legacy_filters(record);
  load_nftables(record);
  load_tracked_connections(record);
  conclude_net_devices(connection, record);
}

}  // namespace godwit
