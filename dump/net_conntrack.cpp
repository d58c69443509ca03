#include "dump/net.h"
#include "kernel/conntrack.h"

namespace godwit {

void collect_tracked_connections(image::NetNamespace& record) {
  conntrack::Entries entries = conntrack::list();
  for (std::string& entry : entries.connections) {
    record.add_tracked_connections(std::move(entry));
  }
  for (std::string& entry : entries.expectations) {
    record.add_expected_connections(std::move(entry));
  }
}

}  // namespace godwit
