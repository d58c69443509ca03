#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <cstring>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "restore/net.h"

namespace godwit {

namespace {

/// -1: it doesn't say.
int64_t number(const image::NetDevice& device, uint32_t type) {
  for (const image::NetAttribute& attribute : device.settings()) {
    if (attribute.type() == type) {
      uint32_t value = 0;
      std::memcpy(&value, attribute.value().data(), std::min(sizeof value, attribute.value().size()));
      return value;
    }
  }
  return -1;
}

void tell(int tun, unsigned long request, unsigned long argument, const char* what) {
  if (::ioctl(tun, request, argument) != 0) {
    throw errno_error("cannot set its {}", what);
  }
}

}  // namespace

void make_tun_device(const image::NetDevice& device) {
  const Fd tun = open_file("/dev/net/tun", O_RDWR);
  auto index = device.index();
  tell(tun.get(), TUNSETIFINDEX, reinterpret_cast<unsigned long>(&index), "number");
  ifreq request{};
  device.name().copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>((number(device, IFLA_TUN_TYPE) == IFF_TAP ? IFF_TAP : IFF_TUN) |
                                         (number(device, IFLA_TUN_PI) > 0 ? 0 : IFF_NO_PI) |
                                         (number(device, IFLA_TUN_VNET_HDR) > 0 ? IFF_VNET_HDR : 0) |
                                         (number(device, IFLA_TUN_MULTI_QUEUE) > 0 ? IFF_MULTI_QUEUE : 0));
  if (::ioctl(tun.get(), TUNSETIFF, &request) != 0) {
    throw errno_error("cannot make it");
  }
  if (const int64_t owner = number(device, IFLA_TUN_OWNER); owner >= 0) {
    tell(tun.get(), TUNSETOWNER, static_cast<unsigned long>(owner), "owner");
  }
  if (const int64_t group = number(device, IFLA_TUN_GROUP); group >= 0) {
    tell(tun.get(), TUNSETGROUP, static_cast<unsigned long>(group), "group");
  }
  tell(tun.get(), TUNSETPERSIST, 1, "persistence");
}

}  // namespace godwit
