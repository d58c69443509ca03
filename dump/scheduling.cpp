#include <linux/prctl.h>
#include <sys/syscall.h>

#include "dump/collectors.h"
#include "images-format/scheduling_record.h"

namespace godwit {

void collect_scheduling(pid_t tid, image::Scheduling& record) {
  describe_scheduling(read_scheduling_state(tid), record);
}

void ask_timer_slack(ScriptBuilder& script, Answers& answers, image::Thread& record) {
  const OpIndex slack = script.call("read the timer slack", SYS_prctl, {PR_GET_TIMERSLACK, 0, 0, 0, 0});
  answers.emplace_back([slack, &record](const ScriptBuilder& ran) {
    record.mutable_scheduling()->set_timer_slack_ns(static_cast<uint64_t>(ran.result(slack)));
  });
}

}  // namespace godwit
