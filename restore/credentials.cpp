#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "restore/state.h"

namespace godwit {

namespace {

constexpr int kLastCapability = 63;

bool same(const image::Credentials& wanted, const Baseline& baseline) {
  const procfs::Status& have = baseline.status;
  return wanted.uid() == have.uids[0] && wanted.euid() == have.uids[1] && wanted.suid() == have.uids[2] &&
         wanted.fsuid() == have.uids[3] && wanted.gid() == have.gids[0] && wanted.egid() == have.gids[1] &&
         wanted.sgid() == have.gids[2] && wanted.fsgid() == have.gids[3] &&
         std::equal(wanted.groups().begin(), wanted.groups().end(), have.groups.begin(), have.groups.end()) &&
         wanted.inheritable() == have.inheritable && wanted.permitted() == have.permitted &&
         wanted.effective() == have.effective && wanted.bounding() == have.bounding &&
         wanted.ambient() == have.ambient && wanted.securebits() == baseline.securebits;
}

void emit_capset(ScriptBuilder& script, uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const auto low = [](uint64_t set) { return static_cast<uint32_t>(set); };
  const auto high = [](uint64_t set) { return static_cast<uint32_t>(set >> 32); };
  const std::array<__user_cap_data_struct, 2> data{{{low(effective), low(permitted), low(inheritable)},
                                                    {high(effective), high(permitted), high(inheritable)}}};
  const uint64_t header_at = script.object(header);
  script.call("set capabilities", SYS_capset, {header_at, script.object(data)});
}

template <typename Visit>
void for_each_capability(uint64_t set, Visit visit) {
  for (int capability = 0; capability <= kLastCapability; ++capability) {
    if ((set >> capability & 1) != 0) {
      visit(capability);
    }
  }
}

}  // namespace

// The order matters. Ids change while SECBIT_NO_SETUID_FIXUP keeps all capabilities; ambient ones are raised
// while the securebits don't forbid it yet; securebits change while CAP_SETPCAP is still there.
void emit_credentials(ScriptBuilder& script, const image::Credentials& c, const Baseline& baseline) {
  if (!same(c, baseline)) {
    const uint64_t full = baseline.status.permitted;
    script.call("keep capabilities", SYS_prctl, {PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0});
    for_each_capability(baseline.status.bounding & ~c.bounding(), [&](int capability) {
      script.call("drop a capability from the bounding set", SYS_prctl,
                  {PR_CAPBSET_DROP, capability, 0, 0, 0});
    });
    const uint64_t groups =
        script.bytes(std::as_bytes(std::span(c.groups().data(), static_cast<size_t>(c.groups_size()))));
    script.call("set supplementary groups", SYS_setgroups, {c.groups_size(), groups});
    script.call("set group ids", SYS_setresgid, {c.gid(), c.egid(), c.sgid()});
    script.call("set user ids", SYS_setresuid, {c.uid(), c.euid(), c.suid()});
    script.call("set the file system's group id", SYS_setfsgid, {c.fsgid()});
    script.call("set the file system's user id", SYS_setfsuid, {c.fsuid()});
    emit_capset(script, full, full, c.inheritable());
    script.call("clear ambient capabilities", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0});
    for_each_capability(c.ambient(), [&](int capability) {
      script.call("raise an ambient capability", SYS_prctl,
                  {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0});
    });
    script.call("set securebits", SYS_prctl, {PR_SET_SECUREBITS, c.securebits(), 0, 0, 0});
    emit_capset(script, c.effective(), c.permitted(), c.inheritable());
  }
  if (c.no_new_privs() && !baseline.status.no_new_privs) {
    script.call("set no_new_privs", SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0});
  }
}

}  // namespace godwit
