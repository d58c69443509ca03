#include "dump/multicast.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <charconv>
#include <cstring>
#include <string_view>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

std::string_view next_word(std::string_view& line) {
  const size_t start = std::min(line.find_first_not_of(" \t:"), line.size());
  const size_t end = std::min(line.find_first_of(" \t:", start), line.size());
  const std::string_view word = line.substr(start, end - start);
  line.remove_prefix(end);
  return word;
}

template <typename Visit>
void for_each_line(const std::string& text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    visit(std::string_view(text).substr(at, end - at));
    at = end + 1;
  }
}

template <typename T>
T number(std::string_view text, int base) {
  T value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

/// A family's list in /proc/net; empty where the kernel lacks the family.
std::string read_list(const char* path) {
  try {
    return read_file(path);
  } catch (const Error&) {
    return {};
  }
}

std::string to_text(const sockaddr_storage& group) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const auto* bytes = reinterpret_cast<const char*>(&group);
  const size_t at =
      group.ss_family == AF_INET ? offsetof(sockaddr_in, sin_addr) : offsetof(sockaddr_in6, sin6_addr);
  ::inet_ntop(group.ss_family, bytes + at, text.data(), text.size());
  return text.data();
}

}  // namespace

void MulticastGroups::read_groups() {
  known_ = true;
  // "IDX DEVICE : COUNT ..." and below it, indented, "GROUP USERS ..." with the address as it lies in memory.
  unsigned interface = 0;
  for_each_line(read_list("/proc/net/igmp"), [&](std::string_view line) {
    if (!line.starts_with('\t')) {
      interface = number<unsigned>(next_word(line), 10);
      return;
    }
    sockaddr_in group{};
    group.sin_family = AF_INET;
    group.sin_addr.s_addr = number<in_addr_t>(next_word(line), 16);
    // Every interface is in 224.0.0.1 by itself.
    if (group.sin_addr.s_addr != htonl(INADDR_ALLHOSTS_GROUP) || number<int>(next_word(line), 10) > 1) {
      std::memcpy(&groups_.emplace_back(interface, sockaddr_storage{}).second, &group, sizeof group);
    }
  });
  // "IDX DEVICE ADDRESS USERS ..."
  for_each_line(read_list("/proc/net/igmp6"), [&](std::string_view line) {
    interface = number<unsigned>(next_word(line), 10);
    next_word(line);
    const std::string_view address = next_word(line);
    sockaddr_in6 group{};
    group.sin6_family = AF_INET6;
    for (size_t i = 0; i < sizeof group.sin6_addr && 2 * i + 2 <= address.size(); ++i) {
      group.sin6_addr.s6_addr[i] = number<uint8_t>(address.substr(2 * i, 2), 16);
    }
    std::memcpy(&groups_.emplace_back(interface, sockaddr_storage{}).second, &group, sizeof group);
  });
}

void MulticastGroups::read(int socket, int domain, const std::string& name, image::SocketOptions& record) {
  if (!known_) {
    read_groups();
  }
  for (const auto& [interface, group] : groups_) {
    if (domain == AF_INET && group.ss_family == AF_INET6) {
      continue;
    }
    const int level = group.ss_family == AF_INET ? int{IPPROTO_IP} : int{IPPROTO_IPV6};
    group_filter filter{};
    filter.gf_interface = interface;
    filter.gf_group = group;
    socklen_t size = GROUP_FILTER_SIZE(0);
    if (::getsockopt(socket, level, MCAST_MSFILTER, &filter, &size) != 0) {
      continue;  // EADDRNOTAVAIL: it isn't in that group
    }
    if (filter.gf_fmode != MCAST_EXCLUDE || filter.gf_numsrc != 0) {
      throw refusal("{}, in multicast group {} with a filter of sources,", name, to_text(group));
    }
    group_req membership{};
    membership.gr_interface = interface;
    membership.gr_group = group;
    image::SocketOption& added = *record.add_option();
    added.set_level(level);
    added.set_name(MCAST_JOIN_GROUP);
    added.set_value(&membership, sizeof membership);
  }
}

}  // namespace godwit
