#include "restore/descriptor_kind.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/fd.h"

namespace godwit::making {

void MakeContext::deliver(const image::OpenFile& file, Slot descriptor) {
  destination_.deliver(file.id(), descriptor);
  script.release(descriptor);
}

void MakeContext::deliver(const image::OpenFile& file, int descriptor) {
  destination_.deliver(file.id(), descriptor);
}

int MakeContext::move_away(Slot descriptor, int nth) {
  const int number = first_scratch_ + nth;
  script.place("move a descriptor away", descriptor, number, true);
  script.release(descriptor);
  return number;
}

std::pair<int, int> MakeContext::take_pair(uint64_t pair, int nth) {
  const int first = move_away(script.load(pair), nth);
  return {first, move_away(script.load(pair + sizeof(int)), nth + 1)};
}

void MakeContext::close(int descriptor) {
  script.call("close a descriptor", SYS_close, {descriptor});
}

void MakeContext::set_flags(Arg descriptor, const image::OpenFile& file, uint32_t made_with) {
  constexpr uint32_t kSettable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
  if (((file.flags() ^ made_with) & kSettable) != 0) {
    script.call("set file status flags", SYS_fcntl, {descriptor, F_SETFL, file.flags() & kSettable});
  }
}

void emit_owner(ScriptBuilder& script, Arg descriptor, uint32_t uid, uint32_t gid) {
  if (uid != ::geteuid() || gid != ::getegid()) {
    script.call("set its owner", SYS_fchown, {descriptor, uid, gid});
  }
}

Slot MakeContext::reopen(int number, uint32_t flags) {
  return open_again(script, number, static_cast<int>(flags) | O_CLOEXEC | O_NOCTTY, outside_.own_descriptors);
}

Slot MakeContext::open(uint32_t file_id, int flags) {
  return files.open(script, file_id, flags, outside_.own_descriptors);
}

int MakeContext::external(const std::string& name) const {
  const auto found = outside_.external.find(name);
  if (found == outside_.external.end()) {
    throw error("nothing was handed over as {}", name);
  }
  return found->second;
}

}  // namespace godwit::making
