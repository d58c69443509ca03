#include "kernel/netlink.h"

#include <sys/socket.h>

#include <cstring>
#include <vector>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::netlink {

namespace {

constexpr size_t align(size_t size) {
  return (size + NLMSG_ALIGNTO - 1) & ~size_t{NLMSG_ALIGNTO - 1};
}

/// Returns whether more is to come.
bool take(std::span<const std::byte> data, const std::function<void(const Message&)>& visit) {
  while (data.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, data.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > data.size()) {
      throw error("netlink answered with a broken message");
    }
    const auto payload = data.subspan(sizeof header, header.nlmsg_len - sizeof header);
    if (header.nlmsg_type == NLMSG_DONE) {
      return false;
    }
    if (header.nlmsg_type == NLMSG_ERROR) {
      nlmsgerr failure{};
      std::memcpy(&failure, payload.data(), std::min(sizeof failure, payload.size()));
      throw Error("netlink refuses to answer", -failure.error);
    }
    visit({header.nlmsg_type, payload});
    data = data.subspan(std::min(align(header.nlmsg_len), data.size()));
  }
  return true;
}

}  // namespace

std::span<const std::byte> Message::attribute(size_t fixed, uint16_t wanted) const {
  auto rest = payload.subspan(std::min(align(fixed), payload.size()));
  while (rest.size() >= sizeof(nlattr)) {
    nlattr header;
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > rest.size()) {
      break;
    }
    if ((header.nla_type & NLA_TYPE_MASK) == wanted) {
      return rest.subspan(sizeof header, header.nla_len - sizeof header);
    }
    rest = rest.subspan(std::min(align(header.nla_len), rest.size()));
  }
  return {};
}

void dump(int protocol, uint16_t type, std::span<const std::byte> request,
          const std::function<void(const Message&)>& visit) {
  const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!socket) {
    throw errno_error("cannot make a netlink socket");
  }
  std::vector<std::byte> buffer(sizeof(nlmsghdr) + request.size());
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(buffer.size());
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  std::memcpy(buffer.data(), &header, sizeof header);
  std::memcpy(buffer.data() + sizeof header, request.data(), request.size());
  if (::send(socket.get(), buffer.data(), buffer.size(), 0) < 0) {
    throw errno_error("cannot ask netlink");
  }
  buffer.resize(64 << 10);
  for (bool more = true; more;) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got <= 0) {
      throw errno_error("cannot read netlink's answer");
    }
    more = take(std::span(buffer).first(static_cast<size_t>(got)), visit);
  }
}

}  // namespace godwit::netlink
