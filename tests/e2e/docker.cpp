#include "tests/e2e/docker.h"

#include <signal.h>

#include <cstdlib>

#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/runtime.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {

void Docker::set_up(const std::string& environment) {
  for (const char* program : {"/usr/sbin/dockerd", "/usr/bin/docker", "/usr/sbin/runc", "/bin/busybox"}) {
    ASSERT_TRUE(have_program(program)) << program << " is needed (scripts/install-deps)";
  }
  ASSERT_TRUE(with_criu("ip netns add " + name_ + " && ip -n " + name_ + " link set lo up").ok());
  const std::string directory = state_.path();
  // What it starts has its PATH. The bridge and its rules are in our namespace.
  ASSERT_TRUE(with_criu(environment + " " + inside_ + "dockerd --experimental --data-root '" + directory +
                        "/data' --exec-root '" + directory + "/exec' --cgroup-parent /" + name_ +
                        " -H unix://" + directory + "/socket -p '" + directory + "/pid' >'" + directory +
                        "/log' 2>&1 &")
                  .ok());
  ASSERT_TRUE(wait_until([&] { return docker("version").ok(); }, 30))
      << try_read(state_ / "log").value_or("");
  const Outcome imported =
      with_criu("cd '" + directory + "' && mkdir -p fs/bin && cp /bin/busybox fs/bin/ && " +
                "for name in sh cat mv usleep sleep httpd; do ln -s busybox fs/bin/$name; done && " +
                "tar -C fs -cf fs.tar . && " + docker_ + "import fs.tar counter");
  ASSERT_TRUE(imported.ok()) << imported.words();
}

void Docker::TearDown() {
  if (HasFailure()) {
    std::fputs(with_criu("find '" + state_.path() + "' -name 'criu-*.log' | xargs tail -n 5").output.c_str(),
               stderr);
  }
  static_cast<void>(docker("rm --force first"));
  const pid_t daemon = std::atoi(try_read(state_ / "pid").value_or("").c_str());
  if (daemon > 0) {
    ::kill(daemon, SIGTERM);
    EXPECT_TRUE(wait_until_gone({daemon}, 30));
  }
  unmount_below(state_.path());
  EXPECT_TRUE(with_criu("ip netns del " + name_).ok());
  remove_cgroups(name_);
}

Outcome Docker::docker(const std::string& arguments) const {
  return with_criu(docker_ + arguments + " 2>&1");
}

std::vector<std::string> Docker::options_of_godwit() const {
  return {"--runtime-option=--host=unix://" + (state_ / "socket")};
}

int Docker::count() const {
  return std::atoi(docker("exec first cat /count").output.c_str());
}

bool Docker::counts() const {
  const int before = count();
  return wait_until([&] { return count() > before; }, 10);
}

std::string Docker::fetch() const {
  return with_criu(inside_ + "curl -s -S --max-time 5 http://127.0.0.1:18080/").output;
}

}  // namespace godwit::e2e
