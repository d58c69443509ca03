#pragma once

#include <string_view>
#include <vector>

namespace godwit {

/// What a dump does with one kind of kernel object: a row of docs/support-table.md, which the build compares
/// with what the registries say.
struct SupportRow {
  std::string_view object;
  enum class Fate { Kept, Refused } fate;
  std::string_view words;  // what of it is kept, or why it is refused
};

/// How a kind of object that is refused is recognized, what it is called, and why it is refused.
struct Refused {
  std::string_view shows_as;  // how the text begins by which the kernel names it
  std::string_view object;
  std::string_view why;
};

struct SupportSection {
  std::string_view title;
  std::vector<SupportRow> rows;
};

/// Of all registries of the dump.
[[nodiscard]] std::vector<SupportSection> support_table();

// What each registry adds.
[[nodiscard]] std::vector<SupportRow> descriptor_support();
[[nodiscard]] std::vector<SupportRow> mapping_support();
[[nodiscard]] std::vector<SupportRow> namespace_support();
[[nodiscard]] std::vector<SupportRow> mount_support();
[[nodiscard]] std::vector<SupportRow> net_device_support();

}  // namespace godwit
