#include "kernel/log.h"

namespace godwit::log {

namespace {
Sink current_sink = nullptr;
Level least_level = Level::Error;
}  // namespace

void set_sink(Sink sink, Level least) {
  current_sink = sink;
  least_level = least;
}

bool enabled(Level level) {
  return current_sink != nullptr && level >= least_level;
}

void write(Level level, std::string_view line) {
  if (enabled(level)) {
    current_sink(level, line);
  }
}

}  // namespace godwit::log
