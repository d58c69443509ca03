// Umask, working directory and root, of a parent and of children that have others.
#include <sys/stat.h>

#include "tests/workloads/workload.h"

namespace {

void check_cwd(const char* wanted) {
  char found[1024] = {};
  if (getcwd(found, sizeof found) == nullptr || strcmp(found, wanted) != 0) {
    workload::fail("the working directory is %s, not %s", found, wanted);
  }
}

void check_umask(mode_t wanted) {
  const mode_t found = umask(wanted);
  workload::check_equal(found, wanted, "umask");
}

[[noreturn]] void in_another_directory(const std::string& directory) {
  umask(0022);
  workload::must(chdir(directory.c_str()), "chdir");
  workload::mark("another");
  workload::wait_to_go_on();
  check_cwd(directory.c_str());
  check_umask(0022);
  workload::check(access("file", F_OK) == 0, "a path relative to the working directory");
  workload::finish_child();
}

[[noreturn]] void in_another_root(const std::string& root) {
  umask(0777);
  workload::must(chroot(root.c_str()), "chroot");
  workload::must(chdir("/sub/sub"), "chdir");
  strcpy(workload::directory, "/");
  umask(0);
  workload::mark("jailed");
  umask(0777);
  workload::wait_to_go_on();
  check_cwd("/sub/sub");
  workload::check(access("/proc/self/maps", F_OK) != 0, "/proc can be seen in the other root");
  check_umask(0777);
  umask(0022);
  if (workload::exists("failures")) {
    _exit(1);
  }
  workload::finish_child();
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const std::string here = workload::directory;
  umask(0);
  workload::must(mkdir((here + "/sub").c_str(), 0755), "mkdir");
  workload::must(mkdir((here + "/sub/sub").c_str(), 0755), "mkdir");
  workload::must(mkdir((here + "/spaces in its name").c_str(), 0755), "mkdir");
  workload::mark("spaces in its name/file");
  workload::must(chdir((here + "/sub").c_str()), "chdir");
  const pid_t another = fork();
  if (another == 0) {
    in_another_directory(here + "/spaces in its name");
  }
  const bool may_chroot = geteuid() == 0;
  const pid_t jailed = may_chroot ? fork() : 0;
  if (may_chroot && jailed == 0) {
    in_another_root(here);
  }
  umask(0137);
  workload::wait_for_mark("another");
  if (may_chroot) {
    workload::wait_for_mark("jailed");
  }
  workload::say_ready();
  workload::wait_to_go_on();
  check_cwd((here + "/sub").c_str());
  check_umask(0137);
  umask(0022);
  workload::expect_end(another);
  if (may_chroot) {
    workload::expect_end(jailed);
  }
  workload::finish();
}
