#include "tests/e2e/page_counts.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/harness.h"

namespace godwit::e2e {

PageCounts page_counts(const std::string& checkpoint) {
  using Json = nlohmann::json;
  const Outcome shown = godwit({"inspect", checkpoint, "memory", "--json"});
  EXPECT_TRUE(shown.ok()) << shown.words();
  const Json parsed = Json::parse(shown.output, nullptr, false);
  PageCounts counts;
  for (const Json& object : parsed.is_object() ? parsed.value("memory", Json::array()) : Json::array()) {
    const Json kinds = object.value("run_kind", Json::array());
    for (size_t i = 0; i < kinds.size(); ++i) {
      // PageKind of images-format/memory.proto.
      const auto pages = object["run_count"][i].get<uint64_t>();
      switch (kinds[i].get<int>()) {
        case 0:
          counts.present += pages;
          break;
        case 3:
          counts.in_parent += pages;
          break;
        case 4:
          counts.inherited += pages;
          break;
        default:
          break;
      }
    }
  }
  return counts;
}

}  // namespace godwit::e2e
