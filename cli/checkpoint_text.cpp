#include "cli/checkpoint_text.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "kernel/error.h"

namespace godwit::cli {

namespace {

struct Group {
  std::string_view name;
  std::vector<const google::protobuf::Message*> records;
};

/// Records by kind, in the order of the registry; kinds of which there are none are left out.
std::vector<Group> groups(const CheckpointImage& image, std::string_view what) {
  std::vector<Group> found;
  bool known = what.empty();
  std::string names;
  for (const RecordKind& kind : record_kinds()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", kind.name);
    if (!what.empty() && what != kind.name) {
      continue;
    }
    known = true;
    Group group{kind.name, {}};
    for (const Record& record : image.records()) {
      if (record.type == kind.type) {
        group.records.push_back(record.message.get());
      }
    }
    if (!group.records.empty() || !what.empty()) {
      found.push_back(std::move(group));
    }
  }
  if (!known) {
    throw UsageError(fmt::format("a checkpoint has no '{}'; it has {}", what, names));
  }
  return found;
}

std::string to_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) {
    throw error("a {} record cannot be written as JSON", message.GetTypeName());
  }
  return text;
}

}  // namespace

std::string checkpoint_text(const CheckpointImage& image, std::string_view what) {
  std::string text;
  for (const Group& group : groups(image, what)) {
    for (const auto* const record : group.records) {
      text += fmt::format("{}:\n{}\n", group.name, record->DebugString());
    }
  }
  return text;
}

std::string checkpoint_json(const CheckpointImage& image, std::string_view what) {
  std::string text;
  for (const Group& group : groups(image, what)) {
    std::string rows;
    for (const auto* const record : group.records) {
      rows += fmt::format("{}\n    {}", rows.empty() ? "" : ",", to_json(*record));
    }
    text += fmt::format("{}\n  {}: [{}\n  ]", text.empty() ? "" : ",", json_string(group.name), rows);
  }
  return fmt::format("{{{}\n}}\n", text);
}

}  // namespace godwit::cli
