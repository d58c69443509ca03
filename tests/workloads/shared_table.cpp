// Descriptor tables that processes share (CLONE_FILES without CLONE_VM), down to a grandchild, beside others
// that have a copy; a child that shares the working directory only; what one opens or closes the others see.
#include <sched.h>
#include <sys/eventfd.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

/// As fork, with these flags.
pid_t clone_process(unsigned long flags) {
  return static_cast<pid_t>(must(syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0), "clone"));
}

bool is_open(int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

constexpr int kFromChild = 100;
constexpr int kFromGrandchild = 101;
constexpr int kFromRoot = 102;

void grandchild(int event) {
  mark("grandchild");
  wait_for_mark("child opened");
  check(is_open(kFromChild), "the grandchild sees what the child opened");
  check(dup3(event, kFromGrandchild, O_CLOEXEC) == kFromGrandchild, "the grandchild opens");
  mark("grandchild opened");
  finish_child();
}

void child(int event) {
  const pid_t below = clone_process(CLONE_FILES);
  if (below == 0) {
    grandchild(event);
  }
  mark("child");
  wait_to_go_on();
  eventfd_t count = 0;
  check(eventfd_read(event, &count) == 0 && count == 3, "the eventfd");
  check(dup2(event, kFromChild) == kFromChild, "the child opens");
  mark("child opened");
  wait_for_mark("root opened");
  check(is_open(kFromRoot), "the child sees what the root opened");
  expect_end(below);
  finish_child();
}

/// Has a copy of the table.
void sibling() {
  mark("sibling");
  wait_for_mark("root opened");
  check(!is_open(kFromChild) && !is_open(kFromGrandchild) && !is_open(kFromRoot),
        "a copy of the table doesn't change");
  finish_child();
}

/// Has a copy of the table, but the root's working directory.
void lodger() {
  mark("lodger");
  wait_to_go_on();
  check(chdir(directory) == 0, "chdir");
  mark("moved");
  finish_child();
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const int event = static_cast<int>(must(eventfd(3, EFD_NONBLOCK), "eventfd"));
  must(dup3(event, 50, O_CLOEXEC), "dup3");
  const pid_t sharer = clone_process(CLONE_FILES);
  if (sharer == 0) {
    child(event);
  }
  wait_for_mark("child");
  wait_for_mark("grandchild");
  const pid_t copier = clone_process(0);
  if (copier == 0) {
    sibling();
  }
  const pid_t guest = clone_process(CLONE_FS);
  if (guest == 0) {
    lodger();
  }
  wait_for_mark("sibling");
  wait_for_mark("lodger");

  say_ready();
  wait_to_go_on();
  wait_for_mark("grandchild opened");
  check(is_open(kFromChild) && fcntl(kFromGrandchild, F_GETFD) == FD_CLOEXEC, "the root sees both");
  check(fcntl(50, F_GETFD) == FD_CLOEXEC && fcntl(event, F_GETFD) == 0, "flags of descriptors");
  check(eventfd_write(kFromGrandchild, 9) == 0, "write to what the grandchild opened");
  eventfd_t count = 0;
  check(eventfd_read(50, &count) == 0 && count == 9, "it is the same");
  check(dup2(event, kFromRoot) == kFromRoot, "the root opens");
  mark("root opened");
  wait_for_mark("moved");
  char here[600] = {};
  check(getcwd(here, sizeof here) != nullptr && strcmp(here, directory) == 0,
        "the working directory that a child shares");
  for (const pid_t one : {sharer, copier, guest}) {
    expect_end(one);
  }
  finish();
}
