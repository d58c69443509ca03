#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::compat {

/// Version that clients see. No git id: they would take that for the next minor one.
struct PeerVersion {
  static constexpr int kMajor = 4;
  static constexpr int kMinor = 1;
};

/// Tells the client and the action scripts what moment has come, and waits until they are done with it.
class Notifier {
 public:
  /// Asks the client; throws Error if it says no or has gone. Empty: there is none to ask.
  using Ask = std::function<void(std::string_view moment, pid_t root)>;

  Notifier(std::vector<std::string> scripts, std::string images_path, Ask ask)
      : scripts_(std::move(scripts)), images_path_(std::move(images_path)), ask_(std::move(ask)) {}

  /// Whether anybody listens.
  [[nodiscard]] bool wanted() const { return ask_ || !scripts_.empty(); }

  /// `root`: pid of the root task; 0 where there is none yet. Throws Error if somebody refuses to go on.
  void tell(std::string_view moment, pid_t root) const;
  /// The same to the client alone: what is a question, scripts have no way to answer.
  void ask(std::string_view moment, pid_t root) const;

 private:
  void run(const std::string& script, std::string_view moment, pid_t root) const;

  std::vector<std::string> scripts_;
  std::string images_path_;
  Ask ask_;
};

}  // namespace godwit::compat
