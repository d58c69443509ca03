#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace godwit::image {
class OpenFile;
}

namespace godwit {

/// The numbers stand in images: never reused, never changed.
enum class RecordType : uint32_t {
  Checkpoint = 1,
  Task = 2,
  Mm = 3,
  MemoryObject = 4,
  SharedMemory = 5,
  File = 6,
  DescriptorTable = 7,
  SeccompFilter = 8,
  FileLock = 9,
  Namespace = 11,
  RegularFile = 16,
  Pipe = 17,
  EventFd = 18,
  TimerFd = 19,
  SignalFd = 20,
  Epoll = 21,
  UnixSocket = 22,
  InetSocket = 23,
  Tty = 24,
  MemFd = 25,
  Inotify = 30,
  MountNamespace = 40,
  Superblock = 41,
  PreDumpedTask = 42,
  CgroupSet = 48,
  CgroupHierarchy = 49,
  Closing = 255,
};

using OpenFileVisitor = std::function<void(const image::OpenFile&)>;

/// The registry of records: one line a kind. A type that isn't here is refused by a reader.
struct RecordKind {
  RecordType type;
  std::string_view name;  // as `godwit inspect` calls it: "tasks", "pipes"
  const google::protobuf::Message& (*prototype)();
  /// Visits the open file descriptions that such a record makes. Null: it makes none.
  void (*open_files)(const google::protobuf::Message& record, const OpenFileVisitor& visit);
};

[[nodiscard]] std::span<const RecordKind> record_kinds();
/// Null: no such type.
[[nodiscard]] const RecordKind* find_record_kind(uint32_t type);
/// The type of a message; throws Error for one that isn't in the registry.
[[nodiscard]] RecordType record_type_of(const google::protobuf::Message& message);

struct Record {
  RecordType type;
  std::unique_ptr<google::protobuf::Message> message;
};

/// The open file descriptions that a record makes, each once: its own, or those of its ends.
void for_each_open_file(const Record& record, const OpenFileVisitor& visit);

}  // namespace godwit
