#include "runtimes/command.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::runtimes {

namespace {

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) {
    all.push_back(word.data());
  }
  all.push_back(nullptr);
  return all;
}

/// Our environment, with another PATH.
std::vector<std::string> environment_with_path(const std::string& path) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with("PATH=")) {
      environment.emplace_back(*entry);
    }
  }
  environment.push_back("PATH=" + path);
  return environment;
}

/// Signals as a program expects them.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    sigset_t none;
    sigemptyset(&none);
    const sigset_t ignored = signals_ignored_here();
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &ignored);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

}  // namespace

std::string directory_of_criu() {
  const std::string self = read_link("/proc/self/exe");
  std::string directory = self.substr(0, self.rfind('/'));
  const std::string criu = directory + "/criu";
  if (::access(criu.c_str(), X_OK) != 0) {
    throw errno_error("cannot execute {}, by which runtimes restore", criu);
  }
  return directory;
}

pid_t start_command(std::vector<std::string> command, const std::string& first_in_path) {
  const char* const path = ::getenv("PATH");
  // What execvp(3) takes where there is none.
  std::vector<std::string> environment =
      environment_with_path(first_in_path + ":" + (path != nullptr ? path : "/bin:/usr/bin"));
  const SpawnAttributes attributes;
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, command.front().c_str(), nullptr, attributes.get(),
                                     pointers(command).data(), pointers(environment).data());
  if (failure != 0) {
    throw Error(fmt::format("cannot execute {}", command.front()), failure);
  }
  return child;
}

int wait_for_command(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      throw errno_error("cannot wait for task {}", child);
    }
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace godwit::runtimes
