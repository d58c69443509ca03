#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "dump/descriptor_kind.h"
#include "images-format/regular_file.pb.h"
#include "kernel/error.h"

namespace godwit::collecting {

namespace {

constexpr unsigned kMemoryDevices = 1;                           // Documentation/admin-guide/devices.txt
constexpr std::array<unsigned, 5> kPlainDevices{3, 5, 7, 8, 9};  // null, zero, full, random, urandom

bool is_plain_device(const struct stat& status) {
  return S_ISCHR(status.st_mode) && major(status.st_rdev) == kMemoryDevices &&
         std::find(kPlainDevices.begin(), kPlainDevices.end(), minor(status.st_rdev)) != kPlainDevices.end();
}

bool is_memfd(const Description& description) {
  return description.link.starts_with("/memfd:") && description.status.st_nlink == 0;
}

bool matches(const Description& description) {
  if (!description.has_path() || is_memfd(description)) {
    return false;
  }
  if ((description.info.flags & O_PATH) != 0) {
    return true;
  }
  const mode_t mode = description.status.st_mode;
  return S_ISREG(mode) || S_ISDIR(mode) || is_plain_device(description.status);
}

/// What /proc shows of a process belongs to that very process: opening its path again wouldn't do.
void check(const Description& description, Context& context) {
  const std::string& link = description.link;
  constexpr std::string_view kProc = "/proc/";
  if (link.starts_with(kProc) && link.size() > kProc.size() && link[kProc.size()] >= '0' &&
      link[kProc.size()] <= '9') {
    throw refusal("{}", description.name());
  }
  with_context([&] { return fmt::format("descriptor {} of task {}", description.fd, description.pid); },
               [&] { context.files.add(description.proc_link(), link, description.status); });
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  for (const Description* description : descriptions) {
    auto record = std::make_unique<image::RegularFile>();
    description->fill(*record->mutable_open_file());
    record->set_file_id(context.files.add(description->proc_link(), description->link, description->status));
    record->set_position(description->info.position);
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kRegularFile{
    "regular file", matches, check, collect,
    "files, directories, /dev/null, zero, full, random, urandom and O_PATH descriptors of anything with a "
    "path: position, flags, owner of signals, locks; a file without a name with its content and holes"};

}  // namespace godwit::collecting
