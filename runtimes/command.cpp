#include "runtimes/command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
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
    ::posix_spawnattr_setflags(&attributes_, kFlags);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

  void in_group_of_its_own() {
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, kFlags | POSIX_SPAWN_SETPGROUP);
  }

 private:
  static constexpr short kFlags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  posix_spawnattr_t attributes_{};
};

/// The standard descriptors of a program that has nothing to read.
class SpawnDescriptors {
 public:
  SpawnDescriptors(int output, int errors) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, errors, STDERR_FILENO);
  }
  SpawnDescriptors(const SpawnDescriptors&) = delete;
  SpawnDescriptors& operator=(const SpawnDescriptors&) = delete;
  ~SpawnDescriptors() { ::posix_spawn_file_actions_destroy(&actions_); }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

/// What a program prints. A pipe would have to be read until everybody who has it has closed it, which
/// may be a monitor of a container that stays; and would break under that when we go.
class Printed {
 public:
  Printed() : file_(::memfd_create("output", MFD_CLOEXEC)) {
    if (!file_) {
      throw errno_error("cannot make a memfd");
    }
  }
  [[nodiscard]] int get() const { return file_.get(); }
  [[nodiscard]] std::string text() const {
    std::string text(kLongestOutput, '\0');
    size_t filled = 0;
    while (filled < text.size()) {
      const ssize_t got =
          ::pread(file_.get(), text.data() + filled, text.size() - filled, static_cast<off_t>(filled));
      if (got < 0) {
        throw errno_error("cannot read what a program printed");
      }
      if (got == 0) {
        break;
      }
      filled += static_cast<size_t>(got);
    }
    text.resize(filled);
    return text;
  }

 private:
  Fd file_;
};

pid_t spawn(std::vector<std::string> command, const std::string& first_in_path,
            const SpawnAttributes& attributes, const posix_spawn_file_actions_t* descriptors) {
  const char* const path = ::getenv("PATH");
  // What execvp(3) takes where there is none.
  std::vector<std::string> environment =
      environment_with_path(first_in_path + ":" + (path != nullptr ? path : "/bin:/usr/bin"));
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, command.front().c_str(), descriptors, attributes.get(),
                                     pointers(command).data(), pointers(environment).data());
  if (failure != 0) {
    throw Error(fmt::format("cannot execute {}", command.front()), failure);
  }
  return child;
}

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
  return spawn(std::move(command), first_in_path, SpawnAttributes(), nullptr);
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

CommandOutput run_command(std::vector<std::string> command, const std::string& first_in_path) {
  const Printed output;
  const Printed errors;
  SpawnAttributes attributes;
  attributes.in_group_of_its_own();
  const SpawnDescriptors descriptors(output.get(), errors.get());
  const int code = wait_for_command(spawn(std::move(command), first_in_path, attributes, descriptors.get()));
  return {.code = code, .output = output.text(), .errors = errors.text()};
}

}  // namespace godwit::runtimes
