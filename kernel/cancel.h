#pragma once

/// SIGTERM, SIGINT and SIGHUP end long work in good order: a step that can still be undone asks here, and
/// everything acquired is let go on the way out.
namespace godwit {

/// Installs handlers that only note the signal, unless it is ignored (nohup(1), a shell's background jobs).
/// System calls that wait return EINTR. SIGPIPE and SIGXFSZ are ignored from then on: calls fail with EPIPE
/// and EFBIG instead.
void note_termination_signals();
/// The signal that asked for an end; 0: none.
[[nodiscard]] int termination_signal();
/// Throws Error if a signal has asked for an end.
void check_cancelled();

}  // namespace godwit
