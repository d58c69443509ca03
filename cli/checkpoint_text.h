#pragma once

#include <string>
#include <string_view>

#include "images-format/checkpoint_reader.h"
#include "images-format/task.pb.h"

namespace godwit::cli {

/// The checkpoint for people: what it is and its tasks as a tree, with memory and descriptors; or, if `what`
/// is the name of a kind of record (RecordKind's), a table of those. Throws UsageError for another name.
[[nodiscard]] std::string checkpoint_text(const CheckpointImage& image, std::string_view what);

/// The same for programs: an object with one array a kind. See record_json().
[[nodiscard]] std::string checkpoint_json(const CheckpointImage& image, std::string_view what, bool verbose);

/// The tree alone. In cli/task_tree_text.cpp.
[[nodiscard]] std::string task_tree_text(const CheckpointImage& image);

/// "running", "stopped by SIGTSTP", "zombie, exited with 3".
[[nodiscard]] std::string state_text(const image::Task& task);

/// Pages of an object by what became of them.
struct PageCounts {
  uint64_t present = 0;
  uint64_t zero = 0;
  uint64_t inherited = 0;
  uint64_t in_parent = 0;     // in the parent checkpoint
  uint64_t stored_bytes = 0;  // of the present ones, as compressed
};
[[nodiscard]] PageCounts count_pages(const image::MemoryObject& object);

}  // namespace godwit::cli
