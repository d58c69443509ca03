#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

namespace godwit::cli {

/// A record as JSON. 64-bit words of fixed size (addresses, masks, hashes) are strings in hexadecimal, other
/// numbers are numbers; bytes are a string where they are text, else {"hex": ...}. Fields that aren't set are
/// left out. Unless `verbose`, long bytes are {"bytes": length}.
[[nodiscard]] std::string record_json(const google::protobuf::Message& record, bool verbose);

/// A record on one line: `inode=7 ends=[{open_file={id=2}}] data="waiting"`. Long bytes are shown by length.
[[nodiscard]] std::string record_line(const google::protobuf::Message& record);

/// Bytes for people: as they are where they are printable, with \xNN elsewhere.
[[nodiscard]] std::string printable(std::string_view bytes);

}  // namespace godwit::cli
