#include "dump/descriptor_kind.h"

#include <fcntl.h>

#include "kernel/error.h"
#include "kernel/pidfd.h"

namespace godwit::collecting {

uint32_t Description::flags() const {
  return info.flags & ~static_cast<uint32_t>(O_CLOEXEC | O_ASYNC);
}

std::string Description::proc_link() const {
  return fmt::format("/proc/{}/fd/{}", pid, fd);
}

std::string Description::name() const {
  return fmt::format("descriptor {} of task {} ({})", fd, pid, link);
}

void Description::fill(image::OpenFile& record) const {
  record.set_id(id);
  record.set_flags(flags());
  if (owner.pid() != 0 || owner.signal() != 0 || owner.async()) {
    *record.mutable_owner() = owner;
  }
}

Fd Context::copy(const Description& description) {
  if (pidfd_of_ != description.pid) {
    pidfd_ = open_pidfd(description.pid);
    pidfd_of_ = description.pid;
  }
  return with_context([&] { return description.name(); },
                      [&] { return copy_descriptor(pidfd_.get(), description.fd); });
}

void Context::forget_tasks() {
  pidfd_.reset();
  pidfd_of_ = 0;
}

image::SignalOwner signal_owner(const Description& description, int copy) {
  constexpr int kGetOwnerUids = 17;  // F_GETOWNER_UIDS, with CONFIG_CHECKPOINT_RESTORE
  f_owner_ex owner{};
  if (::fcntl(copy, F_GETOWN_EX, &owner) != 0) {
    throw errno_error("{}: cannot ask for its owner", description.name());
  }
  image::SignalOwner record;
  record.set_type(owner.type);
  record.set_pid(owner.pid);
  record.set_signal(::fcntl(copy, F_GETSIG));
  record.set_async((description.info.flags & O_ASYNC) != 0);
  std::array<uid_t, 2> uids{};
  if (owner.pid != 0) {
    if (::fcntl(copy, kGetOwnerUids, uids.data()) != 0) {
      throw errno_error("{}: cannot ask who has set its owner", description.name());
    }
    record.set_uid(uids[0]);
    record.set_euid(uids[1]);
  }
  return record;
}

}  // namespace godwit::collecting
