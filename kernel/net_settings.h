#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace godwit {

/// Visits the files below /proc/sys/net that can be read, with their content, of the calling thread's network
/// namespace: "ipv4/ip_forward", "1". Throws Error. See Documentation/networking/ip-sysctl.rst.
void for_each_net_setting(
    const std::function<void(const std::string& path, const std::string& value)>& visit);

}  // namespace godwit
