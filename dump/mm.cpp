#include <linux/prctl.h>
#include <sys/syscall.h>

#include "dump/collectors.h"
#include "kernel/error.h"

namespace godwit {

namespace {

// Newer than the headers that we build with.
constexpr int kGetMdwe = 66;         // PR_GET_MDWE
constexpr int kGetMemoryMerge = 68;  // PR_GET_MEMORY_MERGE

}  // namespace

void collect_mm(pid_t pid, const procfs::Stat& stat, image::Mm& record) {
  record.set_start_code(stat.start_code);
  record.set_end_code(stat.end_code);
  record.set_start_data(stat.start_data);
  record.set_end_data(stat.end_data);
  record.set_start_brk(stat.start_brk);
  record.set_start_stack(stat.start_stack);
  record.set_arg_start(stat.arg_start);
  record.set_arg_end(stat.arg_end);
  record.set_env_start(stat.env_start);
  record.set_env_end(stat.env_end);
  const std::vector<uint64_t> auxv = procfs::read_auxv(pid);
  record.mutable_auxv()->Assign(auxv.begin(), auxv.end());
}

void ask_mm(ScriptBuilder& script, Answers& answers, image::Mm& record) {
  const OpIndex brk = script.call("read the program break", SYS_brk, {0});
  const OpIndex dumpable = script.call("read whether it may be dumped", SYS_prctl, {PR_GET_DUMPABLE});
  const OpIndex huge_pages =
      script.call("read whether huge pages are disabled", SYS_prctl, {PR_GET_THP_DISABLE, 0, 0, 0, 0});
  // Kernels without these have nothing to tell.
  const OpIndex merge = script.call_may_fail(SYS_prctl, {kGetMemoryMerge, 0, 0, 0, 0});
  const OpIndex mdwe = script.call_may_fail(SYS_prctl, {kGetMdwe, 0, 0, 0, 0});
  answers.emplace_back([=, &record](const ScriptBuilder& ran) {
    record.set_brk(static_cast<uint64_t>(ran.result(brk)));
    record.set_dumpable(static_cast<int32_t>(ran.result(dumpable)));
    if (ran.result(huge_pages) > 1) {
      throw refusal("PR_THP_DISABLE_EXCEPT_ADVISED");
    }
    record.set_thp_disabled(ran.result(huge_pages) == 1);
    record.set_merge_any(ran.result(merge) > 0);
    record.set_mdwe(ran.result(mdwe) > 0 ? static_cast<uint32_t>(ran.result(mdwe)) : 0);
  });
}

}  // namespace godwit
