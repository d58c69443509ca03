#include "restore/descriptor_state.h"

#include <fcntl.h>

#include <algorithm>
#include <climits>
#include <set>
#include <tuple>

#include "images-format/shared_memory.pb.h"
#include "kernel/error.h"

namespace godwit {

using making::kKinds;

namespace {

constexpr uint32_t kHighestDescriptor = 1U << 30;  // the kernel's own limit of fs.nr_open is just below

}  // namespace

DescriptorPlan::State::State(const CheckpointImage& image, uint64_t limit) : above(kCoordinatorsOwn) {
  for (const image::File* file : image.all<image::File>()) {
    files[file->id()] = file;
  }
  add_units(image);
  add_tables(image);
  decide_makers();
  decide_places();
  decide_free_numbers(image, limit);
}

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
      above = std::max(above, fd + 1);
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

/// A unit that only one table uses is made by the task that fills the table, any other by the coordinator,
/// and so is what nobody has: it waits in a socket, or is an end that was closed.
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
    unit.shared = unit.shared || unit.kind->is_made_aside(*unit.record) ||
                  std::any_of(unit.open_file_ids.begin(), unit.open_file_ids.end(),
                              [&](uint32_t id) { return descriptions.at(id).uses.empty(); });
    if (!unit.shared) {
      tables[unit.table].units.push_back(i);
    }
  }
  for (Table& table : tables) {
    std::sort(table.units.begin(), table.units.end(),
              [&](size_t a, size_t b) { return units[a].lowest < units[b].lowest; });
  }
}

/// A number of the description in the table; -1: none.
int DescriptorPlan::State::number_in(const Description& description, size_t table) {
  const auto found = std::lower_bound(description.uses.begin(), description.uses.end(), table,
                                      [](const Use& use, size_t wanted) { return use.table < wanted; });
  return found == description.uses.end() || found->table != table ? -1 : found->fd;
}

/// What has the same number wherever it is used, as after fork(2), is made there and inherited as it is. So a
/// table that fills more than half of what the limit allows can be shared.
void DescriptorPlan::State::decide_places() {
  std::set<int> taken;
  for (const Unit& unit : units) {
    for (const uint32_t id : unit.open_file_ids) {
      Description& description = descriptions.at(id);
      const int number = unit.shared && !description.uses.empty() ? number_in_all(description) : -1;
      if (number >= kCoordinatorsOwn && taken.insert(number).second) {
        description.inherited = number;
      }
    }
  }
  in_place.assign(taken.begin(), taken.end());
}

/// Above all numbers of the image; where the limit forbids that, in the first gap between them that is long
/// enough.
void DescriptorPlan::State::decide_free_numbers(const CheckpointImage& image, uint64_t limit) {
  first_free = above;
  end_of_free = INT_MAX;
  size_t wanted = kFreshAtOnce + making::kScratchNumbers + image.all<image::SharedMemory>().size();
  for (const auto& [id, file] : files) {
    wanted += file->has_ghost() ? 1 : 0;
  }
  for (const auto& [id, description] : descriptions) {
    wanted += units[description.unit].shared ? 1 : 0;
  }
  wanted += 1;  // the directory aside
  const size_t least = wanted - in_place.size();
  if (static_cast<uint64_t>(above) + least <= limit) {
    return;
  }
  std::set<int> taken;
  for (const Table& table : tables) {
    for (const auto& [number, descriptor] : table.descriptors) {
      taken.insert(number);
    }
  }
  for (const size_t needed : {wanted, least}) {
    int start = kCoordinatorsOwn;
    for (const int number : taken) {
      if (number >= start && static_cast<size_t>(number - start) >= needed) {
        first_free = start;
        end_of_free = number;
        return;
      }
      start = std::max(start, number + 1);
    }
  }
}

/// The description's first number in its first table, if that is one of its numbers in all its tables.
int DescriptorPlan::State::number_in_all(const Description& description) const {
  if (description.uses.empty()) {
    return -1;
  }
  const int number = description.uses.front().fd;
  size_t tables_seen = 0;
  size_t tables_with_it = 0;
  size_t last = SIZE_MAX;
  for (const Use& use : description.uses) {
    tables_seen += use.table != last ? 1 : 0;
    last = use.table;
    tables_with_it += use.fd == number ? 1 : 0;
  }
  return tables_seen == tables_with_it ? number : -1;
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

std::string DescriptorPlan::State::path(const Unit& unit) const {
  const auto found = files.find(unit.kind->file_id != nullptr ? unit.kind->file_id(*unit.record) : 0);
  if (found == files.end()) {
    return {};
  }
  std::string path = found->second->path();
  // Control characters would do things to a terminal.
  std::replace_if(
      path.begin(), path.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return path + (found->second->has_ghost() ? " (unlinked)" : "");
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

std::string DescriptorPlan::describe() const {
  const State& state = *state_;
  std::string text;
  for (const auto& [id, description] : state.descriptions) {
    const Unit& unit = state.units[description.unit];
    const std::string maker =
        unit.shared ? "the coordinator" : fmt::format("task {}", state.tables[unit.table].owner);
    const std::string path = state.path(unit);
    text += fmt::format("open file {}: {}{}{}, made by {}", id, unit.kind->name, path.empty() ? "" : " ",
                        path, maker);
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
