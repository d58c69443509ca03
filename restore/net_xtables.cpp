#include "images-format/net_filter.h"
#include "restore/net.h"

namespace godwit {

void load_legacy_filters(const image::NetNamespace& record) {
  for (const image::LegacyFilterTable& kept : record.legacy_filters()) {
    xtables::load(legacy_filter(kept));
  }
}

}  // namespace godwit
