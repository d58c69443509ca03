#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "restore/net.h"

namespace godwit {

namespace {

/// Settings of one table are told in this order: what is said to all devices, or about those to come, is
/// said to each as well, so it must come before what each has.
enum class Scope { Namespace, AllDevices, FutureDevices, Device };

Scope scope_of(std::string_view path) {
  constexpr std::array<std::string_view, 4> kByDevice = {"ipv4/conf/", "ipv6/conf/", "ipv4/neigh/",
                                                         "ipv6/neigh/"};
  for (const std::string_view prefix : kByDevice) {
    if (path.starts_with(prefix)) {
      path.remove_prefix(prefix.size());
      return path.starts_with("all/")       ? Scope::AllDevices
             : path.starts_with("default/") ? Scope::FutureDevices
                                            : Scope::Device;
    }
  }
  return Scope::Namespace;
}

/// What follows from other things: a count, or what devices are told by netlink.
bool is_derived(std::string_view path) {
  const bool of_future_devices =
      path == "ipv6/conf/default/addr_gen_mode" || path == "ipv6/conf/all/addr_gen_mode";
  return path == "netfilter/nf_conntrack_count" || (path.ends_with("/addr_gen_mode") && !of_future_devices);
}

class Settings {
 public:
  explicit Settings(const image::NetNamespace& record)
      : record_(record), directory_(open_file("/proc/sys/net", O_PATH | O_DIRECTORY)) {}
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;
  ~Settings() {
    if (!failed_.empty()) {
      log::warning("network settings that can't be had again here: {}", failed_);
    }
  }

  void apply(Scope scope) {
    for (const image::NetSetting& setting : record_.settings()) {
      if (scope_of(setting.path()) == scope && !is_derived(setting.path())) {
        apply(setting);
      }
    }
  }

 private:
  void apply(const image::NetSetting& setting) {
    const Fd present(::openat(directory_.get(), setting.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!present) {
      note(setting);
      return;
    }
    // One byte more than wanted shows that it is another value.
    value_.resize(setting.value().size() + 2);
    const ssize_t got = ::read(present.get(), value_.data(), value_.size());
    std::string_view now(value_.data(), got < 0 ? 0 : static_cast<size_t>(got));
    while (now.ends_with('\n') || now.ends_with('\0')) {
      now.remove_suffix(1);
    }
    if (got >= 0 && now == setting.value()) {
      return;
    }
    const Fd file(::openat(directory_.get(), setting.path().c_str(), O_WRONLY | O_CLOEXEC));
    const std::string line = setting.value() + "\n";
    if (!file || ::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      note(setting);
    }
  }

  void note(const image::NetSetting& setting) {
    failed_ += fmt::format("{}{}={}", failed_.empty() ? "" : ", ", setting.path(), setting.value());
  }

  const image::NetNamespace& record_;
  Fd directory_;
  std::vector<char> value_;
  std::string failed_;
};

}  // namespace

void apply_common_net_settings(const image::NetNamespace& record) {
  Settings settings(record);
  for (const Scope scope : {Scope::Namespace, Scope::AllDevices, Scope::FutureDevices}) {
    settings.apply(scope);
  }
}

void apply_net_device_settings(const image::NetNamespace& record) {
  Settings(record).apply(Scope::Device);
}

}  // namespace godwit
