#pragma once

#include <string>

#include "images-format/byte_sink.h"
#include "kernel/fd.h"

namespace godwit {

/// What can be known of bytes that were written to a descriptor.
enum class Delivery {
  Kept,     // a file: fsync(2) says that they are on disk
  Taken,    // a pipe or a unix socket: the kernel says that the reader has read them
  Sent,     // another socket: the peer's kernel has them
  Unknown,  // a device
};

/// Throws Error.
[[nodiscard]] Delivery delivery_of(int fd);

/// A pipe, a socket or a file that somebody else has opened, perhaps for others too. Waits for a slow reader,
/// but not when a signal asks for an end (kernel/cancel.h).
class StreamSink final : public ByteSink {
 public:
  /// `fd` is the caller's; `name` stands in errors. Throws Error.
  StreamSink(int fd, std::string name);

  void write(std::span<const std::byte> data) override;
  /// The same for what is only said, and too late to fail: doesn't heed signals, and gives up after ten
  /// seconds.
  void write_last(std::span<const std::byte> data) noexcept;
  /// Waits until whatever can be known of all that was written is known. Throws Error if it was not taken,
  /// for one because the reader has gone.
  void settle(bool sync);

 private:
  [[nodiscard]] ssize_t write_some(std::span<const std::byte> data) const;
  [[nodiscard]] int bytes_under_way() const;
  void check_peer() const;
  void wait_until_taken() const;
  [[nodiscard]] int fd() const { return own_ ? own_.get() : given_; }

  int given_;
  mode_t kind_;
  Fd own_;  // the same pipe, opened once more: that our writes don't block is nobody else's affair
  std::string name_;
  Delivery delivery_;
};

}  // namespace godwit
