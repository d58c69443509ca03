#include <linux/if.h>

#include "dump/namespace.h"
#include "dump/net.h"
#include "images-format/validate_index.h"
#include "kernel/net_settings.h"

namespace godwit {

void collect_net_namespace(image::NetNamespace& record, const DumpOptions& options) {
  netlink::Connection connection(NETLINK_ROUTE);
  if (options.empty_network) {
    for (const NetDevice& device : list_net_devices(connection)) {
      record.set_loopback_up(record.loopback_up() || (device.loopback && (device.flags & IFF_UP) != 0));
    }
    return;
  }
  collect_net_devices(connection, record, options);
  refuse_other_net_state(connection);
  collect_net_tables(connection, record);
  for_each_net_setting([&](const std::string& path, const std::string& value) {
    image::NetSetting& setting = *record.add_settings();
    setting.set_path(path);
    setting.set_value(value);
  });
  // What a restore wouldn't take is better known while the tree lives.
  validate_net(record);
}

}  // namespace godwit
