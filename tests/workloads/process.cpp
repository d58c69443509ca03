// What a process is as a whole: name, command line and environment as /proc shows them after the program has
// overwritten them, personality, dumpable, parent-death signal, subreaper, huge pages off, OOM score.
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include <atomic>

#include "tests/workloads/workload.h"

extern char** environ;

namespace {

void write_file(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) != static_cast<ssize_t>(strlen(text))) {
    workload::must(-1, path);
  }
  close(fd);
}

void expect_file(const char* path, const char* wanted, size_t length) {
  char found[4096] = {};
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t n = read(fd, found, sizeof found);
  close(fd);
  if (n < static_cast<ssize_t>(length) || memcmp(found, wanted, length) != 0) {
    workload::fail("%s is %.100s, not %.100s", path, found, wanted);
  }
}

std::atomic<int> death_signals{0};
void on_death(int) {
  ++death_signals;
}

/// Gets its signal when its parent ends; a second child of the same parent has none.
[[noreturn]] void child_with_death_signal() {
  struct sigaction action {};
  action.sa_handler = on_death;
  sigaction(SIGUSR1, &action, nullptr);
  workload::must(prctl(PR_SET_PDEATHSIG, SIGUSR1), "PR_SET_PDEATHSIG");
  workload::mark("child-stands");
  workload::wait_to_go_on();
  int signal = 0;
  prctl(PR_GET_PDEATHSIG, &signal);
  workload::check_equal(signal, SIGUSR1, "parent-death signal");
  workload::check_equal(death_signals, 0, "parent-death signals before the parent's end");
  workload::mark("child-checked");
  for (int i = 0; death_signals == 0 && i < 5000; ++i) {
    workload::pause_ms(1);
  }
  workload::check_equal(death_signals, 1, "parent-death signals");
  workload::finish_child();
}

[[noreturn]] void middle() {
  const pid_t child = fork();
  if (child == 0) {
    child_with_death_signal();
  }
  workload::wait_to_go_on();
  workload::wait_for_mark("child-checked");
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  // Everything that has to be read or written in /proc/self comes before dumpable is taken away.
  write_file("/proc/self/oom_score_adj", "345");
  write_file("/proc/self/coredump_filter", "0x7");
  // As setproctitle does it, over the arguments and the environment.
  const size_t room = strlen(argv[0]) + 1;
  memset(argv[0], 'T', room - 1);
  memcpy(argv[0], "title of its own", 16);
  char title[4096];
  memcpy(title, argv[0], room);
  char* variable = environ[0];
  variable[0] = 'Q';
  prctl(PR_SET_NAME, "its own (name)");
  workload::must(personality(ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC | ADDR_COMPAT_LAYOUT), "personality");
  workload::must(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER");
  workload::must(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), "PR_SET_THP_DISABLE");
  const pid_t parent = fork();
  if (parent == 0) {
    workload::must(personality(0), "personality");
    middle();
  }
  workload::wait_for_mark("child-stands");
  workload::must(prctl(PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE");
  workload::say_ready();
  workload::wait_to_go_on();
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  workload::check(strcmp(name, "its own (name)") == 0, "name");
  workload::check_equal(personality(0xffffffff), ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC | ADDR_COMPAT_LAYOUT,
                        "personality");
  int subreaper = 0;
  prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  workload::check_equal(subreaper, 1, "child subreaper");
  workload::check_equal(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1, "huge pages disabled");
  workload::check_equal(prctl(PR_GET_DUMPABLE), 0, "dumpable");
  int death_signal = -1;
  prctl(PR_GET_PDEATHSIG, &death_signal);
  workload::check_equal(death_signal, 0, "parent-death signal of the parent");
  prctl(PR_SET_DUMPABLE, 1);
  expect_file("/proc/self/oom_score_adj", "345\n", 4);
  expect_file("/proc/self/coredump_filter", "00000007\n", 9);
  expect_file("/proc/self/cmdline", title, room);
  expect_file("/proc/self/environ", "Q", 1);
  workload::expect_end(parent);
  // Its child came to us, the subreaper.
  int status = 0;
  workload::check(wait(&status) > 0 && status == 0, "the orphan comes to the subreaper");
  workload::finish();
}
