#include "dump/descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <span>
#include <unordered_map>

#include "dump/descriptor_kind.h"
#include "dump/file_lock.h"
#include "kernel/error.h"
#include "kernel/kcmp.h"

namespace godwit {

using collecting::Description;
using collecting::kKinds;

namespace {

/// Descriptors whose fdinfo differs in one of these have different descriptions: only the others have to be
/// compared by kcmp(2). While the tree stands still no position moves.
struct Likeness {
  uint64_t inode;
  uint64_t mount_id;
  int64_t position;
  uint32_t flags;
  bool operator==(const Likeness&) const = default;
};

struct LikenessHash {
  size_t operator()(const Likeness& of) const {
    size_t hash = of.inode;
    for (const uint64_t part : {of.mount_id, static_cast<uint64_t>(of.position), uint64_t{of.flags}}) {
      hash = (hash ^ part) * 0x9e3779b97f4a7c15ULL;
    }
    return hash;
  }
};

/// The numbers of all descriptors of a task, ascending.
std::vector<int> descriptor_numbers(int directory, pid_t pid) {
  std::vector<int> numbers;
  std::array<char, 16384> buffer;
  for (;;) {
    const long got = ::syscall(SYS_getdents64, directory, buffer.data(), buffer.size());
    if (got < 0) {
      throw errno_error("cannot list /proc/{}/fd", pid);
    }
    if (got == 0) {
      break;
    }
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
      at += entry->d_reclen;
      if (entry->d_name[0] != '.') {
        numbers.push_back(parse_number<int32_t>(entry->d_name, 10, "descriptor"));
      }
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

FdInfo read_fdinfo(int directory, pid_t pid, int fd) {
  return with_context([&] { return fmt::format("descriptor {} of task {}", fd, pid); },
                      [&] {
                        const Fd file = open_at(directory, std::to_string(fd), O_RDONLY);
                        return parse_fdinfo(read_record(file.get(), "its fdinfo"));
                      });
}

std::string read_link_at(int directory, pid_t pid, const std::string& name) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlinkat(directory, name.c_str(), target.data(), target.size());
  if (length < 0) {
    throw errno_error("cannot read the link of descriptor {} of task {}", name, pid);
  }
  return {target.data(), static_cast<size_t>(length)};
}

/// /dev/null, zero and full, which most tasks have open, and which send no signals.
bool is_plain_device(const struct stat& status) {
  const unsigned number = minor(status.st_rdev);
  return S_ISCHR(status.st_mode) && major(status.st_rdev) == 1 && (number == 3 || number == 5 || number == 7);
}

/// Files that signals can be asked of: what else F_SETOWN has set has no effect.
bool can_send_signals(const Description& description) {
  return description.link.starts_with("pipe:") || description.link.starts_with("socket:") ||
         S_ISDIR(description.status.st_mode) || S_ISFIFO(description.status.st_mode) ||
         (S_ISCHR(description.status.st_mode) && !is_plain_device(description.status));
}

/// Whether the process, thread or group that `owner` names has to do with one of the tasks.
bool is_among(const std::vector<pid_t>& pids, const image::SignalOwner& owner) {
  return std::any_of(pids.begin(), pids.end(), [&](pid_t pid) {
    switch (owner.type()) {
      case F_OWNER_TID:
        return ::access(fmt::format("/proc/{}/task/{}", pid, owner.pid()).c_str(), F_OK) == 0;
      case F_OWNER_PGRP:
        return ::getpgid(pid) == owner.pid();
      default:
        return pid == owner.pid();
    }
  });
}

}  // namespace

struct DescriptorCollector::State {
  State(FileTable& files, SharedMemoryTable& shared_memory, NamespaceTable& namespaces,
        const DumpOptions& options)
      : context(files, shared_memory, namespaces, options), of_kind(kKinds.size()) {
    context.in_flight = [this](Fd descriptor) { return take_in_flight(std::move(descriptor)); };
  }

  collecting::Context context;
  FileLockTable locks;
  std::unordered_map<Likeness, std::vector<Description*>, LikenessHash> alike;  // in kcmp's order
  std::vector<size_t> table_order;  // indexes into context.tables, in kcmp's order
  std::vector<std::vector<const Description*>> of_kind;
  std::vector<Fd> in_flight;  // our descriptors of descriptions that no task has

  const Description& description_of(pid_t pid, int fd, int links, const FdInfo& info);
  void identify(Description& description, int links);
  void collect_table(pid_t pid, image::DescriptorTable& table);
  uint32_t take_in_flight(Fd descriptor);
};

/// The description behind a descriptor: one that is known, or a new one.
const Description& DescriptorCollector::State::description_of(pid_t pid, int fd, int links,
                                                              const FdInfo& info) {
  const Likeness likeness{info.inode, info.mount_id, info.position,
                          info.flags & ~static_cast<uint32_t>(O_CLOEXEC)};
  std::vector<Description*>& candidates = alike[likeness];
  size_t low = 0;
  for (size_t high = candidates.size(); low < high;) {
    const size_t middle = (low + high) / 2;
    const auto order = compare_open_files(pid, fd, candidates[middle]->pid, candidates[middle]->fd);
    if (order == 0) {
      return *candidates[middle];
    }
    (order < 0 ? high : low) = order < 0 ? middle : middle + 1;
  }
  auto made = std::make_unique<Description>();
  made->id = static_cast<uint32_t>(context.descriptions.size() + 1);
  made->pid = pid;
  made->fd = fd;
  made->info = info;
  identify(*made, links);
  candidates.insert(candidates.begin() + static_cast<ptrdiff_t>(low), made.get());
  return *context.descriptions.emplace_back(std::move(made));
}

/// Finds out what a new description is, and refuses it if it can't be kept.
void DescriptorCollector::State::identify(Description& description, int links) {
  const std::string number = std::to_string(description.fd);
  description.link = read_link_at(links, description.pid, number);
  if (description.has_path() && ::fstatat(links, number.c_str(), &description.status, 0) != 0) {
    throw errno_error("cannot stat {}", description.name());
  }
  if ((description.info.flags & O_PATH) == 0 && can_send_signals(description)) {
    const Fd copy = context.copy(description);
    description.owner = collecting::signal_owner(description, copy.get());
    socklen_t size = sizeof description.socket_domain;
    if (description.link.starts_with("socket:") &&
        ::getsockopt(copy.get(), SOL_SOCKET, SO_DOMAIN, &description.socket_domain, &size) != 0) {
      throw errno_error("cannot ask {} for its domain", description.name());
    }
  }
  for (size_t i = 0; i < kKinds.size(); ++i) {
    if (kKinds[i]->matches(description)) {
      if (kKinds[i]->check != nullptr) {
        kKinds[i]->check(description, context);
      }
      of_kind[i].push_back(&description);
      description.kind = kKinds[i];
      return;
    }
  }
  throw collecting::refusal_of(description);
}

void DescriptorCollector::State::collect_table(pid_t pid, image::DescriptorTable& table) {
  const std::string proc = fmt::format("/proc/{}", pid);
  const Fd links = open_file(proc + "/fd", O_RDONLY | O_DIRECTORY);
  const Fd infos = open_file(proc + "/fdinfo", O_PATH | O_DIRECTORY);
  for (const int fd : descriptor_numbers(links.get(), pid)) {
    const FdInfo info = read_fdinfo(infos.get(), pid, fd);
    const Description& description = description_of(pid, fd, links.get(), info);
    image::Descriptor& record = *table.add_descriptors();
    record.set_fd(static_cast<uint32_t>(fd));
    record.set_open_file_id(description.id);
    record.set_close_on_exec((info.flags & O_CLOEXEC) != 0);
    if (info.rest.starts_with("lock:") || info.rest.find("\nlock:") != std::string::npos) {
      locks.add(info, description, pid);
    }
  }
}

uint32_t DescriptorCollector::State::take_in_flight(Fd descriptor) {
  const pid_t self = ::getpid();
  const Fd links = open_file("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  const Fd infos = open_file("/proc/self/fdinfo", O_PATH | O_DIRECTORY);
  const FdInfo info = read_fdinfo(infos.get(), self, descriptor.get());
  const size_t known = context.descriptions.size();
  const Description& description = description_of(self, descriptor.get(), links.get(), info);
  if (context.descriptions.size() > known) {
    if (!info.lines("lock").empty()) {
      throw refusal("{} in a message in a socket, with a lock on it,", description.link);
    }
    if (description.owner.pid() != 0 || description.owner.signal() != 0 || description.owner.async()) {
      throw refusal("{} in a message in a socket, which signals somebody,", description.link);
    }
    in_flight.push_back(std::move(descriptor));
  }
  return description.id;
}

DescriptorCollector::DescriptorCollector(FileTable& files, SharedMemoryTable& shared_memory,
                                         NamespaceTable& namespaces, const DumpOptions& options)
    : state_(std::make_unique<State>(files, shared_memory, namespaces, options)) {}

DescriptorCollector::~DescriptorCollector() = default;

uint32_t DescriptorCollector::collect(pid_t pid) {
  collecting::Context& context = state_->context;
  context.pids.push_back(pid);
  std::vector<size_t>& order = state_->table_order;
  size_t low = 0;
  for (size_t high = order.size(); low < high;) {
    const size_t middle = (low + high) / 2;
    const auto compared = compare(Shared::DescriptorTable, pid, context.table_pids[order[middle]]);
    if (compared == 0) {
      return context.tables[order[middle]].id();
    }
    (compared < 0 ? high : low) = compared < 0 ? middle : middle + 1;
  }
  const size_t index = context.tables.size();
  order.insert(order.begin() + static_cast<ptrdiff_t>(low), index);
  context.tables.emplace_back().set_id(static_cast<uint32_t>(index + 1));
  context.table_pids.push_back(pid);
  state_->collect_table(pid, context.tables[index]);
  return context.tables[index].id();
}

void DescriptorCollector::finish() {
  // More are found on the way.
  for (size_t i = 0; i < state_->context.descriptions.size(); ++i) {
    Description& description = *state_->context.descriptions[i];
    if (description.kind->look_inside != nullptr) {
      description.content = description.kind->look_inside(description, state_->context);
    }
  }
  for (const auto& description : state_->context.descriptions) {
    if (description->owner.pid() != 0 && !is_among(state_->context.pids, description->owner)) {
      throw refusal("{}, which signals somebody outside the tree ({}),", description->name(),
                    description->owner.pid());
    }
  }
  for (size_t i = 0; i < kKinds.size(); ++i) {
    if (!state_->of_kind[i].empty()) {
      kKinds[i]->collect(state_->of_kind[i], state_->context);
    }
  }
  state_->context.forget_tasks();
}

TcpConnections& DescriptorCollector::connections() {
  return state_->context.tcp;
}

void DescriptorCollector::write(CheckpointWriter& writer) const {
  for (const image::DescriptorTable& table : state_->context.tables) {
    writer.add(table);
  }
  for (const auto& record : state_->context.records) {
    writer.add(*record);
  }
  for (const auto& [key, lock] : state_->locks.records()) {
    writer.add(lock);
  }
}

}  // namespace godwit
