#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "restore/state.h"

namespace godwit {

void emit_seccomp(ScriptBuilder& script, const image::Seccomp& seccomp, const SeccompFilters& filters) {
  if (seccomp.mode() == image::Seccomp::STRICT) {
    script.call("enter strict seccomp mode", SYS_seccomp, {SECCOMP_SET_MODE_STRICT, 0, 0});
  }
  for (const uint32_t id : seccomp.filter_ids()) {
    const image::SeccompFilter& filter = *filters.at(id);
    const std::string& code = filter.instructions();
    const uint64_t instructions = script.bytes(std::as_bytes(std::span(code)));
    sock_fprog program{};
    program.len = static_cast<unsigned short>(code.size() / sizeof(sock_filter));
    program.filter = reinterpret_cast<sock_filter*>(instructions);  // NOLINT: an address in the task
    script.call("load a seccomp filter", SYS_seccomp,
                {SECCOMP_SET_MODE_FILTER, filter.flags(), script.object(program)});
  }
}

}  // namespace godwit
