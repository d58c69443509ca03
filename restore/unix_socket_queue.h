#pragma once

#include "restore/descriptor_kind.h"

namespace godwit::making {

/// Kind::fill of unix sockets: sends what waits at each end from the other, and shuts down what was.
void fill_unix_sockets(const google::protobuf::Message& message, const FillContext& context);

}  // namespace godwit::making
