#include "restore/cgroup_properties.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "kernel/log.h"

namespace godwit {

namespace {

constexpr std::string_view kFrozen = "FROZEN";

}  // namespace

CgroupProperties::~CgroupProperties() {
  for (auto item = undo_.rbegin(); item != undo_.rend(); ++item) {
    try {
      set_cgroup_property(item->directory, item->file, *item->property, item->value);
    } catch (const Error& e) {
      log::warning("a property of a cgroup isn't what it was: {}", e.what());
    }
  }
}

void CgroupProperties::add(const std::string& directory, const image::CgroupDirectory& record, bool unified,
                           bool made, When until) {
  std::vector<Item> items;
  for (const image::CgroupValue& value : record.properties()) {
    items.push_back(
        {directory, value.file(), find_cgroup_property(value.file(), unified), value.value(), made});
  }
  // One table has them all, in the order in which they are set.
  std::ranges::stable_sort(items, {}, &Item::property);
  for (Item& item : items) {
    if (!try_set(item, until)) {
      items_.push_back(std::move(item));
    }
  }
}

void CgroupProperties::set(const Item& item) {
  std::optional<std::string> before;
  if (!item.made) {
    before = read_cgroup_property(item.directory, item.file, *item.property);
  }
  if (before == item.value) {
    return;
  }
  if (before) {
    undo_.push_back({item.directory, item.file, item.property, *before, false});
  }
  set_cgroup_property(item.directory, item.file, *item.property, item.value);
}

/// Whether it needn't be tried again.
bool CgroupProperties::try_set(const Item& item, When until) {
  if (item.property->when > until) {
    return false;
  }
  try {
    set(item);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void CgroupProperties::try_all(When until) {
  std::erase_if(items_, [&](const Item& item) { return try_set(item, until); });
}

void CgroupProperties::set_all() {
  std::optional<Error> failure;
  size_t before = 0;
  do {
    before = items_.size();
    failure.reset();
    std::erase_if(items_, [&](const Item& item) {
      if (item.property->when == When::Last) {
        return false;
      }
      try {
        set(item);
      } catch (Error& e) {
        if (e.code() != ENOENT) {
          failure = failure ? std::move(failure) : std::move(e);
          return false;
        }
        log::warning("{}, which was {}", e.what(), item.value);
      }
      return true;
    });
  } while (failure && items_.size() < before);
  if (failure) {
    throw std::move(*failure).hint("--manage-cgroups=none leaves properties as they are");
  }
}

void CgroupProperties::set_last() {
  for (const Item& item : items_) {
    const bool pauses = item.value == kFrozen || item.value == "1";
    if (pauses && read_cgroup_property(item.directory, item.file, *item.property) != item.value) {
      paused_.push_back(item);
    }
    set(item);
  }
}

void CgroupProperties::undo_last() noexcept {
  for (const Item& item : paused_) {
    try {
      set_cgroup_property(item.directory, item.file, *item.property, item.value == kFrozen ? "THAWED" : "0");
    } catch (const std::exception& e) {
      log::warning("cgroup {} stays paused: {}", item.directory, e.what());
    }
  }
  paused_.clear();
}

}  // namespace godwit
