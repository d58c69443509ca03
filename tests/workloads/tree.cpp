// A tree of processes: deep and broad, sessions and process groups whose leaders are dead, zombies, stopped
// tasks, orphans that came to a subreaper, children with other exit signals.
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr int kDepth = 6;
constexpr int kBreadth = 20;

struct Identity {
  pid_t pid;
  pid_t parent;
  pid_t group;
  pid_t session;
};

Identity identity() {
  return {getpid(), getppid(), getpgrp(), getsid(0)};
}

void check_identity(const Identity& before, const char* who) {
  const Identity now = identity();
  if (memcmp(&before, &now, sizeof now) != 0) {
    workload::fail("%s: pid %d parent %d group %d session %d, not %d %d %d %d", who, now.pid, now.parent,
                   now.group, now.session, before.pid, before.parent, before.group, before.session);
  }
}

std::string mark_name(const char* kind, int number) {
  return std::string(kind) + "-" + std::to_string(number);
}

/// Stands until the test goes on, checks who it is, and ends with `code`.
[[noreturn]] void stand(const std::string& mark, int code = 0) {
  const Identity before = identity();
  workload::mark(mark.c_str());
  workload::wait_to_go_on();
  check_identity(before, mark.c_str());
  _exit(code);
}

pid_t start(const std::string& mark, int code = 0) {
  const pid_t pid = fork();
  if (pid == 0) {
    stand(mark, code);
  }
  return pid;
}

/// A chain of children, each of which waits for the next.
[[noreturn]] void descend(int level) {
  if (level == 0) {
    stand("bottom");
  }
  const pid_t child = fork();
  if (child == 0) {
    // Every other one opens a session or a process group.
    if (level % 3 == 0) {
      setsid();
    } else if (level % 3 == 1) {
      setpgid(0, 0);
    }
    descend(level - 1);
  }
  const Identity before = identity();
  workload::wait_to_go_on();
  check_identity(before, "the chain");
  workload::expect_end(child);
  _exit(0);
}

/// Starts `body` in a grandchild whose parent dies at once, after `prepare` in the parent. The orphan comes
/// to the nearest subreaper: us.
void orphan(const std::string& mark, void (*prepare)(), void (*prepare_orphan)()) {
  const pid_t parent = fork();
  if (parent == 0) {
    prepare();
    if (fork() == 0) {
      while (getppid() != 1 && kill(getppid(), 0) == 0 && !workload::exists((mark + "-alone").c_str())) {
        workload::pause_ms(1);
      }
      prepare_orphan();
      stand(mark);
    }
    _exit(0);
  }
  workload::expect_end(parent);
  workload::mark((mark + "-alone").c_str());
  workload::wait_for_mark(mark);
}

void nothing() {}
void new_session() {
  setsid();
}
void new_group() {
  setpgid(0, 0);
}

pid_t zombie(int code, int signal) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (signal != 0) {
      raise(signal);
    }
    _exit(code);
  }
  siginfo_t info{};
  workload::must(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), "waitid");
  return pid;
}

/// A dead leader of a session that isn't reaped, while a member of the session lives on.
pid_t zombie_session_leader() {
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    if (fork() == 0) {
      while (!workload::exists("zombie-leader-dead")) {
        workload::pause_ms(1);
      }
      stand("member-of-zombie");
    }
    _exit(33);
  }
  siginfo_t info{};
  workload::must(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), "waitid");
  workload::mark("zombie-leader-dead");
  workload::wait_for_mark("member-of-zombie");
  return pid;
}

pid_t stopped(int signal, bool collect) {
  const std::string mark = mark_name("stopped", signal);
  const pid_t pid = fork();
  if (pid == 0) {
    // In an orphaned process group SIGTSTP does nothing; a group of its own has us as parent outside.
    setpgid(0, 0);
    stand(mark);
  }
  workload::wait_for_mark(mark);
  kill(pid, signal);
  siginfo_t info{};
  workload::must(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | (collect ? 0 : WNOWAIT)), "waitid");
  return pid;
}

pid_t with_exit_signal(int signal) {
  clone_args arguments{};
  arguments.exit_signal = static_cast<uint64_t>(signal);
  const long pid = workload::must(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3");
  if (pid == 0) {
    stand(mark_name("exit-signal", signal));
  }
  workload::wait_for_mark(mark_name("exit-signal", signal));
  return static_cast<pid_t>(pid);
}

[[noreturn]] void inner_subreaper() {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  orphan("inner-orphan", nothing, nothing);
  const Identity before = identity();
  workload::mark("inner-subreaper");
  workload::wait_to_go_on();
  check_identity(before, "inner subreaper");
  int status = -1;
  workload::check(wait(&status) > 0 && status == 0, "the inner subreaper's orphan");
  _exit(0);
}

/// A member of a session that a child of ours leads, one level below: its parent dies while we aren't a
/// subreaper, so that it falls past us to the root; then we become one, and get an orphan of that session
/// too.
[[noreturn]] void late_subreaper() {
  const pid_t leader = fork();
  if (leader == 0) {
    setsid();
    orphan("past-orphan", nothing, nothing);
    workload::mark("past-orphan-fell");
    workload::wait_for_mark("late-subreaper");
    orphan("late-orphan", nothing, nothing);
    stand("late-leader");
  }
  workload::wait_for_mark("past-orphan-fell");
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  workload::mark("late-subreaper");
  workload::wait_for_mark("late-leader");
  const Identity before = identity();
  workload::mark("late-subreaper-stands");
  workload::wait_to_go_on();
  check_identity(before, "late subreaper");
  workload::expect_end(leader);
  int status = -1;
  workload::check(wait(&status) > 0 && status == 0, "the late subreaper's orphan");
  workload::check(wait(&status) == -1 && errno == ECHILD, "the late subreaper has one orphan");
  _exit(0);
}

/// A zombie whose end was told by a signal that has been taken since.
pid_t zombie_with_exit_signal(int signal) {
  clone_args arguments{};
  arguments.exit_signal = static_cast<uint64_t>(signal);
  const long pid = workload::must(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3");
  if (pid == 0) {
    _exit(17);
  }
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  workload::must(sigwaitinfo(&set, nullptr), "sigwaitinfo");
  return static_cast<pid_t>(pid);
}

void check_zombie_with_exit_signal(pid_t pid, int signal) {
  sigset_t set;
  sigpending(&set);
  workload::check_equal(sigismember(&set, signal), 0, "the zombie's signal is pending again");
  int status = 0;
  workload::check(waitpid(pid, &status, __WCLONE) == pid && status == 17 << 8,
                  "zombie with a signal of its own");
}

void check_stopped(pid_t pid, int signal, bool collected) {
  siginfo_t info{};
  const int result = waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WNOHANG | WNOWAIT);
  if (result != 0 || (info.si_pid == pid) == collected || (!collected && info.si_status != signal)) {
    workload::fail("stop of %d by %d: waitid returns %d, pid %d, status %d", pid, signal, result, info.si_pid,
                   info.si_status);
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  char text[512] = {};
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const bool complete = read(fd, text, sizeof text - 1) > 0;
  close(fd);
  workload::check(complete && strstr(text, ") T ") != nullptr, "the stopped task stays stopped");
  kill(pid, SIGCONT);
  workload::expect_end(pid);
}

/// Not children that plain wait(2) sees; and of the two only the loud one's end is told by a signal.
void check_exit_signals(pid_t silent, pid_t loud) {
  for (const pid_t pid : {silent, loud}) {
    workload::check(waitpid(pid, nullptr, WNOHANG) == -1 && errno == ECHILD, "plain wait sees a clone");
    int status = -1;
    workload::check(waitpid(pid, &status, __WCLONE) == pid && status == 0, "waiting for a clone");
  }
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  const timespec none{};
  siginfo_t info{};
  workload::check_equal(sigtimedwait(&set, &info, &none), SIGUSR1, "signal at the end of a clone");
  workload::check_equal(info.si_pid, loud, "whose end the signal tells");
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  sigaddset(&set, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &set, nullptr);

  const pid_t chain = fork();
  if (chain == 0) {
    descend(kDepth);
  }
  std::vector<pid_t> broad;
  for (int i = 0; i < kBreadth; ++i) {
    broad.push_back(start(mark_name("broad", i), i));
  }
  const pid_t exited = zombie(42, 0);
  const pid_t killed = zombie(0, SIGKILL);
  const pid_t aborted = zombie(0, SIGABRT);
  const pid_t zombie_leader = zombie_session_leader();
  orphan("orphan", nothing, nothing);
  orphan("session-without-leader", new_session, nothing);
  orphan("session-without-leader-own-group", new_session, new_group);
  orphan("group-without-leader", new_group, nothing);
  const pid_t inner = fork();
  if (inner == 0) {
    inner_subreaper();
  }
  const pid_t late = fork();
  if (late == 0) {
    late_subreaper();
  }
  const pid_t zombies[] = {zombie_with_exit_signal(SIGUSR2), zombie_with_exit_signal(SIGRTMIN),
                           zombie_with_exit_signal(SIGRTMIN)};
  const pid_t stopped_reported = stopped(SIGTSTP, true);
  const pid_t stopped_unreported = stopped(SIGSTOP, false);
  const pid_t stopped_by_terminal = stopped(SIGTTIN, false);
  const pid_t silent = with_exit_signal(0);
  const pid_t loud = with_exit_signal(SIGUSR1);
  workload::wait_for_mark("inner-subreaper");
  workload::wait_for_mark("late-subreaper-stands");
  workload::wait_for_mark("bottom");
  for (int i = 0; i < kBreadth; ++i) {
    workload::wait_for_mark(mark_name("broad", i));
  }
  const Identity before = identity();
  workload::say_ready();
  workload::wait_to_go_on();

  check_identity(before, "root");
  workload::expect_end(exited, 42 << 8);
  workload::expect_end(killed, SIGKILL);
  int status = 0;
  workload::check(
      waitpid(aborted, &status, 0) == aborted && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
      "status of the aborted child");
  workload::expect_end(zombie_leader, 33 << 8);
  check_stopped(stopped_reported, SIGTSTP, true);
  check_stopped(stopped_unreported, SIGSTOP, false);
  check_stopped(stopped_by_terminal, SIGTTIN, false);
  check_exit_signals(silent, loud);
  check_zombie_with_exit_signal(zombies[0], SIGUSR2);
  check_zombie_with_exit_signal(zombies[1], SIGRTMIN);
  check_zombie_with_exit_signal(zombies[2], SIGRTMIN);
  workload::expect_end(chain);
  for (int i = 0; i < kBreadth; ++i) {
    workload::expect_end(broad[static_cast<size_t>(i)], i << 8);
  }
  workload::expect_end(inner);
  workload::expect_end(late);
  // What is left are the orphans.
  int orphans = 0;
  while (wait(&status) > 0) {
    workload::check_equal(status, 0, "status of an orphan");
    ++orphans;
  }
  workload::check_equal(orphans, 6, "orphans");
  workload::finish();
}
