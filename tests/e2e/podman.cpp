#include "tests/e2e/podman.h"

#include <unistd.h>

#include <cstdlib>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/runtime.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {

std::vector<std::string> Podman::options() const {
  return {"--network-config-dir=" + (state_ / "networks"),
          "--runroot=" + (state_ / "run"),
          "--tmpdir=" + (state_ / "tmp"),
          "--runtime=runc",
          "--cgroup-manager=cgroupfs",
          "--events-backend=file"};
}

std::string Podman::line() const {
  std::string line = "podman --root='" + (state_ / "root") + "'";
  for (const std::string& option : options()) {
    line += " '" + option + "'";
  }
  return line + " ";
}

std::vector<std::string> Podman::options_of_godwit() const {
  std::vector<std::string> words{"--runtime-root", state_ / "root"};
  for (const std::string& option : options()) {
    words.push_back("--runtime-option=" + option);
  }
  return words;
}

void Podman::SetUp() {
  for (const char* program : {"/usr/bin/podman", "/usr/sbin/runc", "/bin/busybox"}) {
    ASSERT_TRUE(have_program(program)) << program << " is needed (scripts/install-deps)";
  }
  const Outcome imported = with_criu(
      "cd '" + state_.path() + "' && mkdir -p fs/bin && cp /bin/busybox fs/bin/ && " +
      "for name in sh cat mv usleep sleep httpd md5sum rm; do ln -s busybox fs/bin/$name; done && " +
      "tar -C fs -cf fs.tar . && " + line() + " import fs.tar counter");
  ASSERT_TRUE(imported.ok()) << imported.words();
}

void Podman::start(const std::string& options, const std::string& before_counting) const {
  const Outcome started =
      podman("run -d " + options + " --cgroup-parent /" + cgroup_ +
             " --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --name first counter /bin/sh -c '" +
             before_counting + kCountForever + "'");
  ASSERT_TRUE(started.ok()) << started.words();
  ASSERT_TRUE(counts("first"));
}

void Podman::TearDown() {
  for (const char* name : {"first", "second"}) {
    static_cast<void>(podman(std::string("rm --force --time 0 --ignore ") + name));
  }
  // Its storage is mounted on itself, and stays so.
  unmount_below(state_.path());
  remove_cgroups(cgroup_);
}

Outcome Podman::podman(const std::string& arguments) const {
  const std::string output = state_ / "output";
  Outcome outcome = with_criu(before_ + line() + arguments + " >'" + output + "' 2>&1");
  outcome.output += try_read(output).value_or("");
  return outcome;
}

int Podman::count(const std::string& name) const {
  return std::atoi(podman("exec " + name + " cat /count").output.c_str());
}

bool Podman::counts(const std::string& name) const {
  const int before = count(name);
  return wait_until([&] { return count(name) > before; }, 10);
}

int Podman::last_line(const std::string& name) const {
  return std::atoi(podman("logs --tail 1 " + name).output.c_str());
}

}  // namespace godwit::e2e
