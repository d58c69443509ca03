#include "compat/become.h"

#include <unistd.h>

#include <csignal>

#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit::compat {

void become(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& word : command) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  const sigset_t ignored = signals_ignored_here();
  for (int signal = 1; signal < NSIG; ++signal) {
    if (sigismember(&ignored, signal) == 1) {
      ::signal(signal, SIG_DFL);
    }
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvp(arguments.front(), arguments.data());
  throw errno_error("cannot execute {}", command.front());
}

}  // namespace godwit::compat
