#include <linux/seccomp.h>

#include "dump/collectors.h"
#include "images-format/seccomp.pb.h"
#include "kernel/error.h"
#include "kernel/ptrace.h"

namespace godwit {

void SeccompFilters::collect(const ThreadState& thread, image::Thread& record) {
  if (thread.status.seccomp_mode == SECCOMP_MODE_DISABLED) {
    return;
  }
  image::Seccomp& seccomp = *record.mutable_seccomp();
  if (thread.status.seccomp_mode == SECCOMP_MODE_STRICT) {
    seccomp.set_mode(image::Seccomp::STRICT);
    return;
  }
  seccomp.set_mode(image::Seccomp::FILTER);
  for (uint32_t index = 0;; ++index) {
    const auto instructions = ptrace::seccomp_filter(thread.tid, index);
    if (!instructions) {
      break;
    }
    std::string bytes(reinterpret_cast<const char*>(instructions->data()),
                      instructions->size() * sizeof(sock_filter));
    const uint32_t flags = ptrace::seccomp_filter_flags(thread.tid, index);
    const auto next = static_cast<uint32_t>(ids_.size() + 1);
    seccomp.add_filter_ids(ids_.emplace(std::pair(std::move(bytes), flags), next).first->second);
  }
  if (seccomp.filter_ids().empty()) {
    throw error("a seccomp filter that can't be read");
  }
}

void SeccompFilters::write(CheckpointWriter& writer) const {
  for (const auto& [filter, id] : ids_) {
    image::SeccompFilter record;
    record.set_id(id);
    record.set_instructions(filter.first);
    record.set_flags(filter.second);
    writer.add(record);
  }
}

}  // namespace godwit
