#include "dump/header.h"

#include <cpuid.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <ctime>

#include "images-format/hash.h"
#include "images-format/page_store.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/procfs.h"

namespace godwit {

namespace {

constexpr uint32_t kFormatVersion = 1;

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// XCR0: which components of xsave the kernel has switched on.
uint64_t xsave_features() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

void describe_xsave(image::Checkpoint& header) {
  unsigned a = 0;
  unsigned size = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(0xd, 0, &a, &size, &c, &d) == 0) {
    throw error("this CPU has no xsave");
  }
  header.set_xsave_features(xsave_features());
  header.set_xsave_size(size);
}

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
  describe_xsave(header);
  describe_vdso(*header.mutable_vdso());
  return header;
}

void set_clocks(image::Checkpoint& header) {
  header.set_created_ns(clock_ns(CLOCK_REALTIME));
  header.set_monotonic_ns(clock_ns(CLOCK_MONOTONIC));
  header.set_boottime_ns(clock_ns(CLOCK_BOOTTIME));
}

}  // namespace godwit
