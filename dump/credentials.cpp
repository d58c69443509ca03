#include <linux/prctl.h>
#include <sys/syscall.h>

#include "dump/collectors.h"

namespace godwit {

void collect_credentials(const procfs::Status& status, image::Credentials& record) {
  record.set_uid(status.uids[0]);
  record.set_euid(status.uids[1]);
  record.set_suid(status.uids[2]);
  record.set_fsuid(status.uids[3]);
  record.set_gid(status.gids[0]);
  record.set_egid(status.gids[1]);
  record.set_sgid(status.gids[2]);
  record.set_fsgid(status.gids[3]);
  record.mutable_groups()->Assign(status.groups.begin(), status.groups.end());
  record.set_inheritable(status.inheritable);
  record.set_permitted(status.permitted);
  record.set_effective(status.effective);
  record.set_bounding(status.bounding);
  record.set_ambient(status.ambient);
  record.set_no_new_privs(status.no_new_privs);
}

void ask_securebits(ScriptBuilder& script, Answers& answers, image::Thread& record) {
  const OpIndex bits = script.call("read the securebits", SYS_prctl, {PR_GET_SECUREBITS, 0, 0, 0, 0});
  answers.emplace_back([bits, &record](const ScriptBuilder& ran) {
    record.mutable_credentials()->set_securebits(static_cast<uint32_t>(ran.result(bits)));
  });
}

}  // namespace godwit
