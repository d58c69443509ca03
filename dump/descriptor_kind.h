#pragma once

#include <google/protobuf/message.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dump/dump.h"
#include "dump/file.h"
#include "dump/namespace.h"
#include "dump/shared_memory.h"
#include "dump/tcp.h"
#include "images-format/descriptor.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/fdinfo.h"

/// What the dumper knows of open file descriptions, and the kinds of them that it can keep.
namespace godwit::collecting {

struct Kind;

/// One open file description of the tree, by the descriptor under which it was first seen: a task's, or, of
/// one that nobody has but a message in a socket, our own.
struct Description {
  uint32_t id = 0;
  pid_t pid = 0;
  int fd = -1;
  std::string link;          // text of /proc/PID/fd/N
  FdInfo info;               // as fdinfo of that descriptor says
  struct stat status {};     // only if the link is a path
  int socket_domain = -1;    // AF_*; only of sockets
  image::SignalOwner owner;  // with a pid, a signal or O_ASYNC only where somebody has asked for signals
  const Kind* kind = nullptr;
  std::unique_ptr<google::protobuf::Message> content;  // what Kind::look_inside has found

  [[nodiscard]] bool has_path() const { return link.starts_with('/'); }
  [[nodiscard]] uint32_t flags() const;  // without O_CLOEXEC and O_ASYNC
  [[nodiscard]] std::string proc_link() const;
  /// "descriptor 5 of task 41 (pipe:[1234])"
  [[nodiscard]] std::string name() const;
  void fill(image::OpenFile& record) const;
};

/// What the kinds work with.
class Context {
 public:
  Context(FileTable& files_, SharedMemoryTable& shared_memory_, NamespaceTable& namespaces_,
          const DumpOptions& options_)
      : files(files_),
        shared_memory(shared_memory_),
        namespaces(namespaces_),
        options(options_),
        tcp(options_) {}

  FileTable& files;
  SharedMemoryTable& shared_memory;
  NamespaceTable& namespaces;
  const DumpOptions& options;
  TcpConnections tcp;

  /// Another descriptor, in this process, of the description. Throws Error.
  [[nodiscard]] Fd copy(const Description& description);
  /// Hands over a record for the image.
  void add(std::unique_ptr<google::protobuf::Message> record) { records.push_back(std::move(record)); }
  /// The id of an open file that a task has closed and that still matters. There is no description of it.
  [[nodiscard]] uint32_t id_of_closed_file() { return --next_closed_id_; }
  /// The id of the description that a message in a socket carries. Throws Error if it can't be kept.
  std::function<uint32_t(Fd)> in_flight;
  /// Lets go of the descriptors that `copy` keeps.
  void forget_tasks();

  std::vector<std::unique_ptr<google::protobuf::Message>> records;
  std::vector<std::unique_ptr<Description>> descriptions;  // by id - 1
  std::vector<image::DescriptorTable> tables;
  std::vector<pid_t> table_pids;  // of `tables`: a task with it
  std::vector<pid_t> pids;        // all tasks

 private:
  uint32_t next_closed_id_ = UINT32_MAX;  // downwards; descriptions are counted upwards
  pid_t pidfd_of_ = 0;
  Fd pidfd_;
};

/// A kind of open file description.
struct Kind {
  std::string_view name;
  bool (*matches)(const Description&);
  /// Throws a refusal as soon as the description is seen. Null: nothing to refuse then.
  void (*check)(const Description&, Context&);
  /// Makes the records of all descriptions of the kind, once every task has been seen.
  void (*collect)(std::span<const Description* const>, Context&);
  std::string_view kept;  // in docs/support-table.md
  /// Finds what is in it, other descriptions among that, once every task has been seen. May be null.
  std::unique_ptr<google::protobuf::Message> (*look_inside)(const Description&, Context&) = nullptr;
};

extern const Kind kRegularFile;
extern const Kind kPipe;
extern const Kind kEventFd;
extern const Kind kTimerFd;
extern const Kind kSignalFd;
extern const Kind kEpoll;
extern const Kind kInotify;
extern const Kind kUnixSocket;
extern const Kind kInetSocket;
extern const Kind kTty;
extern const Kind kMemFd;

/// The registry.
inline constexpr std::array kKinds{
    &kMemFd, &kRegularFile, &kPipe,       &kEventFd,    &kTimerFd, &kSignalFd,
    &kEpoll, &kInotify,     &kUnixSocket, &kInetSocket, &kTty,
};

/// That no kind matches it, and why, where that is known.
[[nodiscard]] Error refusal_of(const Description& description);

/// Who is signalled about the description; `copy`: a descriptor of it in this process. Throws Error.
[[nodiscard]] image::SignalOwner signal_owner(const Description& description, int copy);

}  // namespace godwit::collecting
