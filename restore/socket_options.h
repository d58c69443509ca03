#pragma once

#include "images-format/socket.pb.h"
#include "parasite/script_builder.h"

namespace godwit {

/// Emits the setting of all recorded options.
void emit_socket_options(ScriptBuilder& script, Arg socket, const image::SocketOptions& options);

/// The recorded number of an option; `otherwise` if it isn't recorded.
[[nodiscard]] int recorded_option(const image::SocketOptions& options, int level, int name, int otherwise);
void emit_socket_option(ScriptBuilder& script, Arg socket, int level, int name, int value);

}  // namespace godwit
