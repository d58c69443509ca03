#include "images-format/net_filter.h"

namespace godwit {

xtables::Table legacy_filter(const image::LegacyFilterTable& record) {
  return {static_cast<xtables::Family>(record.family()),
          record.name(),
          record.valid_hooks(),
          {record.hook_entries().begin(), record.hook_entries().end()},
          {record.underflows().begin(), record.underflows().end()},
          record.entries()};
}

}  // namespace godwit
