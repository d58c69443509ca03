#include "kernel/error.h"

#include <cstring>

namespace godwit {

Error::Error(std::string doing, int code, std::string hint)
    : doing_(std::move(doing)), hint_(std::move(hint)), code_(code) {
  compose();
}

Error& Error::in(const std::string& context) & {
  doing_ = context + ": " + doing_;
  compose();
  return *this;
}

Error&& Error::in(const std::string& context) && {
  return std::move(in(context));
}

Error&& Error::hint(std::string text) && {
  if (hint_.empty()) {
    hint_ = std::move(text);
    compose();
  }
  return std::move(*this);
}

void Error::compose() {
  text_ = doing_;
  if (code_ != 0) {
    text_ += ": ";
    text_ += strerrordesc_np(code_) != nullptr ? strerrordesc_np(code_) : std::to_string(code_);
  }
  if (!hint_.empty()) {
    text_ += "; " + hint_;
  }
}

}  // namespace godwit
