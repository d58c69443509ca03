#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/fd.h"

namespace godwit::netlink {

/// One attribute: its type without flags, and its value.
struct Attribute {
  uint16_t type = 0;
  std::span<const std::byte> value;
};

/// The attributes in `data`, in their order; what is broken ends the list.
[[nodiscard]] std::vector<Attribute> attributes(std::span<const std::byte> data);

/// The value of the first attribute of that type; empty if there is none.
[[nodiscard]] std::span<const std::byte> find(std::span<const std::byte> data, uint16_t wanted);

/// What a value says; a shorter one is filled up with zeros.
[[nodiscard]] uint32_t to_u32(std::span<const std::byte> value);
/// Up to the first zero byte.
[[nodiscard]] std::string to_text(std::span<const std::byte> value);

/// One message of an answer: its type, what follows the netlink header, and the attributes behind `fixed`
/// bytes of that.
struct Message {
  uint16_t type = 0;
  std::span<const std::byte> payload;

  /// The value of an attribute; empty if there is none.
  [[nodiscard]] std::span<const std::byte> attribute(size_t fixed, uint16_t wanted) const;
  [[nodiscard]] std::vector<Attribute> attributes(size_t fixed) const;
};

/// A message to the kernel: a fixed part, then attributes, which may be nested.
class Request {
 public:
  /// `flags`: NLM_F_CREATE and the like.
  explicit Request(uint16_t type, uint16_t flags = 0) : type_(type), flags_(flags) {}

  /// Right at the beginning.
  template <typename T>
  Request& fixed(const T& part) {
    append(std::as_bytes(std::span(&part, 1)));
    return *this;
  }
  /// The whole payload, as the kernel once gave it.
  Request& raw(std::string_view payload) {
    append(std::as_bytes(std::span(payload)));
    return *this;
  }
  Request& add(uint16_t type, std::span<const std::byte> value);
  Request& add(uint16_t type, std::string_view value) { return add(type, std::as_bytes(std::span(value))); }
  Request& add_u8(uint16_t type, uint8_t value) { return add(type, std::as_bytes(std::span(&value, 1))); }
  Request& add_u32(uint16_t type, uint32_t value) { return add(type, std::as_bytes(std::span(&value, 1))); }
  /// What `body` adds lies inside an attribute.
  Request& nest(uint16_t type, const std::function<void()>& body);

  [[nodiscard]] uint16_t type() const { return type_; }
  [[nodiscard]] uint16_t flags() const { return flags_; }
  [[nodiscard]] std::span<const std::byte> payload() const { return payload_; }

 private:
  void append(std::span<const std::byte> data);

  uint16_t type_;
  uint16_t flags_;
  std::vector<std::byte> payload_;
};

/// A socket to one part of the kernel, in the network namespace that the calling thread had when it was made.
/// See netlink(7).
class Connection {
 public:
  /// Throws Error; without such a protocol in the kernel, with EPROTONOSUPPORT as code.
  explicit Connection(int protocol);
  /// To whoever answers at the other end of `socket`.
  explicit Connection(Fd socket) : socket_(std::move(socket)) {}

  /// Asks for a dump (NLM_F_DUMP). `visit` sees each message once the list is complete; one that changed
  /// while it was read (NLM_F_DUMP_INTR) is asked for again. Throws Error; the kernel's refusal has its errno
  /// as code, a list that doesn't come to rest EINTR.
  void dump(const Request& request, const std::function<void(const Message&)>& visit);
  /// Has something done, or asks for one thing. `visit` sees what is answered. Throws Error with the kernel's
  /// errno as code and its words, if it has any.
  void change(
      const Request& request, const std::function<void(const Message&)>& visit = [](const Message&) {});
  /// Has several things done, or none of them: a batch of a subsystem of nfnetlink. `name` says in errors
  /// which one it was. `generation`: fails with ERESTART unless the subsystem is still at that; 0: any.
  void change_all(std::span<const Request> requests, uint8_t subsystem,
                  const std::function<std::string(size_t)>& name, uint32_t generation = 0);

 private:
  struct Held {
    uint16_t type;
    std::vector<std::byte> payload;
  };

  /// Returns whether what is listed stood still meanwhile.
  bool list(const Request& request, std::vector<Held>& found);
  void send(const Request& request, uint16_t flags);
  void send_buffer(size_t bytes);
  std::span<const std::byte> receive();

  Fd socket_;
  std::vector<std::byte> buffer_;
};

/// The same in one go; `request` is the fixed part that such a request has.
void dump(int protocol, uint16_t type, std::span<const std::byte> request,
          const std::function<void(const Message&)>& visit);

}  // namespace godwit::netlink
