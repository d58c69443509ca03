#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/error.h"
#include "parasite/script.h"

namespace godwit {

/// A place in which a script keeps a result for later operations (a descriptor, say).
struct Slot {
  uint8_t index = script::NO_SLOT;
};

/// An argument of a scripted system call: a number, an address in the target, or a slot's value.
struct Arg {
  template <std::integral T>
  Arg(T number) : value(static_cast<uint64_t>(static_cast<int64_t>(number))) {}  // NOLINT: meant to convert
  Arg(Slot slot) : value(slot.index), is_slot(true) {}                           // NOLINT: meant to convert
  uint64_t value;
  bool is_slot = false;
};

/// How a thread leaves the engine: see OP_FINISH.
struct Leaving {
  int signal = 0;             // shows the tracer that the script has been run
  uint64_t frame = 0;         // signal frame by which the thread leaves if there is no tracer
  uint64_t others = 0;        // 0: no other thread can be in the engine; otherwise a list of paths
  uint64_t frame_beside = 0;  // instead of `frame` if others of them may still be in [start, end)
  uint64_t start = 0;
  uint64_t end = 0;
};

/// Names an operation of a script, to ask for its result after the run.
struct OpIndex {
  uint32_t value;
};

/// Writes a script for the engine, and reads what came of it.
///
/// Everything that operations point to (strings, structures, room for answers) lies in the script's own
/// data, at addresses known from the start: `base` is where the script will lie in the process that runs
/// it. Script header first, data next, operations last.
class ScriptBuilder {
 public:
  explicit ScriptBuilder(uint64_t base);

  // Data. The addresses are those in the process that runs the script.

  /// `size` zeroed bytes, aligned to 8.
  uint64_t reserve(size_t size);
  uint64_t bytes(std::span<const std::byte> data);
  /// With a final zero byte.
  uint64_t string(std::string_view text);
  template <typename T>
  uint64_t object(const T& value) {
    return bytes(std::as_bytes(std::span(&value, 1)));
  }

  // Words for errors.

  /// What the following operations are about ("mapping 7f12a000-7f12c000"). Called only if one of them
  /// fails, perhaps much later: captures must outlive the builder.
  void subject(std::function<std::string()> text);

  // Operations. `doing` completes "…: cannot {doing}: errno" and must be a literal.

  OpIndex call(const char* doing, long number, std::initializer_list<Arg> args);
  /// The result stays in a slot until `release`.
  Slot call_to_slot(const char* doing, long number, std::initializer_list<Arg> args);
  /// An error is a result like any other.
  OpIndex call_may_fail(long number, std::initializer_list<Arg> args);
  /// `error` (a positive errno) is a result, other errors are failures.
  OpIndex call_may_fail_with(const char* doing, int error, long number, std::initializer_list<Arg> args);
  /// Fails (EPROTO) unless the result is `expected`, as for writes that must be whole.
  OpIndex call_expecting(const char* doing, int32_t expected, long number, std::initializer_list<Arg> args);
  /// Moves a descriptor to its number; the number it had is closed.
  void place(const char* doing, Arg descriptor, int number, bool close_on_exec);
  /// `clone_args`: address of a struct clone_args whose stack is the child's own; the child runs the
  /// Script at `child_script`. The result is the child's pid.
  OpIndex clone(const char* doing, uint64_t clone_args, size_t size, uint64_t child_script);
  void wait(uint64_t word, uint32_t at_least);
  void post(uint64_t word, uint64_t events);
  void store(uint64_t word, Arg value);
  /// What stands in the 32-bit `word` at that moment of the run, as pipe2(2) and socketpair(2) give
  /// descriptors. The slot stays until `release`.
  Slot load(uint64_t word);
  void copy(uint64_t to, uint64_t from, size_t size);
  /// The thread stops for its tracer, which looks at what the script has done so far; without one it goes on.
  /// `signal`: Parasite::signal.
  void pause(int signal);
  void finish(const Leaving& leaving);
  void park(uint64_t word, uint64_t events);
  void release(Slot slot);

  // After all operations: the bytes to put at `base`.

  [[nodiscard]] uint64_t base() const { return base_; }
  [[nodiscard]] size_t size() const;
  /// `events`: see script::Script.
  void write_to(std::span<std::byte> out, uint64_t events = 0) const;

  // After the run.

  /// Takes back the bytes that `write_to` wrote, as the run has left them.
  void load(std::span<const std::byte> ran);
  [[nodiscard]] int64_t result(OpIndex op) const;
  [[nodiscard]] std::span<const std::byte> data(uint64_t address, size_t size) const;
  template <typename T>
  [[nodiscard]] T read(uint64_t address) const {
    T value;
    std::memcpy(&value, data(address, sizeof(T)).data(), sizeof(T));
    return value;
  }
  /// Throws the failed operation's Error if `header` says that the script failed.
  void check(const script::Script& header) const;

 private:
  script::Op& add(script::OpKind kind, const char* doing);
  static void set_arguments(script::Op& op, std::initializer_list<Arg> args);
  Slot acquire();

  uint64_t base_;
  std::vector<std::byte> data_;  // from base_ on, the Script header included
  std::vector<script::Op> ops_;
  std::vector<const char*> doing_;
  std::vector<uint32_t> subject_of_;
  std::vector<std::function<std::string()>> subjects_;
  uint16_t free_slots_ = 0xffff;
};

}  // namespace godwit
