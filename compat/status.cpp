#include "compat/status.h"

#include <fcntl.h>

#include <array>
#include <cstdlib>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::compat {

void tell_ready(const std::string& where) {
  if (where.empty()) {
    return;
  }
  const Fd status = where.front() == '/' ? open_file(where, O_WRONLY) : Fd(std::atoi(where.c_str()));
  constexpr std::array kReady{std::byte{0}};
  write_all(status.get(), kReady, "the status descriptor");
}

}  // namespace godwit::compat
