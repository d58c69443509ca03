#include "dump/header.h"

#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>

#include "images-format/hash.h"
#include "images-format/page_store.h"
#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/procfs.h"
#include "kernel/xsave.h"

namespace godwit {

namespace {

constexpr uint32_t kFormatVersion = 1;

/// All tasks have the kernel's vdso, and so do we.
void describe_vdso(image::Vdso& vdso) {
  for (const procfs::Map& map : procfs::read_maps(::getpid())) {
    if (map.path.starts_with("[vvar")) {
      vdso.set_vvar_size(vdso.vvar_size() + (map.end - map.start));
    } else if (map.path == "[vdso]") {
      vdso.set_vdso_size(map.end - map.start);
      // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel says that it lies there
      vdso.set_content_hash(hash_bytes({reinterpret_cast<const std::byte*>(map.start), map.end - map.start}));
    }
  }
}

}  // namespace

image::Checkpoint describe_machine() {
  image::Checkpoint header;
  header.set_format_version(kFormatVersion);
  std::array<char, 16> uuid;
  if (::getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size())) {
    throw errno_error("cannot get random bytes");
  }
  header.set_uuid(uuid.data(), uuid.size());
  header.set_godwit_version(GODWIT_VERSION);
  utsname names{};
  ::uname(&names);
  header.set_kernel_release(names.release);
  header.set_machine(names.machine);
  std::string boot = read_file("/proc/sys/kernel/random/boot_id");
  boot.resize(boot.find_last_not_of('\n') + 1);
  header.set_boot_id(boot);
  header.set_page_size(kPageSize);
  const XsaveLayout xsave = xsave_layout();
  header.set_xsave_features(xsave.features);
  header.set_xsave_size(xsave.bytes);
  describe_vdso(*header.mutable_vdso());
  return header;
}

void set_clocks(image::Checkpoint& header) {
  header.set_created_ns(clock_ns(CLOCK_REALTIME));
  header.set_monotonic_ns(clock_ns(CLOCK_MONOTONIC));
  header.set_boottime_ns(clock_ns(CLOCK_BOOTTIME));
}

}  // namespace godwit
