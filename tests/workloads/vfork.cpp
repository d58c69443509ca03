// A parent that waits for its vfork child, until that is released.
#include "tests/workloads/workload.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const pid_t child = vfork();
  if (child == 0) {
    workload::say_ready();
    workload::wait_for_mark("release");
    _exit(3);
  }
  workload::must(child, "vfork");
  workload::mark("released");
  workload::wait_to_go_on();
  workload::expect_end(child, 3 << 8);
  workload::finish();
}
