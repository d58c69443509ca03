#include "compat/become.h"

#include <unistd.h>

#include "kernel/error.h"

namespace godwit::compat {

void become(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& word : command) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  ::execvp(arguments.front(), arguments.data());
  throw errno_error("cannot execute {}", command.front());
}

}  // namespace godwit::compat
