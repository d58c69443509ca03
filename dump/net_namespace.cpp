#include <linux/if.h>

#include "dump/namespace.h"
#include "dump/net.h"

namespace godwit {

void collect_net_namespace(image::NetNamespace& record, const DumpOptions& options,
                           NetSettingsReader& settings) {
  netlink::Connection connection(NETLINK_ROUTE);
  if (options.empty_network) {
    for (const NetDevice& device : list_net_devices(connection)) {
      record.set_loopback_up(record.loopback_up() || (device.loopback && (device.flags & IFF_UP) != 0));
    }
    return;
  }
  settings.start();
  collect_net_devices(connection, record, options);
  refuse_other_net_state(connection);
  collect_net_tables(connection, record);
  collect_nftables(record);
  collect_legacy_filters(record);
  collect_tracked_connections(record);
}

}  // namespace godwit
