#include "images-format/record.h"

#include <array>
#include <typeinfo>

#include "images-format/checkpoint.pb.h"
#include "images-format/descriptor.pb.h"
#include "images-format/epoll.pb.h"
#include "images-format/eventfd.pb.h"
#include "images-format/file.pb.h"
#include "images-format/file_lock.pb.h"
#include "images-format/inet_socket.pb.h"
#include "images-format/memfd.pb.h"
#include "images-format/memory.pb.h"
#include "images-format/mm.pb.h"
#include "images-format/pipe.pb.h"
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

constexpr std::array kKinds = {
    RecordKind{RecordType::Checkpoint, "checkpoint", prototype<image::Checkpoint>},
    RecordKind{RecordType::Task, "tasks", prototype<image::Task>},
    RecordKind{RecordType::Mm, "mappings", prototype<image::Mm>},
    RecordKind{RecordType::MemoryObject, "memory", prototype<image::MemoryObject>},
    RecordKind{RecordType::SharedMemory, "shared-memory", prototype<image::SharedMemory>},
    RecordKind{RecordType::File, "files", prototype<image::File>},
    RecordKind{RecordType::DescriptorTable, "descriptors", prototype<image::DescriptorTable>},
    RecordKind{RecordType::SeccompFilter, "seccomp-filters", prototype<image::SeccompFilter>},
    RecordKind{RecordType::FileLock, "file-locks", prototype<image::FileLock>},
    RecordKind{RecordType::RegularFile, "regular-files", prototype<image::RegularFile>},
    RecordKind{RecordType::Pipe, "pipes", prototype<image::Pipe>},
    RecordKind{RecordType::EventFd, "eventfds", prototype<image::EventFd>},
    RecordKind{RecordType::TimerFd, "timerfds", prototype<image::TimerFd>},
    RecordKind{RecordType::SignalFd, "signalfds", prototype<image::SignalFd>},
    RecordKind{RecordType::Epoll, "epolls", prototype<image::Epoll>},
    RecordKind{RecordType::UnixSocket, "unix-sockets", prototype<image::UnixSocket>},
    RecordKind{RecordType::InetSocket, "inet-sockets", prototype<image::InetSocket>},
    RecordKind{RecordType::Tty, "ttys", prototype<image::Tty>},
    RecordKind{RecordType::MemFd, "memfds", prototype<image::MemFd>},
    RecordKind{RecordType::Closing, "closing", prototype<image::Closing>},
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
    if (typeid(kind.prototype()) == typeid(message)) {
      return kind.type;
    }
  }
  throw error("{} is no record of a checkpoint", message.GetTypeName());
}

}  // namespace godwit
