#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "kernel/fd.h"
#include "parasite/script_builder.h"
#include "plan/plan.h"

namespace godwit {

/// Futex words by which a node tells how far it has come, and is told to go on. Each only grows.
struct NodeWords {
  uint32_t created;        // it exists
  uint32_t group_ready;    // its own process group exists
  uint32_t joined;         // it is in the group it belongs to (or has never had to join one)
  uint32_t laid_out;       // its mappings stand and may be filled
  uint32_t filled;         // by the coordinator: its memory is there
  uint32_t threads_ready;  // all its threads exist
  uint32_t seized;         // by the coordinator: it can't outlive us any more
  uint32_t guarded;        // it no longer depends on its cloner's life
  uint32_t parked;         // count of its threads that have nothing left to do
  uint32_t stopped;        // by the coordinator: it stands in its group stop
  uint32_t ended;          // zombies and helpers, by their parent: it has exited
  uint32_t adopting;       // orphans fall to it
  uint32_t leaving;        // zombies and helpers: they have done all, and end
  uint32_t placed;         // by the coordinator: it is in its own cgroups
  uint32_t unused[2];      // a cache line a node
};
static_assert(sizeof(NodeWords) == 64);

/// A stretch of address space that neither this process nor any task of the image uses: every process that
/// is made finds engine, scripts, stacks and words in it at the same addresses.
///
///     park | engine code (private, read and execute) | words, scripts, stacks (shared)
///
/// `park` is a hole into which the first node moves its vdso before it throws away everything else.
class Region {
 public:
  /// Chooses the place; maps nothing yet. `vdso_bytes`: size of park. Throws Error.
  Region(const Plan& plan, size_t vdso_bytes);
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  /// Unmaps it in this process.
  ~Region();

  [[nodiscard]] uint64_t start() const { return start_; }
  /// End of what is kept free for it; before map() it isn't known how much of that is used.
  [[nodiscard]] uint64_t limit() const { return limit_; }
  /// What a task unmaps at last: [engine, end). After map().
  [[nodiscard]] uint64_t end() const { return shared_ + shared_bytes_; }
  [[nodiscard]] uint64_t park() const { return start_; }
  [[nodiscard]] uint64_t engine() const { return code_; }

  /// Address of a node's word, say `word(3, &NodeWords::filled)`.
  [[nodiscard]] uint64_t word(int node, uint32_t NodeWords::*member) const;
  /// Bumped whenever a node has posted something: what the coordinator waits for.
  [[nodiscard]] uint64_t events() const;

  /// Where the next script goes. Append each before the next is begun.
  [[nodiscard]] uint64_t next_script() const { return shared_ + used_; }
  /// Keeps the builder (for its errors) and its place. Returns the script's index.
  size_t append(ScriptBuilder script);
  /// Lowest address of the stack that belongs to an appended script.
  [[nodiscard]] uint64_t stack_of(uint64_t script) const { return stacks_.at(script); }
  static constexpr size_t kStackBytes = 4096;

  enum class Sharing {
    ByInheritance,  // with processes that we clone from now on
    ByDescriptor,   // also with one that exists
  };
  /// Maps everything and copies the scripts into it. Throws Error.
  void map(Sharing sharing);

  // From here on: after map().

  [[nodiscard]] uint32_t read(int node, uint32_t NodeWords::*member) const;
  void post(int node, uint32_t NodeWords::*member);
  /// Something that no node has posted has happened.
  void bump_events();
  /// Waits until `events` differs from `seen`, a signal comes, or 100 ms have passed (for deaths, which
  /// post nothing). Returns what it is now.
  [[nodiscard]] uint32_t wait_events(uint32_t seen) const;
  /// Throws the first failed script's Error, if any.
  void check() const;
  /// Runs a script in this process.
  void run(size_t script) const;
  /// Sharing::ByDescriptor: what the other process needs.
  [[nodiscard]] int descriptor() const { return memory_.get(); }
  /// In a process that was cloned before map(): maps what lies behind `descriptor`, up to `end`, calls
  /// `ready`, and runs the script at an address, on the stack that ends at `stack`. Throws Error until the
  /// script runs.
  [[noreturn]] void enter(int descriptor, uint64_t end, uint64_t script, uint64_t stack,
                          const std::function<void()>& ready) const;

 private:
  void map_code() const;
  [[nodiscard]] std::atomic_ref<uint32_t> at(uint64_t address) const;

  uint64_t start_ = 0;
  uint64_t limit_ = 0;
  uint64_t code_ = 0;
  uint64_t shared_ = 0;
  size_t shared_bytes_ = 0;
  size_t used_ = 0;
  size_t nodes_;
  bool mapped_ = false;
  Fd memory_;  // words, scripts, stacks, if shared by descriptor
  std::vector<ScriptBuilder> scripts_;
  std::map<uint64_t, uint64_t> stacks_;  // by address of the script
};

}  // namespace godwit
