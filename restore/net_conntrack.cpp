#include "kernel/conntrack.h"
#include "restore/net.h"

namespace godwit {

void load_tracked_connections(const image::NetNamespace& record) {
  const conntrack::Entries entries{
      {record.tracked_connections().begin(), record.tracked_connections().end()},
      {record.expected_connections().begin(), record.expected_connections().end()}};
  if (!entries.connections.empty()) {
    conntrack::load(entries);
  }
}

}  // namespace godwit
