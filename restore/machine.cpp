#include "restore/machine.h"

#include <sys/utsname.h>

#include "images-format/page_store.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "kernel/xsave.h"

namespace godwit {

void check_machine(const image::Checkpoint& header) {
  utsname here{};
  ::uname(&here);
  if (header.machine() != here.machine) {
    throw error("the tasks ran on a machine of type {}, this one is {}", header.machine(), here.machine);
  }
  if (header.page_size() != kPageSize) {
    throw error("the tasks ran with pages of {} bytes", header.page_size());
  }
  const XsaveLayout xsave = xsave_layout();
  if (header.xsave_features() != xsave.features || header.xsave_size() != xsave.bytes) {
    throw Error(
        fmt::format("the tasks ran on a CPU with other vector registers (xsave components {:#x}, here {:#x})",
                    header.xsave_features(), xsave.features),
        0, "restore on the same kind of CPU");
  }
  std::string boot = read_file("/proc/sys/kernel/random/boot_id");
  boot.resize(boot.find_last_not_of('\n') + 1);
  if (header.boot_id() != boot) {
    log::warning(
        "the checkpoint was made before this machine's last start: monotonic clocks jump for its tasks");
  }
}

}  // namespace godwit
