#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <iterator>
#include <set>
#include <thread>
#include <utility>

#include "tests/e2e/known_differences.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/snapshot.h"

namespace godwit::e2e {

namespace {

constexpr int kLooks = 10;

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
    return is <= was + tolerance->absolute + was * tolerance->relative;
  }
  return before == after;
}

std::set<std::string> owners(const Snapshot& snapshot) {
  std::set<std::string> all;
  for (const auto& [key, value] : snapshot.facts) {
    all.insert(key.owner);
  }
  return all;
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
  const std::set<std::string> owners_before = owners(before);
  const std::set<std::string> owners_after = owners(after);
  for (const std::string& owner : owners_before) {
    if (owners_after.count(owner) == 0) {
      differences.push_back(owner + " is gone");
    }
  }
  for (const std::string& owner : owners_after) {
    if (owners_before.count(owner) == 0) {
      differences.push_back(owner + " is new");
    }
  }
  const auto say = [&](const FactKey& key, const std::string& what) {
    differences.push_back(fmt::format("{}: {}: {}: {}", key.owner, key.source, key.field, what));
  };
  for (const auto& [key, was] : before.facts) {
    if (is_known(key) || owners_after.count(key.owner) == 0) {
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
    if (!is_known(key) && owners_before.count(key.owner) != 0 &&
        before.facts.find(key) == before.facts.end()) {
      say(key, fmt::format("new: {}", shown(is)));
    }
  }
  return differences;
}

std::vector<std::string> compare_now(const Snapshot& before, pid_t root) {
  std::vector<std::string> differences = compare(before, observe(root));
  for (int look = 0; !differences.empty() && look < kLooks; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    differences = compare(before, observe(root));
  }
  return differences;
}

Snapshot observe_at_rest(pid_t root) {
  Snapshot seen = observe(root);
  for (int look = 0; look < kLooks; ++look) {
    Snapshot again = observe(root);
    const bool same = compare(seen, again).empty();
    seen = std::move(again);
    if (same) {
      break;
    }
  }
  return seen;
}

}  // namespace godwit::e2e
