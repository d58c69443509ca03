#pragma once

#include <exception>
#include <thread>

#include "images-format/net.pb.h"

namespace godwit {

/// Reads the files below /proc/sys/net, where it can in a thread of its own: there are more than six hundred,
/// and nobody has looked at those of this namespace before.
class NetSettingsReader {
 public:
  NetSettingsReader() = default;
  NetSettingsReader(const NetSettingsReader&) = delete;
  NetSettingsReader& operator=(const NetSettingsReader&) = delete;
  ~NetSettingsReader();

  /// Once. The calling thread is in the namespace, so the new one is, too.
  void start();
  /// Adds what was read, and asks whether a restore would take what the record has: better known while the
  /// tree lives. Throws Error.
  void finish(image::NetNamespace& record);

 private:
  void read() noexcept;

  image::NetNamespace found_;
  std::exception_ptr failure_;
  std::thread helper_;
};

}  // namespace godwit
