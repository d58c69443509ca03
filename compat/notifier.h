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
  struct Question {
    std::string_view moment;
    pid_t root = 0;       // 0: there is none yet, or it doesn't matter
    unsigned heeded = 0;  // signals that have asked for an end and don't count, as in wait_readable
    int descriptor = -1;  // of which the client gets a copy; -1: none
  };
  /// Asks the client; throws Error if it says no or has gone, or if a signal asks for an end, as
  /// wait_readable does (kernel/cancel.h). Empty: there is none to ask.
  using Ask = std::function<void(const Question&)>;

  Notifier(std::vector<std::string> scripts, std::string images_path, Ask ask)
      : scripts_(std::move(scripts)), images_path_(std::move(images_path)), ask_(std::move(ask)) {}

  /// Whether anybody listens.
  [[nodiscard]] bool wanted() const { return ask_ || !scripts_.empty(); }

  /// `root`: pid of the root task; 0 where there is none yet. Throws Error if somebody refuses to go on, or a
  /// signal asks for an end; a script is ended then, too.
  void tell(std::string_view moment, pid_t root) const;
  /// The same where it is too late to fail: an Error is a line in the log. Signals that have asked for an end
  /// so far don't keep anybody from hearing of it.
  void tell_at_last(std::string_view moment, pid_t root) const noexcept;
  /// The same to the client alone: what is a question, scripts have no way to answer.
  void ask(std::string_view moment, pid_t root) const;
  /// Whether there is a client to hand descriptors over to.
  [[nodiscard]] bool takes_descriptors() const { return static_cast<bool>(ask_); }
  /// Gives a copy of a descriptor to the client. Throws Error.
  void hand_over(std::string_view moment, int descriptor) const;

 private:
  void tell(std::string_view moment, pid_t root, unsigned heeded) const;
  void run(const std::string& script, std::string_view moment, pid_t root, unsigned heeded) const;

  std::vector<std::string> scripts_;
  std::string images_path_;
  Ask ask_;
};

}  // namespace godwit::compat
