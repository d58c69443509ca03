#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "images-format/page_store.h"
#include "images-format/partial_directory.h"
#include "images-format/payload.h"
#include "images-format/validate_index.h"

namespace godwit {

namespace {

constexpr uint64_t kTaskEnd = 0x00fffffffffff000;  // with five levels of page tables
constexpr uint64_t kMaxFileBytes = INT64_MAX;
constexpr int kMaxAuxvWords = 128;
constexpr int kMaxAdvice = 64;
constexpr uint32_t kMaxAdviceValue = 255;
constexpr size_t kMaxMappingName = 79;  // ANON_VMA_NAME_MAX_LEN
constexpr size_t kMaxMemfdName = 249;

using Runs = std::map<uint64_t, std::vector<PageRun>>;  // by memory object

void validate_backing(const image::Mapping& mapping, const ValidationIndex& index) {
  using image::Mapping;
  const bool file = mapping.backing() == Mapping::FILE;
  const bool shared_memory = mapping.backing() == Mapping::SHARED_MEMORY;
  require(Mapping::Backing_IsValid(mapping.backing()), "its backing {} is unknown",
          static_cast<int>(mapping.backing()));
  require(file == (mapping.file_id() != 0) && shared_memory == (mapping.shared_memory_id() != 0),
          "what backs it contradicts itself");
  if (file) {
    const auto found = index.files.find(mapping.file_id());
    require(found != index.files.end(), "file {} isn't there", mapping.file_id());
    require(has_plain_content(*found->second), "{} can't be mapped", found->second->path());
  }
  require(!shared_memory || index.shared_memory.contains(mapping.shared_memory_id()),
          "shared memory {} isn't there", mapping.shared_memory_id());
  require(!mapping.shared() || file || shared_memory,
          "it is shared, but nothing that can be shared backs it");
  if (mapping.backing() == Mapping::VDSO) {
    require(mapping.end() - mapping.start() == index.header->vdso().vdso_size(),
            "the header has a vdso of {} bytes", index.header->vdso().vdso_size());
  }
}

void validate_mapping(const image::Mapping& mapping, uint64_t previous_end, const ValidationIndex& index) {
  require(mapping.start() < mapping.end() && mapping.end() <= kTaskEnd, "its range is impossible");
  require(mapping.start() % kPageSize == 0 && mapping.end() % kPageSize == 0, "it isn't whole pages");
  require(mapping.start() >= previous_end, "it overlaps the mapping before it, or stands out of order");
  require(mapping.prot() <= 7, "protection {:#x}", mapping.prot());
  require(mapping.offset() % kPageSize == 0 &&
              mapping.offset() <= kMaxFileBytes - (mapping.end() - mapping.start()),
          "its offset {:#x} is impossible", mapping.offset());
  require(mapping.name().size() <= kMaxMappingName && mapping.name().find('\0') == std::string::npos,
          "its name has {} bytes", mapping.name().size());
  require(mapping.advice_size() <= kMaxAdvice &&
              std::ranges::all_of(mapping.advice(), [](uint32_t a) { return a <= kMaxAdviceValue; }),
          "its advice is impossible");
  validate_backing(mapping, index);
}

std::string mapping_name(const image::Mapping& mapping) {
  return fmt::format("mapping {:x}-{:x}", mapping.start(), mapping.end());
}

bool has_private_pages(const image::Mapping& mapping) {
  return !mapping.shared() && mapping.backing() != image::Mapping::VVAR;
}

/// Every page that the index mentions lies in a mapping that can have pages of its own.
void validate_pages_mapped(const image::Mm& mm, const std::vector<PageRun>& runs) {
  auto mapping = mm.mappings().begin();
  for (const PageRun& run : runs) {
    uint64_t page = run.first;
    const uint64_t end = run.first + run.count;
    while (page < end) {
      while (mapping != mm.mappings().end() && mapping->end() / kPageSize <= page) {
        ++mapping;
      }
      require(mapping != mm.mappings().end() && mapping->start() / kPageSize <= page &&
                  has_private_pages(*mapping),
              "its index has a page at {:x}, where no private mapping is", page * kPageSize);
      page = std::min(end, mapping->end() / kPageSize);
    }
  }
}

void validate_mm(const image::Mm& mm, const ValidationIndex& index) {
  const auto executable = index.files.find(mm.exe_file_id());
  require(executable != index.files.end(), "its executable, file {}, isn't there", mm.exe_file_id());
  require(S_ISREG(executable->second->mode()), "its executable isn't a regular file");
  require(mm.auxv_size() <= kMaxAuxvWords && mm.auxv_size() % 2 == 0, "an auxv of {} words", mm.auxv_size());
  require(mm.dumpable() >= 0 && mm.dumpable() <= 2, "dumpable {}", mm.dumpable());
  uint64_t previous_end = 0;
  for (const image::Mapping& mapping : mm.mappings()) {
    with_context([&] { return mapping_name(mapping); },
                 [&] { validate_mapping(mapping, previous_end, index); });
    previous_end = mapping.end();
  }
}

/// Pages that come from the parent task are pages that it has.
void validate_inherited(const std::vector<PageRun>& mine, const std::vector<PageRun>& parents) {
  auto theirs = parents.begin();
  for (const PageRun& run : mine) {
    if (run.kind != image::PAGE_INHERITED) {
      continue;
    }
    uint64_t page = run.first;
    while (page < run.first + run.count) {
      while (theirs != parents.end() && theirs->first + theirs->count <= page) {
        ++theirs;
      }
      require(theirs != parents.end() && theirs->first <= page && theirs->kind != image::PAGE_HOLE,
              "the page at {:x} comes from the parent task, which has none there", page * kPageSize);
      page = theirs->first + theirs->count;
    }
  }
}

void validate_mms(const ValidationIndex& index, const Runs& runs) {
  std::map<uint32_t, const image::Task*> users;
  for (const auto& [pid, task] : index.tasks) {
    if (task->mm_id() != 0) {
      const auto [user, added] = users.emplace(task->mm_id(), task);
      require(added, "task {}: it shares memory with task {}", pid, user->second->pid(0));
    }
  }
  for (const auto& [id, mm] : index.mms) {
    with_context([id = id] { return fmt::format("mm {}", id); },
                 [&, mm = mm] {
                   validate_mm(*mm, index);
                   const auto user = users.find(mm->id());
                   require(user != users.end(), "it belongs to no task");
                   const std::vector<PageRun>& mine = runs.at(mm->memory_object());
                   validate_pages_mapped(*mm, mine);
                   const auto parent = index.tasks.find(user->second->parent());
                   const bool has_parent = parent != index.tasks.end();
                   validate_inherited(
                       mine, has_parent ? runs.at(index.mms.at(parent->second->mm_id())->memory_object())
                                        : std::vector<PageRun>{});
                 });
  }
}

/// Pages of shared memory and of files: within the size, and of the kinds that make sense there.
void validate_content(const std::vector<PageRun>& runs, uint64_t size) {
  require(size <= kMaxFileBytes, "a size of {} bytes", size);
  for (const PageRun& run : runs) {
    require(run.kind != image::PAGE_INHERITED, "pages of a parent task in what isn't an address space");
    require(run.kind != image::PAGE_IN_PARENT, "pages of a parent checkpoint in what isn't an address space");
    require(run.first + run.count <= padded_bytes(size) / kPageSize, "pages behind the end, at {:#x}",
            run.first * kPageSize);
  }
}

void validate_shared_memory(const image::SharedMemory& shared, const std::vector<PageRun>& runs) {
  validate_content(runs, shared.size());
  require(shared.name().size() <= kMaxMemfdName && shared.name().find('\0') == std::string::npos,
          "its name has {} bytes", shared.name().size());
  require(shared.mode() <= 07777, "mode {:o}", shared.mode());
}

/// The runs of all objects.
Runs decode_all(const ValidationIndex& index) {
  Runs runs;
  for (const auto& [id, object] : index.memory_objects) {
    with_context([id = id] { return fmt::format("memory object {}", id); },
                 [&, id = id, object = object] {
                   std::vector<PageRun>& decoded = runs[id] = decode_runs(*object);
                   const bool in_parent = std::ranges::any_of(
                       decoded, [](const PageRun& r) { return r.kind == image::PAGE_IN_PARENT; });
                   require(!in_parent || (index.header->has_parent() && object->parent_object() != 0),
                           "it has pages in a parent that isn't named");
                 });
  }
  return runs;
}

/// Regular files in the trees of superblocks, each once.
template <typename Visit>
void for_each_tree_file(const ValidationIndex& index, const Visit& visit) {
  for (const auto& [id, superblock] : index.superblocks) {
    for (const image::FileTree& tree : superblock->trees()) {
      for (const image::FileTreeEntry& entry : tree.entries()) {
        if (S_ISREG(entry.mode())) {
          visit(*superblock, entry);
        }
      }
    }
  }
}

/// Each object belongs to one mm, one shared memory, one unlinked file or one file of a superblock.
void validate_owners(const ValidationIndex& index) {
  std::map<uint64_t, std::string> owners;
  const auto own = [&](uint64_t object, const std::string& owner) {
    require(index.memory_objects.contains(object), "{}: memory object {} isn't there", owner, object);
    const auto [other, added] = owners.emplace(object, owner);
    require(added, "{}: memory object {} belongs to {}", owner, object, other->second);
  };
  for (const auto& [id, mm] : index.mms) {
    own(mm->memory_object(), fmt::format("mm {}", id));
  }
  for (const auto& [id, shared] : index.shared_memory) {
    own(shared->memory_object(), fmt::format("shared memory {}", id));
  }
  for (const auto& [id, file] : index.files) {
    if (file->has_ghost()) {
      own(file->ghost().memory_object(), fmt::format("file {}", id));
    }
  }
  for (const auto& [pid, task] : index.pre_dumped_tasks) {
    require(index.header->pre_dump(), "pre-dumped task {} in what isn't a pre-dump", pid);
    own(task->memory_object(), fmt::format("pre-dumped task {}", pid));
  }
  for_each_tree_file(index, [&](const image::Superblock& superblock, const image::FileTreeEntry& entry) {
    own(entry.memory_object(), fmt::format("superblock {}: file {}", superblock.id(), entry.name()));
  });
  for (const auto& [id, object] : index.memory_objects) {
    require(owners.contains(id), "memory object {}: it belongs to nothing", id);
  }
}

/// The blocks fill the files of the payload without gaps or overlaps: every byte is under a checksum.
void validate_blocks(const ValidationIndex& index, const PayloadSizes& payload_sizes) {
  std::vector<std::vector<const image::PageBlock*>> blocks(payload_sizes.size());
  for (const auto& [id, object] : index.memory_objects) {
    with_context([id = id] { return fmt::format("memory object {}", id); },
                 [&, object = object] {
                   for (const image::PageBlock& block : object->blocks()) {
                     check_block(block, payload_sizes);
                     blocks[block.file()].push_back(&block);
                   }
                 });
  }
  for (size_t file = 0; file < blocks.size(); ++file) {
    std::ranges::sort(blocks[file], {}, [](const image::PageBlock* block) { return block->offset(); });
    uint64_t end = 0;
    for (const image::PageBlock* block : blocks[file]) {
      require(block->offset() >= end, "the block at {:#x} of {} overlaps another", block->offset(),
              payload_file(file));
      require(block->offset() == end, "what {} has at {:#x} belongs to no block", payload_file(file), end);
      end = block->offset() + padded_bytes(block->stored_bytes());
    }
    require(end == payload_sizes[file], "what {} has at {:#x} belongs to no block", payload_file(file), end);
  }
}

/// Pages of an address space of which nothing else is known.
void validate_pre_dumped_pages(const std::vector<PageRun>& runs) {
  for (const PageRun& run : runs) {
    require(run.kind != image::PAGE_INHERITED, "pages of a parent task in a pre-dump");
    require(run.first + run.count <= kTaskEnd / kPageSize, "a page at {:#x}", run.first * kPageSize);
  }
}

}  // namespace

void validate_pre_dump(const std::vector<Record>& records, const ValidationIndex& index,
                       const PayloadSizes& payload_sizes) {
  for (const Record& record : records) {
    require(record.type == RecordType::Checkpoint || record.type == RecordType::MemoryObject ||
                record.type == RecordType::PreDumpedTask,
            "{} in a pre-dump, which has memory alone",
            find_record_kind(static_cast<uint32_t>(record.type))->name);
  }
  const Runs runs = decode_all(index);
  validate_owners(index);
  for (const auto& [pid, task] : index.pre_dumped_tasks) {
    with_context([pid = pid] { return fmt::format("pre-dumped task {}", pid); },
                 [&, object = task->memory_object()] { validate_pre_dumped_pages(runs.at(object)); });
  }
  validate_blocks(index, payload_sizes);
}

void validate_memory(const ValidationIndex& index, const PayloadSizes& payload_sizes) {
  const Runs runs = decode_all(index);
  validate_owners(index);
  validate_mms(index, runs);
  for (const auto& [id, shared] : index.shared_memory) {
    with_context([id = id] { return fmt::format("shared memory {}", id); },
                 [&, s = shared] { validate_shared_memory(*s, runs.at(s->memory_object())); });
  }
  for (const auto& [id, file] : index.files) {
    if (file->has_ghost()) {
      with_context([id = id] { return fmt::format("file {}", id); },
                   [&, f = file] { validate_content(runs.at(f->ghost().memory_object()), f->size()); });
    }
  }
  for_each_tree_file(index, [&](const image::Superblock& superblock, const image::FileTreeEntry& entry) {
    with_context([&] { return fmt::format("superblock {}: file {}", superblock.id(), entry.name()); },
                 [&] { validate_content(runs.at(entry.memory_object()), entry.size()); });
  });
  validate_blocks(index, payload_sizes);
}

}  // namespace godwit
