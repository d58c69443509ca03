// A tree whose root is the first process of a pid namespace: everything that has a number inside keeps it.
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <atomic>

#include "tests/workloads/workload.h"

namespace {

std::atomic<pid_t> thread_inside{0};
std::atomic<int> ticks{0};
std::atomic<pid_t> ticked_in{0};

void on_tick(int) {
  ticks.fetch_add(1);
  ticked_in.store(static_cast<pid_t>(syscall(SYS_gettid)));
}

void* thread(void*) {
  thread_inside = static_cast<pid_t>(syscall(SYS_gettid));
  workload::wait_to_go_on();
  workload::check_equal(syscall(SYS_gettid), thread_inside, "the thread's id");
  while (ticks == 0) {
    workload::pause_ms(1);
  }
  return nullptr;
}

/// Leads a session whose other member is in a group of its own.
[[noreturn]] void leader() {
  workload::must(setsid(), "setsid");
  const pid_t self = getpid();
  const pid_t member = fork();
  if (member == 0) {
    workload::must(setpgid(0, 0), "setpgid");
    const pid_t own = getpid();
    workload::mark("member-stands");
    workload::wait_to_go_on();
    workload::check_equal(getpid(), own, "pid of the member");
    workload::check_equal(getppid(), self, "its parent");
    workload::check_equal(getpgid(0), own, "its group");
    workload::check_equal(getsid(0), self, "its session");
    workload::finish_child();
  }
  workload::wait_for_mark("member-stands");
  workload::mark("leader-stands");
  workload::wait_to_go_on();
  workload::check_equal(getpid(), self, "pid of the leader");
  workload::check_equal(getppid(), 1, "parent of the leader");
  workload::check_equal(getsid(0), self, "session of the leader");
  workload::expect_end(member);
  workload::finish_child();
}

/// Its session's leader is gone: only the number is left.
pid_t orphan_of_a_session() {
  const pid_t middle = fork();
  if (middle == 0) {
    setsid();
    if (fork() == 0) {
      const pid_t session = getsid(0);
      while (getppid() != 1) {
        workload::pause_ms(1);
      }
      const pid_t own = getpid();
      workload::mark("orphan-stands");
      workload::wait_to_go_on();
      workload::check_equal(getpid(), own, "pid of the orphan");
      workload::check_equal(getsid(0), session, "session of the orphan");
      workload::finish_child();
    }
    _exit(0);
  }
  workload::expect_end(middle);
  workload::wait_for_mark("orphan-stands");
  return middle;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::must(getpid() == 1 ? 0 : -1, "be the first process");
  sigset_t blocked;  // in all threads: the first process gets no signal that it neither handles nor blocks
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  struct sigaction action {};
  action.sa_handler = on_tick;
  sigaction(SIGUSR1, &action, nullptr);
  pthread_t handle;
  pthread_create(&handle, nullptr, thread, nullptr);
  while (thread_inside == 0) {
    workload::pause_ms(1);
  }
  // A timer whose signal goes to that thread, which the dump must not name by its number outside.
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR1;
  event._sigev_un._tid = thread_inside;
  timer_t timer = nullptr;
  workload::must(timer_create(CLOCK_MONOTONIC, &event, &timer), "timer_create");
  const pid_t child = fork();
  if (child == 0) {
    leader();
  }
  const pid_t zombie = fork();
  if (zombie == 0) {
    _exit(7);
  }
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT);
  const pid_t stopped = fork();
  if (stopped == 0) {
    raise(SIGSTOP);
    workload::finish_child();
  }
  waitid(P_PID, static_cast<id_t>(stopped), &info, WSTOPPED | WNOWAIT);
  workload::wait_for_mark("leader-stands");
  orphan_of_a_session();
  // A pending signal to itself.
  sigval value{};
  value.sival_int = 4711;
  sigqueue(getpid(), SIGUSR2, value);
  workload::say_ready();
  workload::wait_to_go_on();
  workload::check_equal(getpid(), 1, "pid");
  workload::check_equal(getppid(), 0, "parent");
  itimerspec setting{};
  setting.it_value.tv_nsec = 1000000;
  timer_settime(timer, 0, &setting, nullptr);
  pthread_join(handle, nullptr);
  workload::check_equal(ticked_in, thread_inside, "the thread that got the timer's signal");
  workload::check(sigwaitinfo(&blocked, &info) == SIGUSR2, "the pending signal");
  workload::check_equal(info.si_pid, 1, "its sender");
  workload::check_equal(info.si_value.sival_int, 4711, "its value");
  workload::expect_end(zombie, 7 << 8);
  int status = 0;
  workload::check_equal(waitpid(stopped, &status, WUNTRACED), stopped, "the stopped child");
  workload::check(WIFSTOPPED(status), "it is stopped");
  kill(stopped, SIGCONT);
  workload::expect_end(stopped);
  workload::expect_end(child);
  // The orphan came to us.
  workload::check(wait(&status) > 0 && status == 0, "the orphan's end");
  workload::finish();
}
