#include "dump/descriptor_kind.h"

#include <fcntl.h>

#include "kernel/error.h"
#include "kernel/pidfd.h"

namespace godwit::collecting {

uint32_t Description::flags() const {
  return info.flags & ~static_cast<uint32_t>(O_CLOEXEC);
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

void check_no_owner(const Description& description, int copy) {
  f_owner_ex owner{};
  if (::fcntl(copy, F_GETOWN_EX, &owner) != 0) {
    throw errno_error("{}: cannot ask for its owner", description.name());
  }
  if (owner.pid != 0 || ::fcntl(copy, F_GETSIG) > 0) {
    throw refusal("{} with an owner that gets signals (F_SETOWN)", description.name());
  }
}

}  // namespace godwit::collecting
