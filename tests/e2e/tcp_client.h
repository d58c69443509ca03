#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "kernel/fd.h"

namespace godwit::e2e {

/// The other end of the workload tcp_echo: sends numbered bytes without a pause, and looks whether they come
/// back, each once and in their order. A thread does it until `finish`.
class TcpClient {
 public:
  /// Connects from the calling thread's network namespace. Throws Error.
  TcpClient(const std::string& host, uint16_t port);
  ~TcpClient();
  TcpClient(const TcpClient&) = delete;
  TcpClient& operator=(const TcpClient&) = delete;

  /// Waits until so many more bytes have come back. Returns whether they did.
  [[nodiscard]] bool advances(uint64_t bytes = 1 << 20);
  /// Sends no more, takes what is still to come, and its end. Returns "pass", or what went wrong.
  [[nodiscard]] std::string finish();

 private:
  void run();
  void send_some();
  /// Returns whether there may be more.
  bool take_some();

  Fd socket_;
  uint64_t sent_ = 0;  // as failure_, the thread's until it has ended
  std::string failure_;
  std::atomic<uint64_t> returned_ = 0;
  std::atomic<bool> last_ = false;  // no more is to be sent
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace godwit::e2e
