#pragma once

#include <fmt/core.h>

#include <cerrno>
#include <exception>
#include <string>
#include <utility>

namespace godwit {

/// The one error type: what was being done, to what, errno, and a hint that a user can act on.
/// Thrown where found; each layer that knows more puts its context in front by `in()`.
/// Printed once, by cli/: `restore: task 41: mapping 7f12a000-7f12c000: cannot open /srv/app.so:
/// No such file or directory; the checkpoint needs this file`.
class Error : public std::exception {
 public:
  /// `code` is an errno value, 0 when no system call failed. `hint` is a clause without a full stop.
  explicit Error(std::string doing, int code = 0, std::string hint = {});

  /// Puts a context ("task 41") in front of what stands there.
  Error& in(const std::string& context) &;
  Error&& in(const std::string& context) &&;

  /// Adds what the user can do about it, if nothing nearer to the cause has said so.
  Error&& hint(std::string text) &&;

  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }
  /// errno of the failed system call; 0 when there was none.
  [[nodiscard]] int code() const noexcept { return code_; }

 private:
  void compose();
  std::string doing_;
  std::string hint_;
  std::string text_;
  int code_;
};

/// An Error with the present errno: `throw errno_error("cannot open {}", path)`.
template <typename... Args>
[[nodiscard]] Error errno_error(fmt::format_string<Args...> format, Args&&... args) {
  const int code = errno;
  return Error(fmt::format(format, std::forward<Args>(args)...), code);
}

/// An Error without errno: something is wrong though no system call failed.
template <typename... Args>
[[nodiscard]] Error error(fmt::format_string<Args...> format, Args&&... args) {
  return Error(fmt::format(format, std::forward<Args>(args)...));
}

/// What isn't supported, said by name before anything is changed.
template <typename... Args>
[[nodiscard]] Error refusal(fmt::format_string<Args...> format, Args&&... args) {
  return Error(fmt::format(format, std::forward<Args>(args)...) + " isn't supported yet");
}

/// Runs `body`; an Error that leaves it gets the context that `context()` returns put in front.
/// The context is only made when it is needed.
template <typename Context, typename Body>
decltype(auto) with_context(Context&& context, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (Error& e) {
    e.in(std::forward<Context>(context)());
    throw;
  }
}

}  // namespace godwit
