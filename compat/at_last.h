#pragma once

#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit::compat {

/// For what follows when it is too late to fail: an Error is a line in the log.
template <typename Work>
void at_last(const Work& work) noexcept {
  try {
    work();
  } catch (const Error& e) {
    log::warning("{}", e.what());
  }
}

}  // namespace godwit::compat
