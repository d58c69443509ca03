#include "restore/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/fdinfo.h"
#include "kernel/log.h"
#include "kernel/mount.h"
#include "kernel/pidfd.h"
#include "parasite/native.h"
#include "restore/descriptor_kind.h"
#include "restore/descriptor_state.h"
#include "restore/file_lock.h"
#include "restore/signal_owner.h"

namespace godwit {

using making::kScratchNumbers;

namespace {

constexpr size_t kNativeBytes = size_t{64} << 20;  // room; only what is used costs memory
constexpr size_t kNativeBatch = size_t{8} << 20;

}  // namespace

namespace {

using State = DescriptorPlan::State;

/// Into the table of the task that runs the script.
class TablePlace : public making::Destination {
 public:
  TablePlace(ScriptBuilder& script, const State& state, size_t table)
      : script_(script), state_(state), table_(table) {}

  void deliver(uint32_t open_file_id, Arg descriptor) override {
    int placed = -1;
    for (const Use& use : state_.descriptions.at(open_file_id).uses) {
      if (use.table != table_) {
        continue;
      }
      if (placed < 0) {
        script_.place("place the descriptor", descriptor, use.fd, use.close_on_exec);
        placed = use.fd;
      } else {
        duplicate(placed, use);
      }
    }
    if (placed < 0) {
      script_.call("close the descriptor", SYS_close, {descriptor});
    }
  }

  /// What was inherited at `from`.
  void take(int from, const Use& use) {
    if (from != use.fd) {
      duplicate(from, use);
    } else if (use.close_on_exec) {
      script_.call("make the descriptor close-on-exec", SYS_fcntl, {use.fd, F_SETFD, FD_CLOEXEC});
    }
  }

  void duplicate(int from, const Use& use) {
    script_.call("duplicate the descriptor", SYS_dup3, {from, use.fd, use.close_on_exec ? O_CLOEXEC : 0});
  }

 private:
  ScriptBuilder& script_;
  const State& state_;
  size_t table_;
};

/// To the numbers from which tasks inherit.
class InheritedPlace : public making::Destination {
 public:
  InheritedPlace(ScriptBuilder& script, const State& state) : script_(script), state_(state) {}

  void deliver(uint32_t open_file_id, Arg descriptor) override {
    const Description& description = state_.descriptions.at(open_file_id);
    if (description.inherited >= 0) {
      script_.place("keep the descriptor", descriptor, description.inherited, false);
    } else {
      script_.call("close the descriptor", SYS_close, {descriptor});
    }
  }

 private:
  ScriptBuilder& script_;
  const State& state_;
};

class TableFinish : public making::FinishContext {
 public:
  TableFinish(ScriptBuilder& script_for_table, const State& state, size_t table)
      : FinishContext(script_for_table, state.first_scratch), state_(state), table_(table) {}

  [[nodiscard]] uint32_t at(int fd) const override {
    const auto& descriptors = state_.tables[table_].descriptors;
    const auto found = descriptors.find(fd);
    return found == descriptors.end() ? 0 : found->second->open_file_id();
  }

  [[nodiscard]] bool is_close_on_exec(int fd) const override {
    return state_.tables[table_].descriptors.at(fd)->close_on_exec();
  }

  [[nodiscard]] int number_of(uint32_t open_file_id) const override {
    const auto found = state_.descriptions.find(open_file_id);
    return found == state_.descriptions.end() ? -1 : State::number_in(found->second, table_);
  }

  [[nodiscard]] bool is_first_with(std::initializer_list<uint32_t> ids) const override {
    for (size_t table = 0; table < state_.tables.size(); ++table) {
      const bool has_all = std::all_of(ids.begin(), ids.end(), [&](uint32_t id) {
        const auto found = state_.descriptions.find(id);
        return found != state_.descriptions.end() && State::number_in(found->second, table) >= 0;
      });
      if (has_all) {
        return table == table_;
      }
    }
    return false;
  }

 private:
  const State& state_;
  size_t table_;
};

/// Descriptors are made above all numbers of the image, so its highest may be too near to the soft limit.
/// Tasks get their own limits later.
void allow_descriptors(int above) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    throw errno_error("cannot ask for the limit of descriptors");
  }
  const auto needed = static_cast<rlim_t>(above);
  if (needed <= limit.rlim_cur) {
    return;
  }
  if (needed > limit.rlim_max) {
    throw Error(fmt::format("descriptors up to {} are needed, the hard limit is {}", above, limit.rlim_max),
                0, "raise it with ulimit -Hn");
  }
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    throw errno_error("cannot raise the limit of descriptors");
  }
}

/// The numbers at which a table has what was inherited there, ascending.
std::vector<int> in_place_of(const State& state, const Table* table) {
  std::vector<int> numbers;
  for (const int number : state.in_place) {
    if (table == nullptr) {
      break;
    }
    const auto found = table->descriptors.find(number);
    if (found != table->descriptors.end() &&
        state.descriptions.at(found->second->open_file_id()).inherited == number) {
      numbers.push_back(number);
    }
  }
  return numbers;
}

/// Emits the closing of all descriptors but `kept` (ascending) and what has been made for tasks to inherit.
void close_all_but(const std::vector<int>& kept, const State& state, ScriptBuilder& script) {
  const auto close = [&](int from, int end) {
    if (from < end) {
      script.call("close what is the coordinator's", SYS_close_range, {from, end - 1, 0});
    }
  };
  int cursor = 0;
  const auto close_until = [&](int number) {
    close(cursor, std::min(number, state.first_free));
    close(std::max(cursor, state.end_of_free), number);
    cursor = number + 1;
  };
  for (const int number : kept) {
    close_until(number);
  }
  close_until(INT_MAX - 1);
}

/// At the first free number from `first` up, as tasks inherit it.
int open_at_number(const std::string& path, int access, int first) {
  constexpr std::string_view kOwn = "/proc/self/fd/";
  Fd opened;
  int from = -1;
  if (path.starts_with(kOwn)) {
    from = parse_number<int32_t>(std::string_view(path).substr(kOwn.size()), 10, "descriptor");
  } else {
    // Opening a FIFO may wait for the other side.
    opened = open_file(path, access | O_NONBLOCK | O_NOCTTY);
    from = opened.get();
  }
  const int number = ::fcntl(from, F_DUPFD, first);
  if (number < 0) {
    throw errno_error("cannot keep {} for tasks to inherit", path);
  }
  return number;
}

bool is_free(int number) {
  return ::fcntl(number, F_GETFD) < 0;
}

/// Freshly made descriptors must get numbers below those that are inherited in place.
bool has_room_below() {
  constexpr int kEnough = 32;
  int room = 0;
  for (int number = kCoordinatorsOwn - 1; number >= 0 && room < kEnough; --number) {
    room += is_free(number) ? 1 : 0;
  }
  return room == kEnough;
}

/// Where this process has something of its own at a number of the image, tasks inherit from above after all.
void give_up_taken_places(State& state) {
  if (!state.in_place.empty() &&
      (!has_room_below() || !std::all_of(state.in_place.begin(), state.in_place.end(), is_free))) {
    state.in_place.clear();
    for (auto& [id, description] : state.descriptions) {
      description.inherited = -1;
    }
  }
}

}  // namespace

uint64_t descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    throw errno_error("cannot ask for the limit of descriptors");
  }
  return limit.rlim_max;
}

DescriptorPlan::DescriptorPlan(const CheckpointImage& image, uint64_t limit)
    : state_(std::make_unique<State>(image, limit)) {}

void DescriptorPlan::forget_clocks() {
  state_->clocks_go_on = false;
}

DescriptorPlan::~DescriptorPlan() {
  for (const int fd : state_->made) {
    ::close(fd);
  }
}

int DescriptorPlan::first_free_descriptor() const {
  return state_->first_free;
}

int DescriptorPlan::last_free_descriptor() const {
  return state_->end_of_free - 1;
}

void DescriptorPlan::reserve_table() const {
  constexpr int kBesides = 64;  // shared memory, files to be mapped, what comes by name, scratch
  const int last = state_->first_free + static_cast<int>(state_->descriptions.size()) + kBesides;
  // It may be above the limit; then nothing of that size will be asked for, or the limit is raised first.
  Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, last)).reset();
}

int DescriptorPlan::next_descriptor() const {
  return state_->first_scratch + kScratchNumbers;
}

int DescriptorPlan::open_external(const std::map<std::string, std::string>& paths, int first_descriptor) {
  State& state = *state_;
  for (const Unit& unit : state.units) {
    if (unit.kind->external == nullptr) {
      continue;
    }
    const auto [name, access] = unit.kind->external(*unit.record);
    if (name.empty() || state.external.contains(name)) {
      continue;
    }
    const auto path = paths.find(name);
    if (path == paths.end()) {
      throw error("{} was dumped as external", state.name(unit))
          .hint(fmt::format("hand one over under the name {}", name));
    }
    const int number = open_at_number(path->second, access, first_descriptor);
    state.made.push_back(number);
    state.external[name] = number;
    first_descriptor = number + 1;
  }
  return first_descriptor;
}

void DescriptorPlan::make_shared(const FileOpener& files, const std::map<uint32_t, int>& shared_memory,
                                 int first_descriptor, int own_descriptors) {
  State& state = *state_;
  state.first_scratch = first_descriptor;
  give_up_taken_places(state);
  std::vector<const Unit*> shared;
  for (const Unit& unit : state.units) {
    if (!unit.shared) {
      continue;
    }
    shared.push_back(&unit);
    for (const uint32_t id : unit.open_file_ids) {
      Description& description = state.descriptions.at(id);
      if (description.inherited < 0) {
        description.inherited = state.first_scratch++;
      }
    }
  }
  const bool aside = std::any_of(shared.begin(), shared.end(),
                                 [](const Unit* unit) { return unit->kind->is_made_aside(*unit->record); });
  if (aside) {
    state.aside = state.first_scratch++;
  }
  state.first_scratch += kFreshAtOnce;
  allow_descriptors(std::max(next_descriptor(), state.above));
  if (next_descriptor() > state.end_of_free) {
    throw error("descriptors of this process are in the way of those that tasks inherit");
  }
  for (int number = first_descriptor; number < next_descriptor(); ++number) {
    if (!is_free(number)) {
      throw error("descriptor {} of this process is in the way of those that tasks inherit", number);
    }
  }
  if (shared.empty()) {
    return;
  }
  if (aside) {
    const Fd root = make_superblock("tmpfs", "none", {});
    if (::dup2(root.get(), state.aside) < 0) {
      throw errno_error("cannot keep a directory at descriptor {}", state.aside);
    }
    state.made.push_back(state.aside);
  }
  const NativeScripts native(kNativeBytes);
  for (auto next = shared.begin(); next != shared.end();) {
    ScriptBuilder script = native.script();
    InheritedPlace place(script, state);
    making::MakeContext context(script, files, shared_memory, state.names, place, state.first_scratch,
                                state.clocks_go_on, {state.external, state.aside, own_descriptors});
    for (; next != shared.end() && script.size() < kNativeBatch; ++next) {
      state.set_subject(script, **next);
      (*next)->kind->make(*(*next)->record, context);
      for (const uint32_t id : (*next)->open_file_ids) {
        const int inherited = state.descriptions.at(id).inherited;
        if (inherited >= 0) {
          state.made.push_back(inherited);
        }
      }
    }
    try {
      native.run(script);
    } catch (...) {
      state.names.note();
      throw;
    }
    state.names.note();
  }
}

void DescriptorPlan::emit_place(ScriptBuilder& script, const image::Task& task, const FileOpener& files,
                                const std::map<uint32_t, int>& shared_memory) {
  State& state = *state_;
  const Table* table = state.owned_table(task);
  close_all_but(in_place_of(state, table), state, script);
  if (table == nullptr) {
    return;
  }
  const auto index = static_cast<size_t>(table - state.tables.data());
  TablePlace place(script, state, index);
  for (const image::Descriptor& descriptor : table->record->descriptors()) {
    const Description& description = state.descriptions.at(descriptor.open_file_id());
    if (description.inherited >= 0) {
      state.set_subject(script, state.units[description.unit]);
      place.take(description.inherited,
                 {index, static_cast<int>(descriptor.fd()), descriptor.close_on_exec()});
    }
  }
  making::MakeContext context(script, files, shared_memory, state.names, place, state.first_scratch,
                              state.clocks_go_on, {state.external});
  for (const size_t i : table->units) {
    const Unit& unit = state.units[i];
    state.set_subject(script, unit);
    unit.kind->make(*unit.record, context);
  }
}

void DescriptorPlan::emit_finish(ScriptBuilder& script, const image::Task& task) {
  const State& state = *state_;
  const auto found = state.table_by_id.find(task.descriptor_table_id());
  if (found == state.table_by_id.end()) {
    return;
  }
  TableFinish context(script, state, found->second);
  const bool owner = state.owned_table(task) != nullptr;
  for (const Unit& unit : state.units) {
    const bool here = std::any_of(unit.open_file_ids.begin(), unit.open_file_ids.end(),
                                  [&](uint32_t id) { return context.number_of(id) >= 0; });
    if (owner && here && unit.kind->finish != nullptr) {
      state.set_subject(script, unit);
      unit.kind->finish(*unit.record, context);
    }
  }
  // Last: closing any descriptor of a file would give up its POSIX locks.
  for (const image::FileLock* lock : state.locks) {
    const uint32_t id = lock->open_file_id();
    const bool mine = lock->kind() == image::FileLock::POSIX
                          ? task.pid_size() > 0 && lock->pid() == task.pid(0)
                          : owner && context.is_first_with({id});
    if (mine && context.number_of(id) >= 0) {
      state.set_subject(script, state.units[state.descriptions.at(id).unit]);
      emit_lock(script, *lock, context.number_of(id));
    }
  }
}

void DescriptorPlan::emit_signals(ScriptBuilder& script, const image::Task& task) {
  const State& state = *state_;
  const auto found = state.table_by_id.find(task.descriptor_table_id());
  if (found == state.table_by_id.end() || state.owned_table(task) == nullptr) {
    return;
  }
  const TableFinish context(script, state, found->second);
  for (const auto& [id, description] : state.descriptions) {
    if (description.file->has_owner() && context.is_first_with({id})) {
      state.set_subject(script, state.units[description.unit]);
      emit_signal(script, *description.file, context.number_of(id));
    }
  }
}

void DescriptorPlan::start_names_from(TreeRoot root) {
  state_->names.start_from(std::move(root));
}

void DescriptorPlan::note_bound_names() {
  state_->names.note();
}

void DescriptorPlan::keep_bound_names() {
  state_->names.keep();
}

void DescriptorPlan::conclude(const FileOpener& files, const std::function<pid_t(pid_t)>& pid_now) {
  State& state = *state_;
  const std::function<Fd(uint32_t)> open_file = [&](uint32_t id) {
    return files.open_here(id, state.names.root());
  };
  for (const auto& entry : state.descriptions) {
    const Description& description = entry.second;
    const Unit& unit = state.units[description.unit];
    const bool concludes = unit.kind->conclude != nullptr &&
                           (unit.kind->concludes == nullptr || unit.kind->concludes(*unit.record));
    const bool enlivens = unit.kind->enlivens != nullptr && unit.kind->enlivens(*unit.record);
    if (description.uses.empty() || (!description.file->has_owner() && !concludes && !enlivens)) {
      continue;
    }
    const Use& use = description.uses.front();
    with_context([&] { return state.name(entry.first); },
                 [&] {
                   const Fd task = open_pidfd(pid_now(state.tables[use.table].owner));
                   Fd copy = copy_descriptor(task.get(), use.fd);
                   apply_signal_owner(description.file->owner(), copy.get(), pid_now);
                   if (concludes) {
                     unit.kind->conclude(*unit.record, {copy.get(), state.clocks_go_on, pid_now, open_file});
                   }
                   if (enlivens) {
                     state.sleepers.push_back({entry.first, &unit, std::move(copy)});
                   }
                 });
  }
}

void DescriptorPlan::enliven() const {
  for (const State::Sleeper& sleeper : state_->sleepers) {
    try {
      sleeper.unit->kind->enliven(*sleeper.unit->record, sleeper.descriptor.get());
    } catch (const Error& e) {
      log::warning("{}: {}", state_->name(sleeper.id), e.what());
    }
  }
}

}  // namespace godwit
