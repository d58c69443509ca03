#include "images-format/record.h"

#include <array>
#include <typeinfo>

#include "images-format/cgroup.pb.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/descriptor.pb.h"
#include "images-format/epoll.pb.h"
#include "images-format/eventfd.pb.h"
#include "images-format/file.pb.h"
#include "images-format/file_lock.pb.h"
#include "images-format/inet_socket.pb.h"
#include "images-format/inotify.pb.h"
#include "images-format/memfd.pb.h"
#include "images-format/memory.pb.h"
#include "images-format/mm.pb.h"
#include "images-format/mount.pb.h"
#include "images-format/namespace.pb.h"
#include "images-format/pipe.pb.h"
#include "images-format/pre_dump.pb.h"
#include "images-format/regular_file.pb.h"
#include "images-format/seccomp.pb.h"
#include "images-format/shared_memory.pb.h"
#include "images-format/signalfd.pb.h"
#include "images-format/task.pb.h"
#include "images-format/timerfd.pb.h"
#include "images-format/tty.pb.h"
#include "images-format/unix_socket.pb.h"
#include "kernel/error.h"

namespace godwit {

namespace {

template <typename Message>
const google::protobuf::Message& prototype() {
  return Message::default_instance();
}

template <typename Message>
void own_open_file(const google::protobuf::Message& record, const OpenFileVisitor& visit) {
  visit(static_cast<const Message&>(record).open_file());
}

template <typename Message>
void open_files_of_ends(const google::protobuf::Message& record, const OpenFileVisitor& visit) {
  for (const auto& end : static_cast<const Message&>(record).ends()) {
    visit(end.open_file());
  }
}

constexpr std::array kKinds = {
    RecordKind{RecordType::Checkpoint, "checkpoint", prototype<image::Checkpoint>, nullptr},
    RecordKind{RecordType::Task, "tasks", prototype<image::Task>, nullptr},
    RecordKind{RecordType::Mm, "mappings", prototype<image::Mm>, nullptr},
    RecordKind{RecordType::MemoryObject, "memory", prototype<image::MemoryObject>, nullptr},
    RecordKind{RecordType::SharedMemory, "shared-memory", prototype<image::SharedMemory>, nullptr},
    RecordKind{RecordType::File, "files", prototype<image::File>, nullptr},
    RecordKind{RecordType::DescriptorTable, "descriptors", prototype<image::DescriptorTable>, nullptr},
    RecordKind{RecordType::SeccompFilter, "seccomp-filters", prototype<image::SeccompFilter>, nullptr},
    RecordKind{RecordType::FileLock, "file-locks", prototype<image::FileLock>, nullptr},
    RecordKind{RecordType::Namespace, "namespaces", prototype<image::Namespace>, nullptr},
    RecordKind{RecordType::RegularFile, "regular-files", prototype<image::RegularFile>,
               own_open_file<image::RegularFile>},
    RecordKind{RecordType::Pipe, "pipes", prototype<image::Pipe>, open_files_of_ends<image::Pipe>},
    RecordKind{RecordType::EventFd, "eventfds", prototype<image::EventFd>, own_open_file<image::EventFd>},
    RecordKind{RecordType::TimerFd, "timerfds", prototype<image::TimerFd>, own_open_file<image::TimerFd>},
    RecordKind{RecordType::SignalFd, "signalfds", prototype<image::SignalFd>, own_open_file<image::SignalFd>},
    RecordKind{RecordType::Epoll, "epolls", prototype<image::Epoll>, own_open_file<image::Epoll>},
    RecordKind{RecordType::Inotify, "inotifies", prototype<image::Inotify>, own_open_file<image::Inotify>},
    RecordKind{RecordType::UnixSocket, "unix-sockets", prototype<image::UnixSocket>,
               open_files_of_ends<image::UnixSocket>},
    RecordKind{RecordType::InetSocket, "inet-sockets", prototype<image::InetSocket>,
               own_open_file<image::InetSocket>},
    RecordKind{RecordType::Tty, "ttys", prototype<image::Tty>, own_open_file<image::Tty>},
    RecordKind{RecordType::MemFd, "memfds", prototype<image::MemFd>, own_open_file<image::MemFd>},
    RecordKind{RecordType::MountNamespace, "mount-namespaces", prototype<image::MountNamespace>, nullptr},
    RecordKind{RecordType::Superblock, "superblocks", prototype<image::Superblock>, nullptr},
    RecordKind{RecordType::PreDumpedTask, "pre-dumped-tasks", prototype<image::PreDumpedTask>, nullptr},
    RecordKind{RecordType::CgroupSet, "cgroup-sets", prototype<image::CgroupSet>, nullptr},
    RecordKind{RecordType::CgroupHierarchy, "cgroups", prototype<image::CgroupHierarchy>, nullptr},
    RecordKind{RecordType::Closing, "closing", prototype<image::Closing>, nullptr},
};

}  // namespace

std::span<const RecordKind> record_kinds() {
  return kKinds;
}

const RecordKind* find_record_kind(uint32_t type) {
  for (const RecordKind& kind : kKinds) {
    if (static_cast<uint32_t>(kind.type) == type) {
      return &kind;
    }
  }
  return nullptr;
}

RecordType record_type_of(const google::protobuf::Message& message) {
  // Not by descriptor: those are only built when first asked for, which takes longer than all else here.
  for (const RecordKind& kind : kKinds) {
    const google::protobuf::Message& example = kind.prototype();
    if (typeid(example) == typeid(message)) {
      return kind.type;
    }
  }
  throw error("{} is no record of a checkpoint", message.GetTypeName());
}

void for_each_open_file(const Record& record, const OpenFileVisitor& visit) {
  const RecordKind* kind = find_record_kind(static_cast<uint32_t>(record.type));
  if (kind != nullptr && kind->open_files != nullptr) {
    kind->open_files(*record.message, visit);
  }
}

}  // namespace godwit
