#include "dump/external.h"

#include <algorithm>
#include <array>

#include "kernel/error.h"

namespace godwit {

ExternalResource parse_external(std::string_view text) {
  const size_t open = text.find('[');
  const size_t close =
      text.ends_with(']') && text.find("]:") == std::string_view::npos ? text.size() - 1 : text.rfind("]:");
  if (open == std::string_view::npos || open == 0 || close == std::string_view::npos || close <= open) {
    throw error("an external resource is KIND[WHAT]:NAME, not '{}'", text);
  }
  const std::string_view name = text.substr(close + 1);
  return {std::string(text.substr(0, open)), std::string(text.substr(open + 1, close - open - 1)),
          std::string(name.substr(name.empty() ? 0 : 1))};
}

bool is_external_by_inode(std::string_view kind) {
  constexpr std::array<std::string_view, 5> kKinds = {"net", "ipc", "uts", "cgroup", "pipe"};
  return std::ranges::find(kKinds, kind) != kKinds.end();
}

std::optional<std::string> external_name(const std::vector<ExternalResource>& given, std::string_view kind,
                                         uint64_t inode) {
  const std::string what = std::to_string(inode);
  const auto found = std::ranges::find_if(
      given, [&](const ExternalResource& one) { return one.kind == kind && one.what == what; });
  return found == given.end() ? std::nullopt : std::optional(found->name);
}

}  // namespace godwit
