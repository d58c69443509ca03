#pragma once

#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace godwit {

/// An address in another process. It can't be dereferenced by mistake; RemoteMemory reads through it.
template <typename T>
class remote_ptr {
 public:
  constexpr remote_ptr() = default;
  constexpr explicit remote_ptr(uint64_t address) : address_(address) {}
  [[nodiscard]] constexpr uint64_t address() const { return address_; }
  [[nodiscard]] constexpr explicit operator bool() const { return address_ != 0; }
  /// Counts in elements, as pointers do.
  constexpr remote_ptr operator+(int64_t elements) const {
    return remote_ptr(address_ + static_cast<uint64_t>(elements * static_cast<int64_t>(sizeof(T))));
  }
  template <typename U>
  [[nodiscard]] constexpr remote_ptr<U> cast() const {
    return remote_ptr<U>(address_);
  }
  constexpr auto operator<=>(const remote_ptr&) const = default;

 private:
  uint64_t address_ = 0;
};

/// The memory of another process, by process_vm_readv(2) and, where a mapping's protection forbids
/// that, by /proc/PID/mem. Needs the rights of PTRACE_MODE_ATTACH.
class RemoteMemory {
 public:
  explicit RemoteMemory(pid_t pid) : pid_(pid) {}

  /// Fills `out` from `address`. Throws Error (EFAULT where nothing is mapped).
  void read(uint64_t address, std::span<std::byte> out) const;
  /// Throws Error. Writes also where the mapping is read-only.
  void write(uint64_t address, std::span<const std::byte> data) const;

  template <typename T>
  [[nodiscard]] T read(remote_ptr<T> from) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    read(from.address(), std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void write(remote_ptr<T> to, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    write(to.address(), std::as_bytes(std::span(&value, 1)));
  }

 private:
  pid_t pid_;
};

}  // namespace godwit
