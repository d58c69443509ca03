#include <sys/resource.h>
#include <sys/syscall.h>

#include "dump/collectors.h"

namespace godwit {

namespace {

struct KernelLimit {
  uint64_t soft;
  uint64_t hard;
};
constexpr uint32_t kLimits = RLIMIT_NLIMITS;

}  // namespace

/// From inside: prlimit(2) from outside needs CAP_SYS_RESOURCE for a task of another uid.
void ask_resource_limits(ScriptBuilder& script, Answers& answers, image::Task& record) {
  const uint64_t limits = script.reserve(sizeof(KernelLimit) * kLimits);
  for (uint32_t resource = 0; resource < kLimits; ++resource) {
    script.call("read resource limits", SYS_prlimit64,
                {0, resource, 0, limits + sizeof(KernelLimit) * resource});
  }
  answers.emplace_back([limits, &record](const ScriptBuilder& ran) {
    for (uint32_t resource = 0; resource < kLimits; ++resource) {
      const auto limit = ran.read<KernelLimit>(limits + sizeof(KernelLimit) * resource);
      image::ResourceLimit& entry = *record.add_resource_limits();
      entry.set_resource(resource);
      entry.set_soft(limit.soft);
      entry.set_hard(limit.hard);
    }
  });
}

}  // namespace godwit
