#include "tests/e2e/pipeline.h"

#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace godwit::e2e {

Outcome run_pipeline(pid_t root, std::string line, const std::string& copies) {
  const std::string name = "GODWIT";
  for (size_t at = line.find(name); at != std::string::npos; at = line.find(name, at)) {
    line.replace(at, name.size(), "'" GODWIT_BINARY "'");
  }
  std::atomic<bool> done = false;
  std::thread reaping([&, left = tree_of(root)]() mutable {
    while (!done) {
      std::erase_if(left, [](pid_t pid) { return waitpid(pid, nullptr, WNOHANG | __WALL) == pid; });
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const Outcome outcome =
      run({"/bin/bash", "-c", "set -o pipefail; export TMPDIR='" + copies + "'; " + line});
  done = true;
  reaping.join();
  return outcome;
}

}  // namespace godwit::e2e
