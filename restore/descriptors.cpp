#include "restore/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "images-format/file_lock.pb.h"
#include "kernel/error.h"
#include "kernel/pidfd.h"
#include "parasite/native.h"
#include "restore/descriptor_kind.h"
#include "restore/file_lock.h"
#include "restore/signal_owner.h"

namespace godwit {

using making::kKinds;
using making::kScratchNumbers;

namespace {

constexpr uint32_t kHighestDescriptor = 1U << 30;  // the kernel's own limit of fs.nr_open is just below
// The coordinator's own files (the image among them) stand below; what tasks inherit must not hit them.
constexpr int kCoordinatorsOwn = 256;
// Where all lower numbers are taken, freshly made descriptors get the next ones above: two at once, by
// pipe2(2) and socketpair(2). Scratch numbers lie above these.
constexpr int kFreshAtOnce = 2;
constexpr size_t kNativeBytes = size_t{64} << 20;  // room; only what is used costs memory
constexpr size_t kNativeBatch = size_t{8} << 20;

/// One descriptor.
struct Use {
  size_t table;
  int fd;
  bool close_on_exec;
};

/// A record, and with it all descriptions that are made together.
struct Unit {
  const making::Kind* kind;
  const google::protobuf::Message* record;
  std::vector<uint32_t> open_file_ids;
  bool shared = false;  // used by several tables: made by the coordinator
  int lowest = -1;      // otherwise the first of its numbers; -1: not used at all
  size_t table = 0;     // and its table
};

struct Description {
  size_t unit;
  const image::OpenFile* file;
  std::vector<Use> uses;  // by table and number, ascending
  int inherited = -1;     // where tasks inherit it from
};

struct Table {
  const image::DescriptorTable* record;
  pid_t owner = 0;                                      // the first task with it: who fills it
  std::vector<size_t> units;                            // made there, by lowest number
  std::map<int, const image::Descriptor*> descriptors;  // by number
};

}  // namespace

struct DescriptorPlan::State {
  std::vector<Unit> units;
  std::map<uint32_t, Description> descriptions;
  std::vector<Table> tables;
  std::map<uint32_t, size_t> table_by_id;
  std::vector<const image::FileLock*> locks;
  std::string_view boot_id;  // of the dump
  int first_free = kCoordinatorsOwn;
  int first_scratch = 0;
  std::vector<int> made;  // descriptors of this process for tasks to inherit

  void add_units(const CheckpointImage& image);
  void add_tables(const CheckpointImage& image);
  void decide_makers();
  [[nodiscard]] std::string name(const Unit& unit) const;
  [[nodiscard]] std::string name(uint32_t id) const;
  void set_subject(ScriptBuilder& script, const Unit& unit) const;
  [[nodiscard]] const Table* owned_table(const image::Task& task) const;
};

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
    return found == state_.descriptions.end() ? -1 : number_in(found->second, table_);
  }

  [[nodiscard]] bool is_first_with(std::initializer_list<uint32_t> ids) const override {
    for (size_t table = 0; table < state_.tables.size(); ++table) {
      const bool has_all = std::all_of(ids.begin(), ids.end(), [&](uint32_t id) {
        const auto found = state_.descriptions.find(id);
        return found != state_.descriptions.end() && number_in(found->second, table) >= 0;
      });
      if (has_all) {
        return table == table_;
      }
    }
    return false;
  }

 private:
  static int number_in(const Description& description, size_t table) {
    const auto found = std::lower_bound(description.uses.begin(), description.uses.end(), table,
                                        [](const Use& use, size_t wanted) { return use.table < wanted; });
    return found == description.uses.end() || found->table != table ? -1 : found->fd;
  }

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

}  // namespace

void DescriptorPlan::State::add_units(const CheckpointImage& image) {
  for (const Record& record : image.records()) {
    if (record.type == RecordType::FileLock) {
      locks.push_back(static_cast<const image::FileLock*>(record.message.get()));
      continue;
    }
    const auto kind = std::find_if(kKinds.begin(), kKinds.end(),
                                   [&](const making::Kind* one) { return one->type == record.type; });
    if (kind == kKinds.end()) {
      continue;
    }
    Unit unit{};
    unit.kind = *kind;
    unit.record = record.message.get();
    for (const image::OpenFile* file : (*kind)->open_files(*record.message)) {
      unit.open_file_ids.push_back(file->id());
      // Flags that only open(2) knows are never those of an open file; in an image they would do harm.
      if ((file->flags() & (O_CREAT | O_EXCL | O_TRUNC)) != 0) {
        throw error("open file {} has impossible flags {:#o}", file->id(), file->flags());
      }
      if (file->id() == 0 ||
          !descriptions.try_emplace(file->id(), Description{units.size(), file, {}, -1}).second) {
        throw error("open file {} is described twice", file->id());
      }
    }
    units.push_back(std::move(unit));
  }
}

void DescriptorPlan::State::add_tables(const CheckpointImage& image) {
  for (const image::DescriptorTable* record : image.all<image::DescriptorTable>()) {
    const size_t index = tables.size();
    if (!table_by_id.try_emplace(record->id(), index).second) {
      throw error("descriptor table {} is there twice", record->id());
    }
    Table& table = tables.emplace_back();
    table.record = record;
    for (const image::Descriptor& descriptor : record->descriptors()) {
      const auto description = descriptions.find(descriptor.open_file_id());
      if (description == descriptions.end() || descriptor.fd() >= kHighestDescriptor) {
        throw error("descriptor {} of table {} leads to nothing", descriptor.fd(), record->id());
      }
      const int fd = static_cast<int>(descriptor.fd());
      if (!table.descriptors.try_emplace(fd, &descriptor).second) {
        throw error("descriptor {} of table {} is there twice", fd, record->id());
      }
      first_free = std::max(first_free, fd + 1);
    }
    for (const image::Descriptor& descriptor : record->descriptors()) {
      descriptions.at(descriptor.open_file_id())
          .uses.push_back({index, static_cast<int>(descriptor.fd()), descriptor.close_on_exec()});
    }
  }
  for (const image::Task* task : image.all<image::Task>()) {
    const auto found = table_by_id.find(task->descriptor_table_id());
    if (found != table_by_id.end() && tables[found->second].owner == 0 && task->pid_size() > 0) {
      tables[found->second].owner = task->pid(0);
    }
  }
}

/// A unit that only one table uses is made by the task that fills the table, any other by the coordinator.
void DescriptorPlan::State::decide_makers() {
  for (size_t i = 0; i < units.size(); ++i) {
    Unit& unit = units[i];
    for (const uint32_t id : unit.open_file_ids) {
      std::vector<Use>& uses = descriptions.at(id).uses;
      std::sort(uses.begin(), uses.end(),
                [](const Use& a, const Use& b) { return std::tie(a.table, a.fd) < std::tie(b.table, b.fd); });
      for (const Use& use : uses) {
        unit.shared = unit.shared || (unit.lowest >= 0 && unit.table != use.table);
        unit.lowest = unit.lowest < 0 ? use.fd : std::min(unit.lowest, use.fd);
        unit.table = use.table;
      }
    }
    if (unit.lowest >= 0 && !unit.shared) {
      tables[unit.table].units.push_back(i);
    }
  }
  for (Table& table : tables) {
    std::sort(table.units.begin(), table.units.end(),
              [&](size_t a, size_t b) { return units[a].lowest < units[b].lowest; });
  }
}

std::string DescriptorPlan::State::name(uint32_t id) const {
  const Description& description = descriptions.at(id);
  const std::string_view kind = units[description.unit].kind->name;
  if (description.uses.empty()) {
    return fmt::format("open file {} ({})", id, kind);
  }
  const Use& use = description.uses.front();
  return fmt::format("descriptor {} of task {} ({})", use.fd, tables[use.table].owner, kind);
}

std::string DescriptorPlan::State::name(const Unit& unit) const {
  for (const uint32_t id : unit.open_file_ids) {
    if (!descriptions.at(id).uses.empty()) {
      return name(id);
    }
  }
  return std::string(unit.kind->name);
}

void DescriptorPlan::State::set_subject(ScriptBuilder& script, const Unit& unit) const {
  script.subject([this, &unit] { return name(unit); });
}

const Table* DescriptorPlan::State::owned_table(const image::Task& task) const {
  const auto found = table_by_id.find(task.descriptor_table_id());
  if (found == table_by_id.end() || task.pid_size() == 0 || tables[found->second].owner != task.pid(0)) {
    return nullptr;
  }
  return &tables[found->second];
}

DescriptorPlan::DescriptorPlan(const CheckpointImage& image) : state_(std::make_unique<State>()) {
  for (const image::Checkpoint* header : image.all<image::Checkpoint>()) {
    state_->boot_id = header->boot_id();
  }
  state_->add_units(image);
  state_->add_tables(image);
  state_->decide_makers();
}

DescriptorPlan::~DescriptorPlan() {
  for (const int fd : state_->made) {
    ::close(fd);
  }
}

int DescriptorPlan::first_free_descriptor() const {
  return state_->first_free;
}

int DescriptorPlan::next_descriptor() const {
  return state_->first_scratch + kScratchNumbers;
}

void DescriptorPlan::make_shared(const FileOpener& files, const std::map<uint32_t, int>& shared_memory,
                                 int first_descriptor) {
  State& state = *state_;
  state.first_scratch = first_descriptor;
  std::vector<const Unit*> shared;
  for (const Unit& unit : state.units) {
    if (!unit.shared) {
      continue;
    }
    shared.push_back(&unit);
    for (const uint32_t id : unit.open_file_ids) {
      Description& description = state.descriptions.at(id);
      if (!description.uses.empty()) {
        description.inherited = state.first_scratch++;
      }
    }
  }
  state.first_scratch += kFreshAtOnce;
  allow_descriptors(next_descriptor());
  for (int number = first_descriptor; number < next_descriptor(); ++number) {
    if (::fcntl(number, F_GETFD) >= 0) {
      throw error("descriptor {} of this process is in the way of those that tasks inherit", number);
    }
  }
  if (shared.empty()) {
    return;
  }
  const NativeScripts native(kNativeBytes);
  for (auto next = shared.begin(); next != shared.end();) {
    ScriptBuilder script = native.script();
    InheritedPlace place(script, state);
    making::MakeContext context(script, files, shared_memory, place, state.first_scratch, state.boot_id);
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
    native.run(script);
  }
}

void DescriptorPlan::emit_place(ScriptBuilder& script, const image::Task& task, const FileOpener& files,
                                const std::map<uint32_t, int>& shared_memory) {
  const State& state = *state_;
  const Table* table = state.owned_table(task);
  if (table == nullptr) {
    return;
  }
  const auto index = static_cast<size_t>(table - state.tables.data());
  TablePlace place(script, state, index);
  for (const image::Descriptor& descriptor : table->record->descriptors()) {
    const Description& description = state.descriptions.at(descriptor.open_file_id());
    if (description.inherited >= 0) {
      state.set_subject(script, state.units[description.unit]);
      place.duplicate(description.inherited,
                      {index, static_cast<int>(descriptor.fd()), descriptor.close_on_exec()});
    }
  }
  making::MakeContext context(script, files, shared_memory, place, state.first_scratch, state.boot_id);
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

void DescriptorPlan::conclude() const {
  const State& state = *state_;
  for (const auto& [id, description] : state.descriptions) {
    const Unit& unit = state.units[description.unit];
    if (description.uses.empty() || (!description.file->has_owner() && unit.kind->conclude == nullptr)) {
      continue;
    }
    const Use& use = description.uses.front();
    with_context([&, number = id] { return state.name(number); },
                 [&] {
                   const Fd task = open_pidfd(state.tables[use.table].owner);
                   const Fd copy = copy_descriptor(task.get(), use.fd);
                   apply_signal_owner(description.file->owner(), copy.get());
                   if (unit.kind->conclude != nullptr) {
                     unit.kind->conclude(*unit.record, copy.get());
                   }
                 });
  }
}

std::string DescriptorPlan::describe() const {
  const State& state = *state_;
  std::string text;
  for (const auto& [id, description] : state.descriptions) {
    const Unit& unit = state.units[description.unit];
    const std::string maker = unit.shared       ? "the coordinator"
                              : unit.lowest < 0 ? "nobody"
                                                : fmt::format("task {}", state.tables[unit.table].owner);
    text += fmt::format("open file {}: {}, made by {}", id, unit.kind->name, maker);
    size_t table = SIZE_MAX;
    for (const Use& use : description.uses) {
      if (use.table != table) {
        table = use.table;
        text += fmt::format("; task {}:", state.tables[table].owner);
      }
      text += fmt::format(" {}{}", use.fd, use.close_on_exec ? " (close-on-exec)" : "");
    }
    text += '\n';
  }
  return text;
}

}  // namespace godwit
