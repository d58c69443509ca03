// Threads with all sorts of scheduling: policy, priority, nice, affinity, timer slack, I/O priority.
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <atomic>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr int kIoBestEffort = 2 << 13;
constexpr int kIoIdle = 3 << 13;

struct Setting {
  int policy = SCHED_OTHER;
  int priority = 0;
  int nice = 0;
  int cpu = -1;             // -1: all
  unsigned long slack = 0;  // ns; 0: as it is
  int io_priority = 0;      // 0: as it is
  bool needs_privilege = false;
};

constexpr Setting kSettings[] = {
    {SCHED_BATCH, 0, 3, 0, 123456, kIoBestEffort | 6, false},
    {SCHED_IDLE, 0, 0, 1, 1, kIoIdle, false},
    {SCHED_OTHER, 0, 19, -1, 9000000, kIoBestEffort | 1, false},
    {SCHED_OTHER | SCHED_RESET_ON_FORK, 0, 5, 0, 0, 0, false},
    {SCHED_OTHER, 0, -7, 1, 77, 0, true},
    {SCHED_FIFO, 11, 0, 0, 0, 0, true},
    {SCHED_RR | SCHED_RESET_ON_FORK, 22, 0, -1, 0, kIoBestEffort | 3, true},
};

struct State {
  int policy = 0;
  int priority = 0;
  int nice = 0;
  cpu_set_t cpus{};
  long slack = 0;
  long io_priority = 0;
};

State look() {
  State state;
  const pid_t tid = workload::gettid();
  state.policy = sched_getscheduler(tid);
  sched_param parameters{};
  sched_getparam(tid, &parameters);
  state.priority = parameters.sched_priority;
  state.nice = getpriority(PRIO_PROCESS, static_cast<id_t>(tid));
  sched_getaffinity(tid, sizeof state.cpus, &state.cpus);
  state.slack = prctl(PR_GET_TIMERSLACK);
  state.io_priority = syscall(SYS_ioprio_get, 1, tid);
  return state;
}

std::atomic<int> standing{0};
std::atomic<bool> go_on{false};

void* body(void* argument) {
  const Setting& setting = *static_cast<const Setting*>(argument);
  const pid_t tid = workload::gettid();
  if (setting.cpu >= 0) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(setting.cpu, &cpus);
    if (sched_setaffinity(tid, sizeof cpus, &cpus) != 0 && errno != EINVAL) {
      workload::must(-1, "sched_setaffinity");
    }
  }
  if (setting.slack != 0) {
    workload::must(prctl(PR_SET_TIMERSLACK, setting.slack), "PR_SET_TIMERSLACK");
  }
  if (setting.nice != 0) {
    workload::must(setpriority(PRIO_PROCESS, static_cast<id_t>(tid), setting.nice), "setpriority");
  }
  const sched_param parameters{setting.priority};
  // A cgroup without real-time budget forbids real-time policies; then there is nothing to keep.
  if (sched_setscheduler(tid, setting.policy, &parameters) != 0 && setting.priority == 0) {
    workload::must(-1, "sched_setscheduler");
  }
  if (setting.io_priority != 0) {
    workload::must(syscall(SYS_ioprio_set, 1, tid, setting.io_priority), "ioprio_set");
  }
  const State before = look();
  ++standing;
  while (!go_on) {
    workload::pause_ms(3);
  }
  const State after = look();
  workload::check_equal(after.policy, before.policy, "policy");
  workload::check_equal(after.priority, before.priority, "priority");
  workload::check_equal(after.nice, before.nice, "nice");
  workload::check(CPU_EQUAL(&after.cpus, &before.cpus) != 0, "affinity");
  workload::check_equal(after.slack, before.slack, "timer slack");
  workload::check_equal(after.io_priority, before.io_priority, "I/O priority");
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::vector<pthread_t> threads;
  for (const Setting& setting : kSettings) {
    if (setting.needs_privilege && geteuid() != 0) {
      continue;
    }
    pthread_t thread{};
    workload::must(-pthread_create(&thread, nullptr, body, const_cast<Setting*>(&setting)), "pthread_create");
    threads.push_back(thread);
  }
  while (standing < static_cast<int>(threads.size())) {
    workload::pause_ms(1);
  }
  workload::say_ready();
  workload::wait_to_go_on();
  go_on = true;
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  workload::finish();
}
