#include "compat/notifier.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit::compat {

namespace {

/// Signals as a program expects them: a restore holds all of them back.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

std::vector<std::string> environment(std::string_view moment, const std::string& images, pid_t root) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("CRTOOLS_")) {
      variables.emplace_back(*variable);
    }
  }
  variables.push_back(fmt::format("CRTOOLS_SCRIPT_ACTION={}", moment));
  variables.push_back("CRTOOLS_IMAGE_DIR=" + images);
  variables.push_back(fmt::format("CRTOOLS_VERSION={}.{}", PeerVersion::kMajor, PeerVersion::kMinor));
  if (root != 0) {
    variables.push_back(fmt::format("CRTOOLS_INIT_PID={}", root));
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

void Notifier::tell(std::string_view moment, pid_t root) const {
  log::debug("{}: scripts and client are told", moment);
  for (const std::string& script : scripts_) {
    run(script, moment, root);
  }
  ask(moment, root);
}

void Notifier::ask(std::string_view moment, pid_t root) const {
  if (ask_) {
    ask_(moment, root);
  }
}

void Notifier::run(const std::string& script, std::string_view moment, pid_t root) const {
  std::vector<std::string> arguments{"/bin/sh", "-c", script};
  std::vector<std::string> variables = environment(moment, images_path_, root);
  pid_t child = 0;
  if (const int code = ::posix_spawn(&child, "/bin/sh", nullptr, SpawnAttributes().get(),
                                     pointers(arguments).data(), pointers(variables).data());
      code != 0) {
    throw Error(fmt::format("cannot start the action script '{}'", script), code);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      throw errno_error("cannot wait for the action script '{}'", script);
    }
  }
  if (status != 0) {
    throw WIFEXITED(status)
        ? error("the action script '{}' failed at {} with exit code {}", script, moment, WEXITSTATUS(status))
        : error("the action script '{}' was ended at {} by signal {}", script, moment, WTERMSIG(status));
  }
}

}  // namespace godwit::compat
