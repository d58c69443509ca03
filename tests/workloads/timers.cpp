// Interval timers and POSIX timers: ids, clocks (CPU clocks too), how they notify, intervals and what is
// left.
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>

#include "tests/workloads/workload.h"

namespace {

constexpr int kPeriodic = 35;
constexpr int kToThread = 36;
constexpr int kCpu = 37;

std::atomic<int> alarms{0};
std::atomic<int> periodic{0};
std::atomic<int> to_thread{0};
std::atomic<int> cpu{0};
std::atomic<bool> wrong_value{false};
std::atomic<bool> wrong_thread{false};
std::atomic<pid_t> thread_tid{0};
std::atomic<bool> go_on{false};

void on_alarm(int) {
  ++alarms;
}

void on_timer(int signal, siginfo_t* info, void*) {
  if (info->si_code != SI_TIMER || info->si_value.sival_int != signal * 1000) {
    wrong_value = true;
  }
  if (signal == kPeriodic) {
    ++periodic;
  } else if (signal == kToThread) {
    ++to_thread;
    if (workload::gettid() != thread_tid) {
      wrong_thread = true;
    }
  } else {
    ++cpu;
  }
}

/// By the system call itself: the id is the kernel's.
int create(clockid_t clock, int notify, int signal, int value, pid_t tid = 0) {
  sigevent event{};
  event.sigev_notify = notify;
  event.sigev_signo = signal;
  event.sigev_value.sival_int = value;
  event._sigev_un._tid = tid;
  int id = -1;
  workload::must(syscall(SYS_timer_create, clock, &event, &id), "timer_create");
  return id;
}

void arm(int id, uint64_t first_ns, uint64_t interval_ns) {
  itimerspec time{};
  time.it_value = {static_cast<time_t>(first_ns / 1000000000U), static_cast<long>(first_ns % 1000000000U)};
  time.it_interval = {static_cast<time_t>(interval_ns / 1000000000U),
                      static_cast<long>(interval_ns % 1000000000U)};
  workload::must(syscall(SYS_timer_settime, id, 0, &time, nullptr), "timer_settime");
}

uint64_t ns_of(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1000000000U + static_cast<uint64_t>(time.tv_nsec);
}

/// What is left lies between `least` and `most`.
void check_timer(const char* what, int id, uint64_t least, uint64_t most, uint64_t interval) {
  itimerspec time{};
  if (syscall(SYS_timer_gettime, id, &time) != 0) {
    workload::fail("%s: timer %d: %s", what, id, strerror(errno));
    return;
  }
  const uint64_t left = ns_of(time.it_value);
  if (left < least || left > most || ns_of(time.it_interval) != interval) {
    workload::fail("%s: timer %d has %llu ns left, interval %llu", what, id,
                   static_cast<unsigned long long>(left),
                   static_cast<unsigned long long>(ns_of(time.it_interval)));
  }
}

void* target_of_timer(void*) {
  thread_tid = workload::gettid();
  while (!go_on) {
    workload::pause_ms(2);
  }
  return nullptr;
}

void burn_cpu_ms(unsigned ms) {
  const uint64_t until = workload::now_ns(CLOCK_THREAD_CPUTIME_ID) + ms * 1000000ULL;
  while (workload::now_ns(CLOCK_THREAD_CPUTIME_ID) < until) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = on_alarm;
  action.sa_flags = SA_RESTART;
  workload::must(sigaction(SIGALRM, &action, nullptr), "sigaction");
  action.sa_sigaction = on_timer;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  for (const int signal : {kPeriodic, kToThread, kCpu}) {
    workload::must(sigaction(signal, &action, nullptr), "sigaction");
  }
  pthread_t thread{};
  workload::must(-pthread_create(&thread, nullptr, target_of_timer, nullptr), "pthread_create");
  while (thread_tid == 0) {
    workload::pause_ms(1);
  }

  const itimerval real{{0, 50000}, {0, 50000}};
  const itimerval process{{7, 0}, {1000, 5000}};
  const itimerval profile{{0, 0}, {2000, 0}};
  workload::must(setitimer(ITIMER_REAL, &real, nullptr), "setitimer");
  workload::must(setitimer(ITIMER_VIRTUAL, &process, nullptr), "setitimer");
  workload::must(setitimer(ITIMER_PROF, &profile, nullptr), "setitimer");

  constexpr uint64_t kSecond = 1000000000;
  // Gaps in the ids: timers that are made and deleted again.
  const int gone_first = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  const int monotonic = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, kPeriodic, kPeriodic * 1000);
  const int gone_second = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  const int unarmed = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 0);
  const int boottime = create(CLOCK_BOOTTIME, SIGEV_NONE, 0, 0);
  const int thread_target = create(CLOCK_MONOTONIC, SIGEV_THREAD_ID, kToThread, kToThread * 1000, thread_tid);
  const int process_cpu = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, kCpu, kCpu * 1000);
  const int thread_cpu = create(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, kCpu, kCpu * 1000);
  clockid_t clock_of_thread{};
  pthread_getcpuclockid(thread, &clock_of_thread);
  const int other_cpu = create(clock_of_thread, SIGEV_NONE, 0, 0);
  const int realtime = create(CLOCK_REALTIME, SIGEV_NONE, 0, 0);
  const int expired = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  syscall(SYS_timer_delete, gone_first);
  syscall(SYS_timer_delete, gone_second);
  arm(monotonic, kSecond / 20, kSecond / 20);
  arm(boottime, 5000 * kSecond, 3 * kSecond);
  arm(thread_target, kSecond / 10, kSecond / 10);
  arm(process_cpu, 3000 * kSecond, kSecond);
  arm(thread_cpu, kSecond / 20, kSecond / 20);
  arm(other_cpu, 700 * kSecond, 0);
  arm(realtime, 4000 * kSecond, 0);
  arm(expired, 1000000, 0);
  workload::pause_ms(60);
  const uint64_t start = workload::now_ns();
  workload::say_ready();
  workload::wait_to_go_on();

  const uint64_t passed = workload::now_ns() - start + kSecond / 5;
  check_timer("unarmed", unarmed, 0, 0, 0);
  check_timer("boottime", boottime, 5000 * kSecond - passed, 5000 * kSecond, 3 * kSecond);
  check_timer("realtime", realtime, 4000 * kSecond - passed, 4000 * kSecond, 0);
  check_timer("process cpu", process_cpu, 3000 * kSecond - passed, 3000 * kSecond, kSecond);
  check_timer("thread cpu of another thread", other_cpu, 700 * kSecond - passed, 700 * kSecond, 0);
  check_timer("expired", expired, 0, 0, 0);
  check_timer("periodic", monotonic, 1, kSecond / 20, kSecond / 20);
  workload::check(syscall(SYS_timer_delete, gone_second) != 0, "a timer that had been deleted is there");

  itimerval now{};
  getitimer(ITIMER_VIRTUAL, &now);
  workload::check(now.it_interval.tv_sec == 7 && now.it_value.tv_sec >= 990 && now.it_value.tv_sec <= 1000,
                  "ITIMER_VIRTUAL");
  getitimer(ITIMER_PROF, &now);
  workload::check(now.it_interval.tv_sec == 0 && now.it_value.tv_sec >= 1990 && now.it_value.tv_sec <= 2000,
                  "ITIMER_PROF");
  getitimer(ITIMER_REAL, &now);
  workload::check(now.it_interval.tv_usec == 50000 && now.it_value.tv_usec <= 50000, "ITIMER_REAL");

  const int alarms_before = alarms;
  const int periodic_before = periodic;
  const int to_thread_before = to_thread;
  const int cpu_before = cpu;
  // A signal cuts pauses into pieces; what counts is that the time passes.
  const uint64_t until = workload::now_ns() + kSecond / 2;
  burn_cpu_ms(200);
  while (workload::now_ns() < until) {
    workload::pause_ms(5);
  }
  workload::check(alarms - alarms_before >= 3 && alarms - alarms_before <= 40,
                  "ITIMER_REAL goes on at its rate");
  workload::check(periodic - periodic_before >= 3 && periodic - periodic_before <= 40,
                  "the periodic timer goes on");
  workload::check(to_thread - to_thread_before >= 2, "the thread's timer goes on");
  workload::check(cpu > cpu_before, "the cpu timer goes on");
  workload::check(!wrong_value, "a timer's signal had another value");
  workload::check(!wrong_thread, "a timer's signal came to another thread");
  go_on = true;
  pthread_join(thread, nullptr);
  workload::finish();
}
