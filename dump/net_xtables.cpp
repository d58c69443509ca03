#include "dump/net.h"
#include "kernel/xtables.h"

namespace godwit {

void collect_legacy_filters(image::NetNamespace& record) {
  for (xtables::Table& table : xtables::list()) {
    xtables::for_each_extension(table, [&](const FilterExtension& extension) {
      check_filter_extension(xtables::describe(table), extension);
    });
    image::LegacyFilterTable& kept = *record.add_legacy_filters();
    kept.set_family(static_cast<image::LegacyFilterTable::Family>(table.family));
    kept.set_name(table.name);
    kept.set_valid_hooks(table.valid_hooks);
    kept.mutable_hook_entries()->Assign(table.hook_entries.begin(), table.hook_entries.end());
    kept.mutable_underflows()->Assign(table.underflows.begin(), table.underflows.end());
    kept.set_entries(std::move(table.entries));
  }
}

}  // namespace godwit
