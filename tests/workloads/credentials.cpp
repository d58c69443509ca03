// Threads with credentials of their own: ids, groups, all five capability sets, securebits, no_new_privs.
// As another user only what that user may change.
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <atomic>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

std::atomic<int> standing{0};
std::atomic<bool> go_on{false};

// By the system calls themselves: the C library would change all threads.

void set_ids(unsigned real, unsigned effective, unsigned saved, unsigned fs) {
  workload::must(syscall(SYS_setresgid, real + 1, effective + 1, saved + 1), "setresgid");
  syscall(SYS_setfsgid, fs + 1);
  workload::must(syscall(SYS_setresuid, real, effective, saved), "setresuid");
  syscall(SYS_setfsuid, fs);
}

void set_groups(std::vector<gid_t> groups) {
  workload::must(syscall(SYS_setgroups, groups.size(), groups.data()), "setgroups");
}

struct Capabilities {
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
  bool operator==(const Capabilities&) const = default;
};

Capabilities capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  syscall(SYS_capget, &header, data);
  const auto both = [](uint32_t low, uint32_t high) { return low | static_cast<uint64_t>(high) << 32; };
  return {both(data[0].effective, data[1].effective), both(data[0].permitted, data[1].permitted),
          both(data[0].inheritable, data[1].inheritable)};
}

void set_capabilities(const Capabilities& wanted) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int i = 0; i < 2; ++i) {
    data[i].effective = static_cast<uint32_t>(wanted.effective >> 32 * i);
    data[i].permitted = static_cast<uint32_t>(wanted.permitted >> 32 * i);
    data[i].inheritable = static_cast<uint32_t>(wanted.inheritable >> 32 * i);
  }
  workload::must(syscall(SYS_capset, &header, data), "capset");
}

struct State {
  uid_t uids[4]{};
  gid_t gids[4]{};
  std::vector<gid_t> groups;
  Capabilities sets;
  uint64_t bounding = 0;
  uint64_t ambient = 0;
  long securebits = 0;
  long no_new_privs = 0;
  long keep_capabilities = 0;
};

State look() {
  State state;
  getresuid(&state.uids[0], &state.uids[1], &state.uids[2]);
  state.uids[3] = static_cast<uid_t>(syscall(SYS_setfsuid, -1));
  getresgid(&state.gids[0], &state.gids[1], &state.gids[2]);
  state.gids[3] = static_cast<gid_t>(syscall(SYS_setfsgid, -1));
  state.groups.resize(100);
  state.groups.resize(static_cast<size_t>(getgroups(100, state.groups.data())));
  state.sets = capabilities();
  for (unsigned capability = 0; capability < 64; ++capability) {
    if (prctl(PR_CAPBSET_READ, capability) == 1) {
      state.bounding |= 1ULL << capability;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1) {
      state.ambient |= 1ULL << capability;
    }
  }
  state.securebits = prctl(PR_GET_SECUREBITS);
  state.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  state.keep_capabilities = prctl(PR_GET_KEEPCAPS);
  return state;
}

void stand_and_compare(const char* name) {
  const State before = look();
  ++standing;
  while (!go_on) {
    workload::pause_ms(3);
  }
  const State after = look();
  // Whoever has dropped its ids may be unable to write the verdict: the harness sees the differences too, but
  // the exit of the process says it all.
  const bool same = memcmp(before.uids, after.uids, sizeof before.uids) == 0 &&
                    memcmp(before.gids, after.gids, sizeof before.gids) == 0 &&
                    before.groups == after.groups && before.sets == after.sets &&
                    before.bounding == after.bounding && before.ambient == after.ambient &&
                    before.securebits == after.securebits && before.no_new_privs == after.no_new_privs &&
                    before.keep_capabilities == after.keep_capabilities;
  if (!same) {
    workload::fail(
        "credentials of the thread with %s changed: securebits 0x%lx to 0x%lx, keepcaps %ld to %ld", name,
        before.securebits, after.securebits, before.keep_capabilities, after.keep_capabilities);
  }
}

void* other_ids(void*) {
  set_groups({5, 7, 70000, 4000000000U});
  set_ids(1000, 2000, 3000, 4000);
  stand_and_compare("other ids");
  return nullptr;
}

/// Root's ids without root's powers.
void* few_capabilities(void*) {
  for (const unsigned long capability : {CAP_SYS_BOOT, CAP_MKNOD, CAP_NET_RAW}) {
    workload::must(prctl(PR_CAPBSET_DROP, capability), "PR_CAPBSET_DROP");
  }
  set_capabilities({1ULL << CAP_DAC_OVERRIDE, 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_CHOWN | 1ULL << CAP_KILL,
                    1ULL << CAP_CHOWN | 1ULL << CAP_SETPCAP});
  stand_and_compare("few capabilities");
  return nullptr;
}

/// A user with ambient capabilities, kept by securebits.
void* ambient_capabilities(void*) {
  workload::must(prctl(PR_SET_SECUREBITS,
                       SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED),
                 "PR_SET_SECUREBITS");
  set_ids(1234, 1234, 1234, 1234);
  const uint64_t some = 1ULL << CAP_NET_BIND_SERVICE | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_SYS_NICE;
  set_capabilities({some, some | 1ULL << CAP_SETUID, some});
  for (const unsigned long capability : {CAP_NET_BIND_SERVICE, CAP_DAC_OVERRIDE}) {
    workload::must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0), "PR_CAP_AMBIENT_RAISE");
  }
  stand_and_compare("ambient capabilities");
  return nullptr;
}

void* no_new_privileges(void*) {
  workload::must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  stand_and_compare("no_new_privs");
  return nullptr;
}

void* keep_capabilities(void*) {
  workload::must(prctl(PR_SET_KEEPCAPS, 1), "PR_SET_KEEPCAPS");
  stand_and_compare("keepcaps");
  return nullptr;
}

/// Nothing left at all.
void* nothing(void*) {
  set_groups({});
  set_ids(60000, 60000, 60000, 60000);
  stand_and_compare("nothing");
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const bool privileged = geteuid() == 0;
  if (privileged) {
    // Every thread can leave its verdict.
    workload::must(chmod(workload::directory, 0777), "chmod");
  }
  std::vector<void* (*)(void*)> bodies = {no_new_privileges, keep_capabilities};
  if (privileged) {
    bodies.insert(bodies.end(), {other_ids, few_capabilities, ambient_capabilities, nothing});
  }
  std::vector<pthread_t> threads;
  for (void* (*body)(void*) : bodies) {
    pthread_t thread{};
    workload::must(-pthread_create(&thread, nullptr, body, nullptr), "pthread_create");
    threads.push_back(thread);
  }
  while (standing < static_cast<int>(threads.size())) {
    workload::pause_ms(1);
  }
  if (privileged) {
    set_groups({1, 2, 3, 500});
  }
  const State before = look();
  workload::say_ready();
  workload::wait_to_go_on();
  const State after = look();
  workload::check(before.groups == after.groups, "groups of the leader");
  workload::check(before.sets == after.sets && before.bounding == after.bounding,
                  "capabilities of the leader");
  workload::check_equal(after.no_new_privs, 0, "no_new_privs of the leader");
  go_on = true;
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  workload::finish();
}
