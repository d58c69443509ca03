#include "images-format/validate.h"

#include "images-format/checkpoint.pb.h"
#include "images-format/frame.h"
#include "kernel/error.h"

namespace godwit {

void validate(const std::vector<Record>& records, uint64_t payload_bytes) {
  static_cast<void>(payload_bytes);
  if (records.empty() || records.front().type != RecordType::Checkpoint) {
    throw Error("the first record isn't a checkpoint header", 0, "the checkpoint is damaged");
  }
  check_format_version(static_cast<const image::Checkpoint&>(*records.front().message).format_version());
}

}  // namespace godwit
