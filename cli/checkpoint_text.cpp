#include "cli/checkpoint_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "cli/command.h"
#include "cli/open_file_text.h"
#include "cli/record_text.h"
#include "images-format/descriptor.pb.h"
#include "images-format/file.pb.h"
#include "images-format/mm.pb.h"
#include "images-format/pre_dump.pb.h"
#include "images-format/shared_memory.pb.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

/// Columns as wide as what is in them; the last has no end.
class Table {
 public:
  explicit Table(std::vector<std::string> titles) { rows_.push_back(std::move(titles)); }

  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  [[nodiscard]] std::string text(std::string_view margin = "") const {
    std::vector<size_t> widths(rows_.front().size());
    for (const auto& row : rows_) {
      for (size_t i = 0; i < row.size(); ++i) {
        widths[i] = std::max(widths[i], row[i].size());
      }
    }
    std::string text;
    for (const auto& row : rows_) {
      text += margin;
      for (size_t i = 0; i + 1 < row.size(); ++i) {
        text += fmt::format("{:<{}}  ", row[i], widths[i]);
      }
      text += row.back() + "\n";
    }
    return text;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string pages_text(uint64_t pages) {
  return pages == 0 ? "-" : format_bytes(pages * kPageSize);
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

std::string checkpoint_table(const CheckpointImage& image) {
  const image::Checkpoint& header = image.header();
  uint64_t threads = 0;
  const auto tasks = image.all<image::Task>();
  for (const image::Task* task : tasks) {
    threads += static_cast<uint64_t>(task->threads_size());
  }
  PageCounts pages;
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    const PageCounts more = count_pages(*object);
    pages.present += more.present;
    pages.stored_bytes += more.stored_bytes;
    pages.in_parent += more.in_parent;
  }
  const std::string what =
      header.pre_dump()
          ? fmt::format("a pre-dump: {}", format_count(image.all<image::PreDumpedTask>().size(), "task"))
          : fmt::format("{} with {}", format_count(tasks.size(), "task"), format_count(threads, "thread"));
  const std::string parent = header.has_parent()
                                 ? fmt::format("{} more in its parent {}, checkpoint {}\n",
                                               format_bytes(pages.in_parent * kPageSize),
                                               printable(header.parent().path()), hex(header.parent().uuid()))
                                 : "";
  return fmt::format("checkpoint {}, format {}, by godwit {}\n", hex(header.uuid()), header.format_version(),
                     printable(header.godwit_version())) +
         fmt::format("made {:%Y-%m-%d %H:%M:%S} UTC under Linux {} on {}\n",
                     fmt::gmtime(static_cast<time_t>(header.created_ns() / 1'000'000'000)),
                     printable(header.kernel_release()), printable(header.machine())) +
         fmt::format("{}, {} of memory in {}\n", what, format_bytes(pages.present * kPageSize),
                     format_bytes(pages.stored_bytes)) +
         parent;
}

std::string tasks_table(const CheckpointImage& image) {
  Table table({"PID", "PARENT", "SESSION", "GROUP", "UID", "THREADS", "NAME", "STATE"});
  for (const image::Task* task : image.all<image::Task>()) {
    const bool zombie = task->threads_size() == 0;
    table.add({std::to_string(task->pid(0)), std::to_string(task->parent()), std::to_string(task->session()),
               std::to_string(task->process_group()),
               zombie ? "-" : std::to_string(task->threads(0).credentials().uid()),
               std::to_string(task->threads_size()),
               printable(zombie ? task->comm() : task->threads(0).comm()), state_text(*task)});
  }
  return table.text();
}

std::string backing_text(const image::Mapping& mapping, const std::map<uint32_t, const image::File*>& files) {
  switch (mapping.backing()) {
    case image::Mapping::FILE: {
      const image::File& file = *files.at(mapping.file_id());
      return printable(file.path()) + (file.has_ghost() ? " (deleted)" : "") +
             (mapping.offset() != 0 ? fmt::format(" from {:#x}", mapping.offset()) : "");
    }
    case image::Mapping::SHARED_MEMORY:
      return fmt::format("shared memory {}", mapping.shared_memory_id());
    case image::Mapping::VVAR:
      return "[vvar]";
    case image::Mapping::VDSO:
      return "[vdso]";
    default:
      return mapping.grows_down()     ? "anonymous, grows down"
             : mapping.name().empty() ? "anonymous"
                                      : fmt::format("anonymous '{}'", printable(mapping.name()));
  }
}

std::string mappings_table(const CheckpointImage& image) {
  std::map<uint32_t, const image::File*> files;
  for (const image::File* file : image.all<image::File>()) {
    files[file->id()] = file;
  }
  std::map<uint32_t, int32_t> owners;
  for (const image::Task* task : image.all<image::Task>()) {
    owners[task->mm_id()] = task->pid(0);
  }
  std::string text;
  for (const image::Mm* mm : image.all<image::Mm>()) {
    Table table({"START", "END", "PROT", "SIZE", "WHAT"});
    for (const image::Mapping& mapping : mm->mappings()) {
      const auto flag = [&](uint32_t bit, char name) { return (mapping.prot() & bit) != 0 ? name : '-'; };
      table.add({fmt::format("{:x}", mapping.start()), fmt::format("{:x}", mapping.end()),
                 fmt::format("{}{}{}{}", flag(PROT_READ, 'r'), flag(PROT_WRITE, 'w'), flag(PROT_EXEC, 'x'),
                             mapping.shared() ? 's' : 'p'),
                 format_bytes(mapping.end() - mapping.start()), backing_text(mapping, files)});
    }
    text += fmt::format("{}mm {} of task {}\n{}", text.empty() ? "" : "\n", mm->id(), owners[mm->id()],
                        table.text("  "));
  }
  return text;
}

std::string memory_table(const CheckpointImage& image) {
  std::map<uint64_t, std::string> owners;
  for (const image::Mm* mm : image.all<image::Mm>()) {
    owners[mm->memory_object()] = fmt::format("mm {}", mm->id());
  }
  for (const image::SharedMemory* region : image.all<image::SharedMemory>()) {
    owners[region->memory_object()] = fmt::format("shared memory {}", region->id());
  }
  for (const image::File* file : image.all<image::File>()) {
    if (file->has_ghost()) {
      owners[file->ghost().memory_object()] = fmt::format("file {} {}", file->id(), printable(file->path()));
    }
  }
  for (const image::PreDumpedTask* task : image.all<image::PreDumpedTask>()) {
    owners[task->memory_object()] = fmt::format("task {} {}", task->pid(), printable(task->comm()));
  }
  Table table({"ID", "SAVED", "STORED", "BLOCKS", "ZERO", "INHERITED", "IN PARENT", "OF"});
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    const PageCounts pages = count_pages(*object);
    table.add({std::to_string(object->id()), pages_text(pages.present), format_bytes(pages.stored_bytes),
               std::to_string(object->blocks_size()), pages_text(pages.zero), pages_text(pages.inherited),
               pages_text(pages.in_parent), owners[object->id()]});
  }
  return table.text();
}

std::string files_table(const CheckpointImage& image) {
  Table table({"ID", "MODE", "SIZE", "PATH"});
  for (const image::File* file : image.all<image::File>()) {
    table.add({std::to_string(file->id()), fmt::format("{:o}", file->mode()), format_bytes(file->size()),
               printable(file->path()) + (file->has_ghost() ? " (deleted; its content is saved)" : "")});
  }
  return table.text();
}

std::string descriptors_table(const CheckpointImage& image) {
  const std::map<uint32_t, std::string> what = open_file_texts(image);
  std::map<uint32_t, std::string> owners;
  for (const image::Task* task : image.all<image::Task>()) {
    owners[task->descriptor_table_id()] += fmt::format(" {}", task->pid(0));
  }
  std::string text;
  for (const image::DescriptorTable* descriptors : image.all<image::DescriptorTable>()) {
    Table table({"FD", "OPEN FILE", "WHAT"});
    for (const image::Descriptor& descriptor : descriptors->descriptors()) {
      table.add({std::to_string(descriptor.fd()), std::to_string(descriptor.open_file_id()),
                 what.at(descriptor.open_file_id()) + (descriptor.close_on_exec() ? ", close-on-exec" : "")});
    }
    text += fmt::format("{}descriptor table {} of task{}\n{}", text.empty() ? "" : "\n", descriptors->id(),
                        owners[descriptors->id()], table.text("  "));
  }
  return text;
}

std::string lines(const CheckpointImage& image, RecordType type) {
  std::string text;
  for (const Record& record : image.records()) {
    if (record.type == type) {
      text += record_line(*record.message) + "\n";
    }
  }
  return text;
}

std::string kind_text(const CheckpointImage& image, const RecordKind& kind) {
  switch (kind.type) {
    case RecordType::Checkpoint:
      return checkpoint_table(image);
    case RecordType::Task:
      return tasks_table(image);
    case RecordType::Mm:
      return mappings_table(image);
    case RecordType::MemoryObject:
      return memory_table(image);
    case RecordType::File:
      return files_table(image);
    case RecordType::DescriptorTable:
      return descriptors_table(image);
    default:
      return lines(image, kind.type);
  }
}

}  // namespace

PageCounts count_pages(const image::MemoryObject& object) {
  PageCounts counts;
  for (const PageRun& run : decode_runs(object)) {
    counts.present += run.kind == image::PAGE_PRESENT ? run.count : 0;
    counts.zero += run.kind == image::PAGE_ZERO ? run.count : 0;
    counts.inherited += run.kind == image::PAGE_INHERITED ? run.count : 0;
    counts.in_parent += run.kind == image::PAGE_IN_PARENT ? run.count : 0;
  }
  for (const image::PageBlock& block : object.blocks()) {
    counts.stored_bytes += block.stored_bytes();
  }
  return counts;
}

std::string checkpoint_text(const CheckpointImage& image, std::string_view what) {
  if (what.empty()) {
    return checkpoint_table(image) + "\n" +
           (image.header().pre_dump() ? memory_table(image) : task_tree_text(image));
  }
  std::string names;
  for (const RecordKind& kind : record_kinds()) {
    if (kind.type == RecordType::Closing) {
      continue;
    }
    if (what == kind.name) {
      return kind_text(image, kind);
    }
    names += fmt::format("{}{}", names.empty() ? "" : ", ", kind.name);
  }
  throw UsageError(fmt::format("a checkpoint has no '{}'; it has {}", what, names));
}

}  // namespace godwit::cli
