#pragma once

#include <sys/types.h>

#include <string>

#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

/// Is the program there? Where Debian's package isn't installed its test is skipped by name.
[[nodiscard]] bool have_program(const std::string& path);

/// A TCP port of 127.0.0.1 that nobody uses now.
[[nodiscard]] int free_port();

/// GET of a path from 127.0.0.1 by HTTP/1.0: the whole answer; empty if nobody answers.
[[nodiscard]] std::string http_get(int port, const std::string& path);

/// Descriptors of a task that are connected TCP or unix stream sockets (of clients, say).
[[nodiscard]] int connected_sockets(pid_t pid);

void write_text(const std::string& path, const std::string& text);

}  // namespace godwit::e2e
