#pragma once

#include <poll.h>
#include <unistd.h>

#include <span>
#include <string>

#include "kernel/fd.h"

namespace godwit::e2e {

/// Who sits at a terminal, by its master.
class Conversation {
 public:
  explicit Conversation(Fd master) : master_(std::move(master)) {}

  [[nodiscard]] int master() const { return master_.get(); }
  /// Throws Error.
  void type(const std::string& text) const {
    write_all(master_.get(), std::as_bytes(std::span(text)), "terminal");
  }

  /// Reads until `text` has been seen since the last time that something was expected, or ten seconds are
  /// over.
  bool expect(const std::string& text) {
    size_t at = 0;
    while ((at = seen_.find(text, expected_)) == std::string::npos) {
      pollfd what{master_.get(), POLLIN, 0};
      char buffer[1024];
      const ssize_t n = poll(&what, 1, 10000) == 1 ? read(master_.get(), buffer, sizeof buffer) : -1;
      if (n <= 0) {
        return false;
      }
      seen_.append(buffer, static_cast<size_t>(n));
    }
    expected_ = at + text.size();
    return true;
  }

  [[nodiscard]] const std::string& seen() const { return seen_; }

 private:
  Fd master_;
  std::string seen_;
  size_t expected_ = 0;  // what comes before has been talked about
};

}  // namespace godwit::e2e
