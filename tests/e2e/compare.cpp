#include <fmt/core.h>

#include <cmath>
#include <cstdlib>
#include <iterator>

#include "tests/e2e/known_differences.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/snapshot.h"

namespace godwit::e2e {

namespace {

bool is_known(const FactKey& key) {
  for (const KnownDifference& known : kKnownDifferences) {
    if (known.source == key.source && known.field == key.field) {
      return true;
    }
  }
  return false;
}

const Tolerance* tolerance_of(const FactKey& key) {
  for (const Tolerance& tolerance : kTolerances) {
    if (tolerance.source == key.source && tolerance.field == key.field) {
      return &tolerance;
    }
  }
  return nullptr;
}

/// What /proc/PID/syscall says counts only where the thread sleeps in both snapshots. A call that the kernel
/// goes on with by restart_syscall(2) (219) is made again by its own number after a restore.
bool same_system_call(const std::string& before, const std::string& after) {
  const std::vector<std::string> was = words_of(before);
  const std::vector<std::string> is = words_of(after);
  if (was.size() != 9 || is.size() != 9) {
    return true;
  }
  const bool restarted = was[0] == "219" || is[0] == "219";
  for (size_t i = restarted ? 1 : 0; i < was.size(); ++i) {
    if (was[i] != is[i]) {
      return false;
    }
  }
  return true;
}

bool equal(const FactKey& key, const std::string& before, const std::string& after) {
  if (key.source == "syscall") {
    return same_system_call(before, after);
  }
  if (const Tolerance* tolerance = tolerance_of(key)) {
    const double was = strtod(before.c_str(), nullptr);
    const double is = strtod(after.c_str(), nullptr);
    return std::fabs(is - was) <= tolerance->absolute + was * tolerance->relative;
  }
  return before == after;
}

/// Content with zero bytes (cmdline, auxv) made readable, and short.
std::string shown(const std::string& value) {
  std::string text;
  for (const char c : value) {
    if (text.size() > 300) {
      return text + "...";
    }
    const auto byte = static_cast<unsigned char>(c);
    text += byte >= 0x20 && byte < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", byte);
  }
  return text;
}

}  // namespace

std::vector<std::string> compare(const Snapshot& before, const Snapshot& after) {
  std::vector<std::string> differences;
  const auto say = [&](const FactKey& key, const std::string& what) {
    differences.push_back(fmt::format("{}: {}: {}: {}", key.owner, key.source, key.field, what));
  };
  for (const auto& [key, was] : before.facts) {
    if (is_known(key)) {
      continue;
    }
    const auto found = after.facts.find(key);
    if (found == after.facts.end()) {
      say(key, fmt::format("missing; was {}", shown(was)));
    } else if (!equal(key, was, found->second)) {
      say(key, fmt::format("was {}; is {}", shown(was), shown(found->second)));
    }
  }
  for (const auto& [key, is] : after.facts) {
    if (!is_known(key) && before.facts.find(key) == before.facts.end()) {
      say(key, fmt::format("new: {}", shown(is)));
    }
  }
  return differences;
}

}  // namespace godwit::e2e
