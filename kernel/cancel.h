#pragma once

#include <csignal>

/// SIGTERM, SIGINT and SIGHUP end long work in good order: a step that can still be undone asks here, and
/// everything acquired is let go on the way out.
namespace godwit {

/// Installs handlers that only note the signal, unless it is ignored (nohup(1), a shell's background jobs).
/// System calls that wait return EINTR. SIGPIPE and SIGXFSZ are ignored from then on: calls fail with EPIPE
/// and EFBIG instead.
void note_termination_signals();
/// These two: programs that we start must not inherit that.
[[nodiscard]] sigset_t signals_ignored_here();
/// The signal that asked for an end; 0: none.
[[nodiscard]] int termination_signal();
/// Whether that signal came from a terminal, which sends it to all of its foreground process group.
[[nodiscard]] bool termination_signal_is_a_terminals();
/// Throws Error if a signal has asked for an end.
void check_cancelled();
/// How many signals have asked for an end so far.
[[nodiscard]] unsigned termination_signals();
/// Waits until `fd` is readable (poll(2), POLLIN; its end or a failure counts too). Throws Error if a signal
/// asks for an end, also one that came before, except for the first `heeded`: those were acted upon, and what
/// is waited for belongs to that. The signals come through even where the caller holds them back.
void wait_readable(int fd, unsigned heeded = 0);

}  // namespace godwit
