// Matches and targets of x_tables whose settings mean something elsewhere that may have changed at a restore.
#include <cstring>

#include "dump/net.h"
#include "kernel/error.h"

namespace godwit {

void check_filter_extension(const std::string& rule, const FilterExtension& extension) {
  const auto byte = [&](size_t at) {
    return at < extension.settings.size() ? static_cast<uint8_t>(extension.settings[at]) : uint8_t{0};
  };
  // xt_bpf_info_v1 begins with the mode, which is 0 for a program that is there itself.
  if (extension.name == "bpf" && extension.revision >= 1 && (byte(0) != 0 || byte(1) != 0)) {
    throw refusal("{} by an eBPF program", rule);
  }
  // xt_cgroup_info_v1 begins with whether there is a path.
  if (extension.name == "cgroup" && extension.revision >= 1 && byte(0) != 0) {
    throw refusal("{} by cgroup", rule);
  }
  // It must find its estimator, which may belong to a rule behind it.
  if (extension.name == "rateest") {
    throw refusal("{} by an estimated rate", rule);
  }
}

}  // namespace godwit
