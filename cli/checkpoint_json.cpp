#include <fmt/format.h>

#include "cli/checkpoint_text.h"
#include "cli/command.h"
#include "cli/record_text.h"
#include "program/output.h"

namespace godwit::cli {

std::string checkpoint_json(const CheckpointImage& image, std::string_view what, bool verbose) {
  std::string text;
  for (const RecordKind& kind : record_kinds()) {
    if (kind.type == RecordType::Closing || (!what.empty() && what != kind.name)) {
      continue;
    }
    std::string rows;
    for (const Record& record : image.records()) {
      if (record.type == kind.type) {
        rows += fmt::format("{}\n    {}", rows.empty() ? "" : ",", record_json(*record.message, verbose));
      }
    }
    text += fmt::format("{}\n  {}: [{}{}]", text.empty() ? "" : ",", json_string(kind.name), rows,
                        rows.empty() ? "" : "\n  ");
  }
  if (text.empty()) {
    throw UsageError(fmt::format("a checkpoint has no '{}'", what));
  }
  return fmt::format("{{{}\n}}\n", text);
}

}  // namespace godwit::cli
