#include <algorithm>
#include <map>
#include <set>

#include "dump/descriptor_kind.h"
#include "images-format/epoll.pb.h"
#include "kernel/error.h"
#include "kernel/kcmp.h"

namespace godwit::collecting {

namespace {

bool matches(const Description& description) {
  return description.link == "anon_inode:[eventpoll]";
}

/// Who has which description under which number.
class Holders {
 public:
  explicit Holders(const Context& context) : context_(context) {
    for (size_t i = 0; i < context.tables.size(); ++i) {
      for (const image::Descriptor& descriptor : context.tables[i].descriptors()) {
        tables_of_[descriptor.open_file_id()].insert(i);
      }
    }
    for (const auto& description : context.descriptions) {
      by_inode_[description->info.inode].push_back(description.get());
    }
  }

  /// The description that a watch is of: usually what its number leads to still.
  [[nodiscard]] const Description* watched(const Description& epoll, const FdWatch& watch,
                                           unsigned nth) const {
    const auto is_it = [&](pid_t pid, int fd) {
      return is_watched_by(pid, fd, epoll.pid, epoll.fd, watch.fd, nth);
    };
    if (const Description* present = at(epoll.pid, watch.fd);
        present != nullptr && is_it(epoll.pid, watch.fd)) {
      return present;
    }
    const auto alike = by_inode_.find(watch.inode);
    if (alike != by_inode_.end()) {
      for (const Description* candidate : alike->second) {
        if (is_it(candidate->pid, candidate->fd)) {
          return candidate;
        }
      }
    }
    return nullptr;
  }

  [[nodiscard]] bool somebody_has_both(uint32_t a, uint32_t b) const {
    const auto of_a = tables_of_.find(a);
    const auto of_b = tables_of_.find(b);
    return of_a != tables_of_.end() && of_b != tables_of_.end() &&
           std::any_of(of_a->second.begin(), of_a->second.end(),
                       [&](size_t table) { return of_b->second.contains(table); });
  }

 private:
  [[nodiscard]] const Description* at(pid_t pid, int fd) const {
    const auto table = std::find(context_.table_pids.begin(), context_.table_pids.end(), pid);
    if (table == context_.table_pids.end()) {
      return nullptr;  // of one that is only in flight we have a descriptor ourselves
    }
    const auto& descriptors =
        context_.tables[static_cast<size_t>(table - context_.table_pids.begin())].descriptors();
    const auto found = std::lower_bound(
        descriptors.begin(), descriptors.end(), fd,
        [](const image::Descriptor& one, int wanted) { return static_cast<int>(one.fd()) < wanted; });
    if (found == descriptors.end() || static_cast<int>(found->fd()) != fd) {
      return nullptr;
    }
    return context_.descriptions[found->open_file_id() - 1].get();
  }

  const Context& context_;
  std::map<uint32_t, std::set<size_t>> tables_of_;
  std::map<uint64_t, std::vector<const Description*>> by_inode_;
};

void add_watches(const Description& epoll, const Holders& holders, image::Epoll& record) {
  std::map<int, unsigned> seen;  // how many watches under one number
  for (const std::string_view line : epoll.info.lines("tfd")) {
    const FdWatch watch = parse_watch(line);
    const Description* watched = holders.watched(epoll, watch, seen[watch.fd]++);
    if (watched == nullptr) {
      throw refusal("{} with a watch of descriptor {}, which nobody in the tree has any more,", epoll.name(),
                    watch.fd);
    }
    if (!holders.somebody_has_both(epoll.id, watched->id)) {
      throw refusal("{} with a watch of {}, which no task has beside it,", epoll.name(), watched->name());
    }
    image::EpollWatch& to = *record.add_watches();
    to.set_fd(static_cast<uint32_t>(watch.fd));
    to.set_open_file_id(watched->id);
    to.set_events(watch.events);
    to.set_data(watch.data);
  }
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  const Holders holders(context);
  for (const Description* description : descriptions) {
    auto record = std::make_unique<image::Epoll>();
    description->fill(*record->mutable_open_file());
    add_watches(*description, holders, *record);
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kEpoll{"epoll", matches, nullptr, collect,
                            "watches with events and data, nested ones too"};

}  // namespace godwit::collecting
