#include "tests/e2e/harness.h"

#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {

namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  for (const std::string& word : words) {
    result.push_back(const_cast<char*>(word.c_str()));
  }
  result.push_back(nullptr);
  return result;
}

/// The program gets no descriptor of ours but what `in_child` hands it.
void close_all_on_exec() {
  constexpr unsigned kCloseOnExec = 1U << 2;  // CLOSE_RANGE_CLOEXEC, since Linux 5.11
  syscall(SYS_close_range, 3U, ~0U, kCloseOnExec);
}

/// In the new child. Returns only with an error.
void become(const std::vector<std::string>& arguments, const LaunchOptions& options) {
  if (options.new_session && setsid() < 0) {
    return;
  }
  const std::string output = options.output.empty() ? "/dev/null" : options.output;
  const int in = open("/dev/null", O_RDONLY);
  const int out = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ||
      chdir(options.working_directory.c_str()) != 0) {
    return;
  }
  if (options.uid != 0 && out >= 0 && fchown(out, options.uid, options.uid) != 0 && !options.output.empty()) {
    return;
  }
  close_all_on_exec();
  if (options.in_child) {
    options.in_child();
  }
  if (options.uid != 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(options.uid, options.uid, options.uid) != 0 ||
        setresuid(options.uid, options.uid, options.uid) != 0) {
      return;
    }
  }
  execve(arguments[0].c_str(), pointers(arguments).data(), pointers(options.environment).data());
}

int remove_entry(const char* path, const struct stat*, int, struct FTW*) {
  return remove(path);
}

Fd open_pidfd(pid_t pid) {
  return Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0U)));
}

bool ended_within(const Fd& pidfd, double seconds) {
  pollfd poll_for{pidfd.get(), POLLIN, 0};
  const Clock::time_point deadline =
      Clock::now() + std::chrono::microseconds(static_cast<long>(seconds * 1e6));
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const int n = poll(&poll_for, 1, static_cast<int>(std::max<long>(left, 0)));
    if (n > 0 || (n == 0 && left <= 0)) {
      return n > 0;
    }
  }
}

}  // namespace

TemporaryDirectory::TemporaryDirectory(uid_t owner) {
  const char* base = getenv("TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/godwit-e2e-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr || chmod(path_.c_str(), 0755) != 0 ||
      chown(path_.c_str(), owner, owner) != 0) {
    throw errno_error("cannot make a temporary directory {}", path_);
  }
}

TemporaryDirectory::~TemporaryDirectory() {
  nftw(path_.c_str(), remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

Reaper::Reaper() {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

Reaper::~Reaper() {
  for (int round = 0; round < 1000; ++round) {
    const std::vector<pid_t> left = descendants();
    if (left.empty()) {
      break;
    }
    for (const pid_t pid : left) {
      kill(pid, SIGKILL);
    }
    for (const pid_t pid : left) {
      waitpid(pid, nullptr, WNOHANG | __WALL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

pid_t launch(const std::vector<std::string>& arguments, const LaunchOptions& options) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw errno_error("cannot make a pipe");
  }
  Fd from(ends[0]);
  Fd to(ends[1]);
  const auto pid = static_cast<pid_t>(
      syscall(SYS_clone, options.namespaces | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (pid < 0) {
    throw errno_error("cannot fork");
  }
  if (pid == 0) {
    become(arguments, options);
    const int code = errno;
    [[maybe_unused]] const ssize_t written = write(to.get(), &code, sizeof code);
    _exit(127);
  }
  to.reset();
  int code = 0;
  if (read(from.get(), &code, sizeof code) == sizeof code) {
    waitpid(pid, nullptr, 0);
    throw Error("cannot execute " + arguments[0], code);
  }
  return pid;
}

bool wait_until(const std::function<bool()>& condition, double seconds) {
  const Clock::time_point deadline =
      Clock::now() + std::chrono::microseconds(static_cast<long>(seconds * 1e6));
  while (!condition()) {
    if (Clock::now() > deadline) {
      return condition();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

std::string Outcome::words() const {
  const std::string end = hung          ? std::string("hung and was killed")
                          : signal != 0 ? fmt::format("died by signal {}", signal)
                                        : fmt::format("ended with exit code {}", exit_code);
  return end + (output.empty() ? "" : ", saying:\n" + output);
}

void LaunchOptions::pass_settings() {
  for (const char* name : {"GODWIT_HIDE_FEATURES", "ASAN_OPTIONS", "UBSAN_OPTIONS"}) {
    if (const char* value = getenv(name)) {
      environment.push_back(fmt::format("{}={}", name, value));
    }
  }
}

Outcome run(const std::vector<std::string>& arguments, double seconds, uid_t uid) {
  // A file, not a pipe: what inherits it by mistake doesn't keep us waiting.
  const Fd output(memfd_create("output", MFD_CLOEXEC));
  LaunchOptions options;
  options.pass_settings();
  options.uid = uid;
  options.new_session = false;
  options.output = fmt::format("/proc/{}/fd/{}", getpid(), output.get());
  const pid_t pid = launch(arguments, options);
  Outcome outcome;
  const Fd pidfd = open_pidfd(pid);
  if (!ended_within(pidfd, seconds)) {
    outcome.hung = true;
    kill(pid, SIGKILL);
  }
  int status = 0;
  if (waitpid(pid, &status, 0) == pid) {
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
  lseek(output.get(), 0, SEEK_SET);
  outcome.output = read_all(output.get(), "output");
  return outcome;
}

Outcome godwit(std::vector<std::string> arguments, double seconds) {
  const char* extra = getenv("GODWIT_E2E_ARGS");
  const std::vector<std::string> front = words_of(extra != nullptr ? extra : "");
  arguments.insert(arguments.begin(), front.begin(), front.end());
  arguments.insert(arguments.begin(), GODWIT_BINARY);
  return run(arguments, seconds);
}

namespace {

/// `option`: -D or -o.
Outcome dump_by(const char* option, pid_t pid, const std::string& path,
                const std::vector<std::string>& extra) {
  const std::vector<pid_t> tree = tree_of(pid);
  std::vector<std::string> arguments = {"dump", "-t", std::to_string(pid), option, path};
  arguments.insert(arguments.end(), extra.begin(), extra.end());
  Outcome outcome = godwit(arguments);
  const bool stays = std::any_of(extra.begin(), extra.end(),
                                 [](const std::string& word) { return word.starts_with("--leave"); });
  if (outcome.ok() && !stays && !wait_until_gone(tree)) {
    outcome.exit_code = -1;
    outcome.output += "the tree was not killed after its dump\n";
  }
  return outcome;
}

/// `option`: -D or -i.
Restored restore_by(const char* option, const std::string& path, const std::vector<std::string>& extra) {
  TemporaryDirectory scratch;
  const std::string pid_file = scratch / "pid";
  std::vector<std::string> arguments = {"restore", option, path, "--detach", "--pidfile", pid_file};
  arguments.insert(arguments.end(), extra.begin(), extra.end());
  Restored restored;
  restored.outcome = godwit(arguments);
  if (restored.outcome.ok()) {
    restored.root = atoi(try_read(pid_file).value_or("0").c_str());
  }
  return restored;
}

}  // namespace

Outcome dump(pid_t pid, const std::string& directory, const std::vector<std::string>& extra) {
  return dump_by("-D", pid, directory, extra);
}

Outcome dump_to_file(pid_t pid, const std::string& file, const std::vector<std::string>& extra) {
  return dump_by("-o", pid, file, extra);
}

Restored restore(const std::string& directory, const std::vector<std::string>& extra) {
  return restore_by("-D", directory, extra);
}

Restored restore_from_file(const std::string& file, const std::vector<std::string>& extra) {
  return restore_by("-i", file, extra);
}

int wait_for_end(pid_t child, double seconds) {
  int status = -1;
  const bool ended = wait_until([&] { return waitpid(child, &status, WNOHANG) == child; }, seconds);
  return ended ? status : -1;
}

bool wait_until_gone(const std::vector<pid_t>& pids, double seconds) {
  return wait_until(
      [&] {
        return std::all_of(pids.begin(), pids.end(), [](pid_t pid) {
          waitpid(pid, nullptr, WNOHANG | __WALL);
          return kill(pid, 0) != 0 && errno == ESRCH;
        });
      },
      seconds);
}

void kill_tree(pid_t root) {
  const std::vector<pid_t> tree = tree_of(root);
  for (const pid_t pid : tree) {
    kill(pid, SIGKILL);
  }
  if (!wait_until_gone(tree)) {
    throw error("the tree of {} can't be killed", root);
  }
}

std::vector<pid_t> descendants() {
  std::vector<pid_t> all = tree_of(getpid());
  all.erase(all.begin());
  return all;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  constexpr size_t kMost = 60;
  for (size_t i = 0; i < lines.size() && i < kMost; ++i) {
    text += lines[i] + "\n";
  }
  return lines.size() <= kMost ? text : text + fmt::format("... and {} more\n", lines.size() - kMost);
}

}  // namespace godwit::e2e
