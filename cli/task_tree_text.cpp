#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <vector>

#include "cli/checkpoint_text.h"
#include "cli/open_file_text.h"
#include "cli/record_text.h"
#include "images-format/descriptor.pb.h"
#include "images-format/file.pb.h"
#include "images-format/mm.pb.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

class TaskTree {
 public:
  explicit TaskTree(const CheckpointImage& image) : open_files_(open_file_texts(image)) {
    for (const image::Task* task : image.all<image::Task>()) {
      children_[task->parent()].push_back(task);
    }
    for (const image::Mm* mm : image.all<image::Mm>()) {
      mms_[mm->id()] = mm;
    }
    for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
      objects_[object->id()] = object;
    }
    for (const image::File* file : image.all<image::File>()) {
      files_[file->id()] = file;
    }
    for (const image::DescriptorTable* table : image.all<image::DescriptorTable>()) {
      tables_[table->id()] = table;
    }
  }

  std::string text() {
    // A list instead of recursion: nothing bounds how deep a tree is.
    std::vector<Row> rows = rows_of(children_[0], "");
    while (!rows.empty()) {
      const Row row = std::move(rows.back());
      rows.pop_back();
      std::vector<Row> below = add(row);
      std::move(below.begin(), below.end(), std::back_inserter(rows));
    }
    return std::move(text_);
  }

 private:
  struct Row {
    const image::Task* task;
    std::string branch;  // leads to the task's own line
    std::string trunk;   // leads to the lines below it
  };

  /// Last task first.
  static std::vector<Row> rows_of(const std::vector<const image::Task*>& tasks, const std::string& trunk) {
    constexpr size_t kWidest = 160;
    std::vector<Row> rows;
    for (auto task = tasks.rbegin(); task != tasks.rend(); ++task) {
      const bool last = task == tasks.rbegin();
      if ((*task)->parent() == 0 || trunk.size() > kWidest) {
        rows.push_back({*task, trunk, trunk});
      } else {
        rows.push_back({*task, trunk + (last ? "└─ " : "├─ "), trunk + (last ? "   " : "│  ")});
      }
    }
    return rows;
  }

  /// Shows a task; returns its children.
  std::vector<Row> add(const Row& row) {
    const image::Task& task = *row.task;
    const std::vector<const image::Task*>& children = children_[task.pid(0)];
    const std::string comm = task.threads_size() > 0 ? task.threads(0).comm() : task.comm();
    text_ += fmt::format("{}{} {}  {}\n", row.branch, task.pid(0), printable(comm), state_text(task));
    if (task.state() != image::Task::ZOMBIE) {
      add_details(task, row.trunk + (children.empty() ? "     " : "│    "));
    }
    return rows_of(children, row.trunk);
  }

  void add_details(const image::Task& task, const std::string& margin) {
    const image::Mm& mm = *mms_.at(task.mm_id());
    const auto& credentials = task.threads(0).credentials();
    const auto line = [&](std::string_view name, const std::string& value) {
      text_ += fmt::format("{}{:<8}{}\n", margin, name, value);
    };
    line("exe", printable(files_.at(mm.exe_file_id())->path()));
    line("cwd", printable(task.filesystem().cwd()));
    line("ids", fmt::format("uid {}, gid {}, session {}, group {}", credentials.uid(), credentials.gid(),
                            task.session(), task.process_group()));
    if (task.threads_size() > 1) {
      line("threads", thread_names(task));
    }
    line("memory", memory_text(mm));
    add_descriptors(task, margin);
  }

  static std::string thread_names(const image::Task& task) {
    constexpr int kShown = 8;
    std::string text;
    for (int i = 0; i < std::min(task.threads_size(), kShown); ++i) {
      text += fmt::format("{}{} {}", i == 0 ? "" : ", ", task.threads(i).tid(0),
                          printable(task.threads(i).comm()));
    }
    return task.threads_size() > kShown ? fmt::format("{} and {} more", text, task.threads_size() - kShown)
                                        : text;
  }

  std::string memory_text(const image::Mm& mm) const {
    uint64_t mapped = 0;
    for (const image::Mapping& mapping : mm.mappings()) {
      mapped += mapping.end() - mapping.start();
    }
    const PageCounts pages = count_pages(*objects_.at(mm.memory_object()));
    std::string text =
        fmt::format("{} of {}, {} saved", format_count(static_cast<uint64_t>(mm.mappings_size()), "mapping"),
                    format_bytes(mapped), format_bytes(pages.present * kPageSize));
    if (pages.zero > 0) {
      text += fmt::format(", {} zero", format_bytes(pages.zero * kPageSize));
    }
    if (pages.inherited > 0) {
      text += fmt::format(", {} shared with its parent", format_bytes(pages.inherited * kPageSize));
    }
    if (pages.in_parent > 0) {
      text += fmt::format(", {} in the parent checkpoint", format_bytes(pages.in_parent * kPageSize));
    }
    return text;
  }

  void add_descriptors(const image::Task& task, const std::string& margin) {
    const auto [first, added] = shown_tables_.emplace(task.descriptor_table_id(), task.pid(0));
    if (!added) {
      text_ += fmt::format("{}{:<8}those of task {}\n", margin, "fds", first->second);
      return;
    }
    for (const image::Descriptor& descriptor : tables_.at(task.descriptor_table_id())->descriptors()) {
      text_ +=
          fmt::format("{}fd {:<5}{}{}\n", margin, descriptor.fd(), open_files_.at(descriptor.open_file_id()),
                      descriptor.close_on_exec() ? ", close-on-exec" : "");
    }
  }

  std::map<uint32_t, std::string> open_files_;
  std::map<int32_t, std::vector<const image::Task*>> children_;  // by parent
  std::map<uint32_t, const image::Mm*> mms_;
  std::map<uint64_t, const image::MemoryObject*> objects_;
  std::map<uint32_t, const image::File*> files_;
  std::map<uint32_t, const image::DescriptorTable*> tables_;
  std::map<uint32_t, int32_t> shown_tables_;  // the task under which each was shown
  std::string text_;
};

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

}  // namespace

std::string state_text(const image::Task& task) {
  const int status = task.exit_status();
  switch (task.state()) {
    case image::Task::STOPPED:
      return task.stop_signal() != 0 ? "stopped by " + signal_name(task.stop_signal()) : "stopped";
    case image::Task::ZOMBIE:
      return (status & 0x7f) != 0 ? "zombie, killed by " + signal_name(status & 0x7f)
                                  : fmt::format("zombie, exited with {}", status >> 8);
    default:
      return "running";
  }
}

std::string task_tree_text(const CheckpointImage& image) {
  return TaskTree(image).text();
}

}  // namespace godwit::cli
