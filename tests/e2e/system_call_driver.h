#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace godwit::e2e {

/// How a driven command ended.
struct DrivenEnd {
  long calls = 0;          // system calls that it entered, until the signal
  long number = -1;        // the system call at whose entry the signal was sent
  bool signalled = false;  // false: it ended before its `at`th call
  int status = 0;          // as wait(2) gives it
  std::string output;
};

/// Runs a command under ptrace(PTRACE_SYSCALL) and sends it `signal` at the entry of its `at`th system call
/// (from 1; 0: never), which with SIGKILL isn't made any more. All its threads are counted, its children
/// aren't. With `victim` that process gets the signal instead. At most `seconds` long, then it is killed.
DrivenEnd drive(const std::vector<std::string>& command, int signal, long at, double seconds = 60,
                pid_t victim = 0);

/// A system call's name, for x86-64; its number if it isn't one of those we know.
[[nodiscard]] std::string system_call_name(long number);

}  // namespace godwit::e2e
