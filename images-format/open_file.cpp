#include "images-format/open_file.h"

namespace godwit {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const FieldDescriptor* open_file_field(const google::protobuf::Descriptor& message) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    if (field->message_type() == image::OpenFile::descriptor() && !field->is_repeated()) {
      return field;
    }
  }
  return nullptr;
}

void visit_field(const Message& message, const FieldDescriptor* field,
                 const std::function<void(const image::OpenFile&)>& visit) {
  visit(static_cast<const image::OpenFile&>(message.GetReflection()->GetMessage(message, field)));
}

}  // namespace

void for_each_open_file(const Record& record, const std::function<void(const image::OpenFile&)>& visit) {
  const Message& message = *record.message;
  const auto& descriptor = *message.GetDescriptor();
  if (const FieldDescriptor* field = open_file_field(descriptor)) {
    visit_field(message, field, visit);
  }
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor* parts = descriptor.field(i);
    const FieldDescriptor* field = parts->is_repeated() && parts->message_type() != nullptr
                                       ? open_file_field(*parts->message_type())
                                       : nullptr;
    if (field == nullptr) {
      continue;
    }
    for (int n = 0; n < message.GetReflection()->FieldSize(message, parts); ++n) {
      visit_field(message.GetReflection()->GetRepeatedMessage(message, parts, n), field, visit);
    }
  }
}

}  // namespace godwit
