#pragma once

#include <memory>

#include "dump/descriptor_kind.h"
#include "images-format/unix_socket.pb.h"

namespace godwit::collecting {

/// What waits to be read at a unix socket; nothing is taken out. Descriptors that are in flight become
/// descriptions of the context. Throws Error, a refusal for what couldn't be sent again. Null: nothing waits.
/// Kind::look_inside.
[[nodiscard]] std::unique_ptr<google::protobuf::Message> peek_unix_socket_queue(
    const Description& description, Context& context);

}  // namespace godwit::collecting
