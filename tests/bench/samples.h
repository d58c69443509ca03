#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <vector>

namespace godwit::bench {

/// What one thing took, once a round. Seconds.
struct Samples {
  std::vector<double> values;
  void add(double value) { values.push_back(value); }
  void take(const Samples& others) {
    values.insert(values.end(), others.values.begin(), others.values.end());
  }
  /// 0 if there is none.
  [[nodiscard]] double median() const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted.empty() ? 0 : sorted[sorted.size() / 2];
  }
};

/// As the tables show it.
inline std::string ms(double seconds) {
  return fmt::format("{:.2f} ms", seconds * 1e3);
}

}  // namespace godwit::bench
