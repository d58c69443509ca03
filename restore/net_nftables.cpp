#include <vector>

#include "kernel/nftables.h"
#include "restore/net.h"

namespace godwit {

void load_nftables(const image::NetNamespace& record) {
  std::vector<nftables::Part> parts;
  for (const image::NetFilterPart& part : record.nftables()) {
    parts.push_back({static_cast<uint16_t>(part.type()), part.payload()});
  }
  if (!parts.empty()) {
    nftables::load(parts);
  }
}

}  // namespace godwit
