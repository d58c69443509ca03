#include <sys/syscall.h>

#include "kernel/features.h"
#include "kernel/log.h"
#include "restore/state.h"

namespace godwit {

void emit_resource_limits(ScriptBuilder& script, const image::Task& task, const Baseline& baseline) {
  for (const auto& limit : task.resource_limits()) {
    if (limit.resource() >= baseline.limits.size()) {
      log::warning("task {}: resource limit {} is unknown here and isn't set", task.pid(0), limit.resource());
      continue;
    }
    const rlimit& have = baseline.limits[limit.resource()];
    rlimit wanted{limit.soft(), limit.hard()};
    if (wanted.rlim_cur == have.rlim_cur && wanted.rlim_max == have.rlim_max) {
      continue;
    }
    if (wanted.rlim_max > have.rlim_max && !has(Feature::CapSysResource)) {
      log::warning("task {}: hard limit {} of resource {} needs CAP_SYS_RESOURCE; it stays at {}",
                   task.pid(0), wanted.rlim_max, limit.resource(), have.rlim_max);
      wanted.rlim_max = have.rlim_max;
      wanted.rlim_cur = std::min(wanted.rlim_cur, wanted.rlim_max);
    }
    script.call("set a resource limit", SYS_prlimit64, {0, limit.resource(), script.object(wanted), 0});
  }
}

}  // namespace godwit
