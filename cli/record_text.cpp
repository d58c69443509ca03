#include "cli/record_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "program/output.h"

namespace godwit::cli {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kLongBytes = 256;

/// How one notation writes what a record is made of.
struct Notation {
  std::string (*object)(const std::vector<std::pair<std::string, std::string>>& fields);
  std::string (*array)(const std::vector<std::string>& elements);
  std::string (*word)(uint64_t value);
  std::string (*text)(std::string_view value);
  std::string (*bytes)(std::string_view value, bool verbose);
  bool defaults;  // numbers that are 0, empty lists and so on are written too
};

/// Addresses, masks, hashes. Times are numbers like any other, whatever their width in the image.
bool is_word(const FieldDescriptor& field) {
  return field.type() == FieldDescriptor::TYPE_FIXED64 && !field.name().ends_with("_ns");
}

bool is_text(std::string_view bytes) {
  return std::ranges::all_of(bytes, [](char c) { return c >= ' ' && c <= '~'; });
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

std::string join(const std::vector<std::string>& elements, const char* separator) {
  return fmt::format("{}", fmt::join(elements, separator));
}

std::string json_object(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::vector<std::string> members;
  members.reserve(fields.size());
  for (const auto& [name, value] : fields) {
    members.push_back(fmt::format("\"{}\": {}", name, value));
  }
  return "{" + join(members, ", ") + "}";
}

std::string json_array(const std::vector<std::string>& elements) {
  return "[" + join(elements, ", ") + "]";
}

std::string json_word(uint64_t value) {
  return fmt::format("\"{:#x}\"", value);
}

std::string json_bytes(std::string_view value, bool verbose) {
  if (!verbose && value.size() > kLongBytes) {
    return fmt::format("{{\"bytes\": {}}}", value.size());
  }
  return is_text(value) ? json_string(value) : fmt::format("{{\"hex\": \"{}\"}}", hex(value));
}

std::string line_object(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::vector<std::string> members;
  members.reserve(fields.size());
  for (const auto& [name, value] : fields) {
    members.push_back(name + "=" + value);
  }
  return "{" + join(members, " ") + "}";
}

std::string line_array(const std::vector<std::string>& elements) {
  return "[" + join(elements, " ") + "]";
}

std::string line_word(uint64_t value) {
  return fmt::format("{:#x}", value);
}

std::string line_text(std::string_view value) {
  return "\"" + printable(value) + "\"";
}

std::string line_bytes(std::string_view value, bool verbose) {
  if (!verbose && value.size() > kLongBytes) {
    return fmt::format("<{} bytes>", value.size());
  }
  return is_text(value) ? line_text(value) : "0x" + hex(value);
}

constexpr Notation kJson{json_object, json_array, json_word, json_string, json_bytes, true};
constexpr Notation kLine{line_object, line_array, line_word, line_text, line_bytes, false};

class Writer {
 public:
  Writer(const Notation& notation, bool verbose) : notation_(notation), verbose_(verbose) {}

  std::string message(const Message& message) const {
    const Reflection& reflection = *message.GetReflection();
    std::vector<std::pair<std::string, std::string>> fields;
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message.GetDescriptor()->field(i);
      const bool set = field->is_repeated() ? reflection.FieldSize(message, field) > 0
                                            : reflection.HasField(message, field);
      if (set || (notation_.defaults && !field->has_presence())) {
        fields.emplace_back(field->name(), this->field(message, field));
      }
    }
    return notation_.object(fields);
  }

 private:
  std::string field(const Message& message, const FieldDescriptor* field) const {
    if (!field->is_repeated()) {
      return value(message, field, -1);
    }
    std::vector<std::string> elements;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      elements.push_back(value(message, field, i));
    }
    return notation_.array(elements);
  }

  /// `index` -1: a field that isn't repeated.
  std::string value(const Message& message, const FieldDescriptor* field, int index) const {
    const Reflection& reflection = *message.GetReflection();
    const auto get = [&](auto single, auto repeated) {
      return index < 0 ? (reflection.*single)(message, field) : (reflection.*repeated)(message, field, index);
    };
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return std::to_string(get(&Reflection::GetInt32, &Reflection::GetRepeatedInt32));
      case FieldDescriptor::CPPTYPE_INT64:
        return std::to_string(get(&Reflection::GetInt64, &Reflection::GetRepeatedInt64));
      case FieldDescriptor::CPPTYPE_UINT32:
        return std::to_string(get(&Reflection::GetUInt32, &Reflection::GetRepeatedUInt32));
      case FieldDescriptor::CPPTYPE_UINT64: {
        const uint64_t number = get(&Reflection::GetUInt64, &Reflection::GetRepeatedUInt64);
        return is_word(*field) ? notation_.word(number) : std::to_string(number);
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        return get(&Reflection::GetBool, &Reflection::GetRepeatedBool) ? "true" : "false";
      case FieldDescriptor::CPPTYPE_ENUM: {
        const int number = get(&Reflection::GetEnumValue, &Reflection::GetRepeatedEnumValue);
        const auto* const name = field->enum_type()->FindValueByNumber(number);
        return name != nullptr ? notation_.text(name->name()) : std::to_string(number);
      }
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string text = get(&Reflection::GetString, &Reflection::GetRepeatedString);
        return notation_.bytes(text, verbose_);
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return this->message(index < 0 ? reflection.GetMessage(message, field)
                                       : reflection.GetRepeatedMessage(message, field, index));
      default:
        return "null";
    }
  }

  const Notation& notation_;
  bool verbose_;
};

}  // namespace

std::string record_json(const google::protobuf::Message& record, bool verbose) {
  return Writer(kJson, verbose).message(record);
}

std::string record_line(const google::protobuf::Message& record) {
  const std::string text = Writer(kLine, false).message(record);
  return text.substr(1, text.size() - 2);
}

std::string printable(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    // UTF-8 stays; control characters would do things to a terminal.
    const auto byte = static_cast<unsigned char>(c);
    text += byte < ' ' || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return text;
}

}  // namespace godwit::cli
