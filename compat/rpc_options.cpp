#include "compat/rpc_options.h"

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "kernel/error.h"

namespace godwit::compat {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// Messages as the command line writes them.
std::string message_text(const Message& message) {
  if (const auto* inherit = dynamic_cast<const rpc::InheritFd*>(&message)) {
    return fmt::format("fd[{}]:{}", inherit->fd(), inherit->key());
  }
  if (const auto* pair = dynamic_cast<const rpc::VethPair*>(&message)) {
    return pair->if_in() + "=" + pair->if_out();
  }
  if (const auto* root = dynamic_cast<const rpc::CgroupRoot*>(&message)) {
    return root->has_ctrl() ? root->ctrl() + ":" + root->path() : root->path();
  }
  return message.ShortDebugString();
}

/// The values of a field, one unless it is repeated.
std::vector<std::string> values(const Message& options, const FieldDescriptor& field) {
  const Reflection& reflection = *options.GetReflection();
  std::vector<std::string> found;
  const int count = field.is_repeated() ? reflection.FieldSize(options, &field) : 1;
  for (int i = 0; i < count; ++i) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        found.emplace_back(reflection.GetBool(options, &field) ? "1" : "0");
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        found.push_back(std::to_string(reflection.GetInt32(options, &field)));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        found.push_back(std::to_string(reflection.GetUInt32(options, &field)));
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        found.push_back(lower(reflection.GetEnum(options, &field)->name()));
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        found.push_back(field.is_repeated() ? reflection.GetRepeatedString(options, &field, i)
                                            : reflection.GetString(options, &field));
        break;
      default:
        found.push_back(message_text(field.is_repeated() ? reflection.GetRepeatedMessage(options, &field, i)
                                                         : reflection.GetMessage(options, &field)));
    }
  }
  return found;
}

/// A number in the client's table of descriptors; -1 stands for none.
bool is_clients_descriptor(std::string_view field) {
  return field == "images_dir_fd" || field == "work_dir_fd" || field == "status_fd";
}

}  // namespace

void read_options(const rpc::Options& options, pid_t client, Asked& asked) {
  std::vector<const FieldDescriptor*> fields;
  options.GetReflection()->ListFields(options, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->name() == "images_dir" && options.images_dir_fd() != -1) {
      continue;  // both are the same directory, and the descriptor can't be another one by now
    }
    if (field->name() == "ext_mnt") {
      for (const rpc::ExternalMount& mount : options.ext_mnt()) {
        asked.settings.external_mounts.push_back({mount.key(), mount.val()});
      }
      continue;
    }
    const Option* option = find_field(field->name());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL && option->takes != Takes::Flag &&
        !options.GetReflection()->GetBool(options, field)) {
      continue;  // ext_unix_sk, which has a value on the command line
    }
    for (const std::string& value : values(options, *field)) {
      if (!is_clients_descriptor(field->name())) {
        asked.set(*option, value);
      } else if (value != "-1") {
        asked.set(*option, fmt::format("/proc/{}/fd/{}", client, value));
      }
    }
  }
  const auto& unknown = options.GetReflection()->GetUnknownFields(options);
  for (int i = 0; i < unknown.field_count(); ++i) {
    asked.refuse(fmt::format("option {} of the request isn't supported: it is unknown here",
                             unknown.field(i).number()));
  }
}

}  // namespace godwit::compat
