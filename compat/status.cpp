#include "compat/status.h"

#include <fcntl.h>

#include <array>
#include <cstdint>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/fdinfo.h"

namespace godwit::compat {

void tell_ready(const std::string& where) {
  if (where.empty()) {
    return;
  }
  const Fd status = where.front() == '/' ? open_file(where, O_WRONLY)
                                         : Fd(parse_number<int32_t>(where, 10, "status descriptor"));
  constexpr std::array kReady{std::byte{0}};
  write_all(status.get(), kReady, "the status descriptor");
}

}  // namespace godwit::compat
