// What every workload program uses: it gets a directory as first argument, prepares the state that it is
// about, says ready, waits until the test lets it go on (dumped and restored meanwhile, or not), checks
// itself and leaves a verdict. Between these moments it holds nothing that the state isn't about: files
// are opened and closed at once, waiting is a short nanosleep(2) in a loop.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

namespace workload {

inline char directory[512];

inline std::string in_directory(const char* name) {
  return std::string(directory) + "/" + name;
}

/// Appends a line to a file in the workload's directory; lines of several processes don't mix.
inline void append(const char* name, const char* line) {
  const int fd = open(in_directory(name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, line, strlen(line)) != static_cast<ssize_t>(strlen(line))) {
    _exit(99);
  }
  close(fd);
}

/// Notes that something isn't as it should be. Any process or thread of the workload may call it.
[[gnu::format(printf, 1, 2)]] inline void fail(const char* format, ...) {
  char text[900];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text - 1, format, arguments);
  va_end(arguments);
  strcat(text, "\n");
  append("failures", text);
}

/// `what` in words, if `ok` is false.
inline bool check(bool ok, const char* what) {
  if (!ok) {
    fail("%s", what);
  }
  return ok;
}

inline bool check_equal(long long found, long long wanted, const char* what) {
  if (found != wanted) {
    fail("%s is %lld (0x%llx), not %lld (0x%llx)", what, found, static_cast<unsigned long long>(found),
         wanted, static_cast<unsigned long long>(wanted));
  }
  return found == wanted;
}

/// For preparations: a system call that must succeed before there is anything to test.
inline long must(long result, const char* what) {
  if (result < 0) {
    fail("preparing: %s: %s", what, strerror(errno));
    append("result", "fail: could not prepare\n");
    _exit(98);
  }
  return result;
}

inline void pause_ms(long ms) {
  timespec wait{ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&wait, &wait) != 0 && errno == EINTR) {
  }
}

inline uint64_t now_ns(clockid_t clock = CLOCK_MONOTONIC) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000U + static_cast<uint64_t>(now.tv_nsec);
}

inline bool exists(const char* name) {
  return access(in_directory(name).c_str(), F_OK) == 0;
}

/// A mark is an empty directory, since making one opens no descriptor that a dump could find: processes of
/// the workload tell each other, and the test, how far they are.
inline void mark(const char* name) {
  if (mkdir(in_directory(name).c_str(), 0755) != 0) {
    _exit(97);
  }
}

inline void wait_for_mark(const char* name) {
  while (!exists(name)) {
    pause_ms(5);
  }
}

inline void wait_for_mark(const std::string& name) {
  wait_for_mark(name.c_str());
}

/// First thing in main.
inline void begin(int argc, char** argv) {
  if (argc < 2 || strlen(argv[1]) >= sizeof directory) {
    fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    exit(2);
  }
  strcpy(directory, argv[1]);
}

/// Everything stands: the test may look, dump and restore.
inline void say_ready() {
  mark("ready");
}

/// Until the test says so. In any process of the workload.
inline void wait_to_go_on() {
  wait_for_mark("go");
}

/// Has somebody noted a failure so far?
inline bool failed() {
  return exists("failures");
}

/// Last thing in the root's main: the verdict.
[[noreturn]] inline void finish() {
  const bool bad = failed();
  append("result", bad ? "fail\n" : "pass\n");
  _exit(bad ? 1 : 0);
}

/// Last thing in a child's main.
[[noreturn]] inline void finish_child() {
  _exit(0);
}

/// Waits for a child and checks that it ended with `status` (as wait(2) reports it).
inline void expect_end(pid_t child, int status = 0) {
  int found = 0;
  const pid_t waited = waitpid(child, &found, 0);
  if (waited != child) {
    fail("waiting for child %d: %s", child, strerror(errno));
  } else if (found != status) {
    fail("child %d ended with status 0x%x, not 0x%x", child, static_cast<unsigned>(found),
         static_cast<unsigned>(status));
  }
}

/// The letter that stat shows: 'S' of one that waits. '?' if there is none.
inline char state_of_task(pid_t tid) {
  char path[64];
  char text[512] = {};
  snprintf(path, sizeof path, "/proc/%d/stat", tid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  close(fd);
  const char* end = got > 0 ? strrchr(text, ')') : nullptr;
  return end != nullptr && strlen(end) > 2 ? end[2] : '?';
}

/// Until it waits in a system call, as a child does that has come as far as it can.
inline void wait_until_asleep(pid_t tid) {
  while (state_of_task(tid) != 'S') {
    pause_ms(1);
  }
}

inline pid_t gettid() {
  return static_cast<pid_t>(syscall(SYS_gettid));
}

}  // namespace workload
