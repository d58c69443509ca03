#include <sys/inotify.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "dump/descriptor_kind.h"
#include "dump/watched_files.h"
#include "images-format/inotify.pb.h"
#include "kernel/error.h"

namespace godwit::collecting {

namespace {

bool matches(const Description& description) {
  return description.link == "anon_inode:inotify";
}

/// Events can be taken out of the queue, but nobody can put them in.
void check(const Description& description, Context& context) {
  const Fd copy = context.copy(description);
  int waiting = 0;
  if (::ioctl(copy.get(), FIONREAD, &waiting) != 0) {
    throw errno_error("cannot ask {} for its events", description.name());
  }
  if (waiting > 0) {
    throw refusal("{} with events that nobody has read", description.name())
        .hint("the next try may find them read");
  }
}

struct Watch {
  image::InotifyWatch record;
  WatchedFile file;
};

std::vector<Watch> watches_of(const Description& description) {
  std::vector<Watch> watches;
  for (std::string_view text = description.info.rest; !text.empty();) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (!line.starts_with("inotify ")) {
      continue;
    }
    const auto fields = parse_watch_fields(line);
    Watch watch{{}, watched_file(fields)};
    watch.record.set_number(parse_number<int32_t>(fields.at("wd"), 16, "number of a watch"));
    watch.record.set_mask(parse_number<uint32_t>(fields.at("mask"), 16, "mask of a watch") &
                          (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK));
    watches.push_back(watch);
  }
  std::ranges::sort(watches, {}, [](const Watch& watch) { return watch.record.number(); });
  return watches;
}

/// A file that has lost its name is known if somebody in the tree has it open.
uint32_t file_without_name(const WatchedFile& file, Context& context) {
  for (const auto& description : context.descriptions) {
    if (description->has_path() && description->status.st_dev == file.device &&
        description->status.st_ino == file.inode) {
      return context.files.add(description->proc_link(), description->link, description->status);
    }
  }
  return 0;
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  if (descriptions.empty()) {
    return;
  }
  WatchedFiles files(descriptions.front()->pid, context.namespaces.root_directory());
  std::vector<std::vector<Watch>> watches;
  std::vector<WatchedFile> watched;
  for (const Description* description : descriptions) {
    watches.push_back(watches_of(*description));
    for (const Watch& watch : watches.back()) {
      watched.push_back(watch.file);
    }
  }
  files.find(watched);
  for (size_t i = 0; i < descriptions.size(); ++i) {
    const Description& description = *descriptions[i];
    auto record = std::make_unique<image::Inotify>();
    description.fill(*record->mutable_open_file());
    for (Watch& watch : watches[i]) {
      const auto path = files.path_of(watch.file);
      struct stat status {};
      const uint32_t id = path && context.files.find(*path, status) ? context.files.add(*path, *path, status)
                                                                    : file_without_name(watch.file, context);
      if (id == 0) {
        throw refusal("{}, whose watch {} is of a file that can't be found (device {:x}, inode {}),",
                      description.name(), watch.record.number(), watch.file.device, watch.file.inode);
      }
      watch.record.set_file_id(id);
      *record->add_watches() = watch.record;
    }
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kInotify{"inotify", matches, check, collect,
                              "watches with their numbers; refused with events that nobody has read"};

}  // namespace godwit::collecting
