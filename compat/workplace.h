#pragma once

#include <string>

#include "compat/settings.h"
#include "kernel/fd.h"

namespace godwit::compat {

/// The directories of a request. Making one makes the work directory the current one and opens the log.
struct Workplace {
  /// `default_log`: name of the log where the client names none; empty: stderr. Throws Error.
  Workplace(const Settings& settings, const std::string& default_log);

  Fd images;                // O_PATH
  std::string images_path;  // for messages, and for scripts
};

}  // namespace godwit::compat
