#include <linux/prctl.h>
#include <sys/syscall.h>

#include "dump/collectors.h"

namespace godwit {

void collect_process(pid_t pid, image::Task& record) {
  record.set_oom_score_adj(
      static_cast<int32_t>(procfs::read_number(fmt::format("/proc/{}/oom_score_adj", pid))));
  record.set_coredump_filter(
      static_cast<uint32_t>(procfs::read_number(fmt::format("/proc/{}/coredump_filter", pid), 16)));
}

void ask_child_subreaper(ScriptBuilder& script, Answers& answers, image::Task& record) {
  const uint64_t at = script.reserve(sizeof(int));
  script.call("read the child subreaper setting", SYS_prctl, {PR_GET_CHILD_SUBREAPER, at, 0, 0, 0});
  answers.emplace_back(
      [at, &record](const ScriptBuilder& ran) { record.set_child_subreaper(ran.read<int>(at) != 0); });
}

void ask_tid_address(ScriptBuilder& script, Answers& answers, image::Thread& record) {
  const uint64_t at = script.reserve(sizeof(uint64_t));
  script.call("read the tid address", SYS_prctl, {PR_GET_TID_ADDRESS, at, 0, 0, 0});
  answers.emplace_back(
      [at, &record](const ScriptBuilder& ran) { record.set_tid_address(ran.read<uint64_t>(at)); });
}

void ask_parent_death_signal(ScriptBuilder& script, Answers& answers, image::Thread& record) {
  const uint64_t at = script.reserve(sizeof(int));
  script.call("read the parent death signal", SYS_prctl, {PR_GET_PDEATHSIG, at, 0, 0, 0});
  answers.emplace_back(
      [at, &record](const ScriptBuilder& ran) { record.set_parent_death_signal(ran.read<int>(at)); });
}

void ask_personality(ScriptBuilder& script, Answers& answers, image::Thread& record) {
  constexpr uint32_t kAsk = 0xffffffff;
  const OpIndex personality = script.call("read the personality", SYS_personality, {kAsk});
  answers.emplace_back([personality, &record](const ScriptBuilder& ran) {
    record.set_personality(static_cast<uint32_t>(ran.result(personality)));
  });
}

}  // namespace godwit
