#include "kernel/netlink.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <optional>

#include "kernel/error.h"

namespace godwit::netlink {

namespace {

constexpr size_t kBufferBytes = 64UL << 10;
constexpr int kMaxTries = 20;                                   // of a list that changes while it is read
constexpr size_t kMaxValueBytes = UINT16_MAX - sizeof(nlattr);  // nla_len counts its header

constexpr size_t align(size_t size) {
  return (size + NLMSG_ALIGNTO - 1) & ~size_t{NLMSG_ALIGNTO - 1};
}

template <typename T>
T read(std::span<const std::byte> data) {
  T value{};
  if (!data.empty()) {
    std::memcpy(&value, data.data(), std::min(sizeof value, data.size()));
  }
  return value;
}

/// What the kernel says beside the errno, where it says something (NLMSGERR_ATTR_MSG).
std::string words_of(const nlmsghdr& header, std::span<const std::byte> payload) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0) {
    return {};
  }
  const auto failure = read<nlmsgerr>(payload);
  const bool capped = (header.nlmsg_flags & NLM_F_CAPPED) != 0;
  const size_t request = capped ? sizeof(nlmsghdr) : failure.msg.nlmsg_len;
  const size_t begin = align(sizeof failure.error + request);
  return begin < payload.size() ? to_text(find(payload.subspan(begin), NLMSGERR_ATTR_MSG)) : std::string();
}

void throw_failure(const nlmsghdr& header, std::span<const std::byte> payload) {
  const auto failure = read<nlmsgerr>(payload);
  if (failure.error != 0) {
    const std::string words = words_of(header, payload);
    throw Error(words.empty() ? "netlink refuses" : fmt::format("netlink refuses ({})", words),
                -failure.error);
  }
}

/// Visits the messages of an answer until one ends it. Returns whether more is to come. `interrupted` becomes
/// true where the kernel says that what it lists has changed meanwhile.
bool take(std::span<const std::byte> data, bool& interrupted,
          const std::function<void(const Message&)>& visit) {
  while (data.size() >= sizeof(nlmsghdr)) {
    const auto header = read<nlmsghdr>(data);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > data.size()) {
      throw error("netlink answered with a broken message");
    }
    interrupted = interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    const auto payload = data.subspan(sizeof header, header.nlmsg_len - sizeof header);
    if (header.nlmsg_type == NLMSG_DONE) {
      // A dump that fails half way says so here.
      if (const int result = read<int>(payload); result < 0) {
        throw Error("netlink doesn't answer in full", -result);
      }
      return false;
    }
    if (header.nlmsg_type == NLMSG_ERROR) {
      throw_failure(header, payload);
      return false;
    }
    visit({header.nlmsg_type, payload});
    data = data.subspan(std::min(align(header.nlmsg_len), data.size()));
  }
  return true;
}

}  // namespace

std::vector<Attribute> attributes(std::span<const std::byte> data) {
  std::vector<Attribute> found;
  while (data.size() >= sizeof(nlattr)) {
    const auto header = read<nlattr>(data);
    if (header.nla_len < sizeof header || header.nla_len > data.size()) {
      break;
    }
    found.push_back({static_cast<uint16_t>(header.nla_type & NLA_TYPE_MASK),
                     data.subspan(sizeof header, header.nla_len - sizeof header)});
    data = data.subspan(std::min(align(header.nla_len), data.size()));
  }
  return found;
}

std::span<const std::byte> find(std::span<const std::byte> data, uint16_t wanted) {
  for (const Attribute& attribute : attributes(data)) {
    if (attribute.type == wanted) {
      return attribute.value;
    }
  }
  return {};
}

uint32_t to_u32(std::span<const std::byte> value) {
  return read<uint32_t>(value);
}

std::string to_text(std::span<const std::byte> value) {
  std::string text(reinterpret_cast<const char*>(value.data()), value.size());
  return text.substr(0, text.find('\0'));
}

std::vector<Attribute> Message::attributes(size_t fixed) const {
  return netlink::attributes(payload.subspan(std::min(align(fixed), payload.size())));
}

std::span<const std::byte> Message::attribute(size_t fixed, uint16_t wanted) const {
  return find(payload.subspan(std::min(align(fixed), payload.size())), wanted);
}

void Request::append(std::span<const std::byte> data) {
  payload_.insert(payload_.end(), data.begin(), data.end());
  payload_.resize(align(payload_.size()));
}

Request& Request::add(uint16_t type, std::span<const std::byte> value) {
  if (value.size() > kMaxValueBytes) {
    throw error("a netlink attribute of {} bytes", value.size());
  }
  const nlattr header{static_cast<uint16_t>(sizeof header + value.size()), type};
  append(std::as_bytes(std::span(&header, 1)));
  append(value);
  return *this;
}

Request& Request::nest(uint16_t type, const std::function<void()>& body) {
  const size_t begin = payload_.size();
  add(type | NLA_F_NESTED, std::span<const std::byte>());
  body();
  if (payload_.size() - begin > kMaxValueBytes) {
    throw error("nested netlink attributes of {} bytes", payload_.size() - begin);
  }
  const auto length = static_cast<uint16_t>(payload_.size() - begin);
  std::memcpy(payload_.data() + begin, &length, sizeof length);  // nla_len comes first
  return *this;
}

Connection::Connection(int protocol) : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)) {
  if (!socket_) {
    throw errno_error("cannot make a netlink socket");
  }
  const int on = 1;
  ::setsockopt(socket_.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);  // words are a courtesy
  ::setsockopt(socket_.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
}

void Connection::send(const Request& request, uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<uint32_t>(sizeof header + request.payload().size());
  header.nlmsg_type = request.type();
  header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags | request.flags());
  buffer_.resize(std::max<size_t>(kBufferBytes, header.nlmsg_len));
  std::memcpy(buffer_.data(), &header, sizeof header);
  std::ranges::copy(request.payload(), buffer_.data() + sizeof header);
  send_buffer(header.nlmsg_len);
}

void Connection::send_buffer(size_t bytes) {
  if (::send(socket_.get(), buffer_.data(), bytes, 0) < 0) {
    throw errno_error("cannot ask netlink");
  }
}

std::span<const std::byte> Connection::receive() {
  ssize_t got = -1;
  do {
    got = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_TRUNC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) {
    throw errno_error("cannot read netlink's answer");
  }
  if (static_cast<size_t>(got) > buffer_.size()) {
    throw error("netlink answered with a message of {} bytes", got);
  }
  return std::span(buffer_).first(static_cast<size_t>(got));
}

bool Connection::list(const Request& request, std::vector<Held>& found) {
  found.clear();
  send(request, NLM_F_DUMP);
  bool interrupted = false;
  while (take(receive(), interrupted, [&](const Message& message) {
    found.push_back({message.type, {message.payload.begin(), message.payload.end()}});
  })) {
  }
  return !interrupted;
}

void Connection::dump(const Request& request, const std::function<void(const Message&)>& visit) {
  std::vector<Held> found;
  for (int tries = 0; !list(request, found);) {
    if (++tries == kMaxTries) {
      throw Error("netlink's list changed each time while it was read", EINTR);
    }
  }
  for (const Held& message : found) {
    visit({message.type, message.payload});
  }
}

void Connection::change(const Request& request, const std::function<void(const Message&)>& visit) {
  send(request, NLM_F_ACK);
  bool interrupted = false;
  while (take(receive(), interrupted, visit)) {
  }
}

void Connection::change_all(std::span<const Request> requests, uint8_t subsystem,
                            const std::function<std::string(size_t)>& name, uint32_t generation) {
  if (requests.empty()) {
    return;
  }
  buffer_.clear();
  const auto put = [&](uint16_t type, uint16_t flags, size_t number, std::span<const std::byte> payload) {
    const nlmsghdr header{static_cast<uint32_t>(sizeof header + payload.size()), type,
                          static_cast<uint16_t>(NLM_F_REQUEST | flags), static_cast<uint32_t>(number), 0};
    const auto head = std::as_bytes(std::span(&header, 1));
    buffer_.insert(buffer_.end(), head.begin(), head.end());
    buffer_.insert(buffer_.end(), payload.begin(), payload.end());
    buffer_.resize(align(buffer_.size()));
  };
  const nfgenmsg about{AF_UNSPEC, NFNETLINK_V0, htons(subsystem)};
  const auto frame = std::as_bytes(std::span(&about, 1));
  // Requests have the numbers from 1. Of those that succeed only the last says so.
  Request begin(NFNL_MSG_BATCH_BEGIN);
  begin.fixed(about);
  if (generation != 0) {
    begin.add_u32(NFNL_BATCH_GENID, htonl(generation));
  }
  put(begin.type(), 0, 0, begin.payload());
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool last = i + 1 == requests.size();
    put(requests[i].type(), requests[i].flags() | (last ? NLM_F_ACK : 0), i + 1, requests[i].payload());
  }
  put(NFNL_MSG_BATCH_END, 0, 0, frame);
  // It must fit into one message, and the socket's usual limit is for small ones.
  const int bytes = static_cast<int>(std::min<size_t>(buffer_.size(), INT_MAX / 4) + kBufferBytes);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  send_buffer(buffer_.size());
  buffer_.resize(std::max(kBufferBytes, buffer_.size()));
  // A batch that isn't even begun is answered once; otherwise the last request is answered in any case.
  std::optional<Error> failure;
  for (bool more = true; more;) {
    auto data = receive();
    while (data.size() >= sizeof(nlmsghdr)) {
      const auto header = read<nlmsghdr>(data);
      if (header.nlmsg_type != NLMSG_ERROR || header.nlmsg_len < sizeof header ||
          header.nlmsg_len > data.size()) {
        throw error("netlink answered with a broken message");
      }
      const auto number = std::min<size_t>(header.nlmsg_seq, requests.size());
      try {
        throw_failure(header, data.subspan(sizeof header, header.nlmsg_len - sizeof header));
      } catch (Error& e) {
        if (!failure) {
          failure = e.in(number == 0 ? "all of it" : name(number - 1));
        }
      }
      more = more && number != 0 && number != requests.size();
      data = data.subspan(std::min(align(header.nlmsg_len), data.size()));
    }
  }
  if (failure) {
    throw *failure;
  }
}

void dump(int protocol, uint16_t type, std::span<const std::byte> request,
          const std::function<void(const Message&)>& visit) {
  Request whole(type);
  whole.raw({reinterpret_cast<const char*>(request.data()), request.size()});
  Connection(protocol).dump(whole, visit);
}

}  // namespace godwit::netlink
