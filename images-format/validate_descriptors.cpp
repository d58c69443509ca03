#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <numeric>
#include <set>
#include <string>

#include "images-format/epoll.pb.h"
#include "images-format/eventfd.pb.h"
#include "images-format/file_lock.pb.h"
#include "images-format/inet_socket.pb.h"
#include "images-format/inotify.pb.h"
#include "images-format/memfd.pb.h"
#include "images-format/page_store.h"
#include "images-format/pipe.pb.h"
#include "images-format/regular_file.pb.h"
#include "images-format/signalfd.pb.h"
#include "images-format/timerfd.pb.h"
#include "images-format/tty.pb.h"
#include "images-format/unix_socket.pb.h"
#include "images-format/validate_index.h"
#include "kernel/tcp_state.h"

namespace godwit {

namespace {

constexpr uint32_t kMaxDescriptor = 0x7fffffc0;  // sysctl_nr_open_max
constexpr uint32_t kMaxPipeBytes = 1U << 31;     // round_pipe_size() in fs/pipe.c
constexpr size_t kTermiosBytes = 44;             // struct termios2
constexpr size_t kWindowSizeBytes = 8;           // struct winsize
constexpr size_t kMaxOptionBytes = 4096;
constexpr size_t kMaxQueueBytes = 1UL << 30;  // half of what a socket buffer can be made
constexpr uint32_t kMaxWindowScale = 14;      // TCP_MAX_WSCALE
constexpr size_t kMostInFlight = 253;         // SCM_MAX_FD

void validate_file(const image::File& file) {
  require_path(file.path(), "its path");
  const uint32_t type = file.mode() & S_IFMT;
  constexpr std::array<uint32_t, 7> kTypes = {S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, S_IFLNK};
  require(std::ranges::find(kTypes, type) != kTypes.end() && (file.mode() & ~(S_IFMT | 07777U)) == 0,
          "mode {:o}", file.mode());
  require(!file.has_ghost() || type == S_IFREG, "content of what isn't a regular file");
  require(file.size() <= INT64_MAX, "a size of {} bytes", file.size());
}

void validate_table(const image::DescriptorTable& table, const ValidationIndex& index) {
  int64_t previous = -1;
  for (const image::Descriptor& descriptor : table.descriptors()) {
    require(descriptor.fd() <= kMaxDescriptor && descriptor.fd() > previous,
            "descriptor {} stands out of order", descriptor.fd());
    require(index.open_files.contains(descriptor.open_file_id()), "descriptor {}: open file {} isn't there",
            descriptor.fd(), descriptor.open_file_id());
    previous = descriptor.fd();
  }
}

void validate_regular(const image::RegularFile& regular, const ValidationIndex& index) {
  const auto file = index.files.find(regular.file_id());
  require(file != index.files.end(), "file {} isn't there", regular.file_id());
  const bool path_only = (regular.open_file().flags() & O_PATH) != 0;
  require(path_only || S_ISDIR(file->second->mode()) || has_plain_content(*file->second),
          "{} can't be opened like a regular file", file->second->path());
}

void validate_pipe(const image::Pipe& pipe, const ValidationIndex& index) {
  require(pipe.ends_size() > 0, "it has no ends");
  require(pipe.capacity() >= kPageSize && pipe.capacity() <= kMaxPipeBytes, "a capacity of {} bytes",
          pipe.capacity());
  require(pipe.data().size() <= pipe.capacity(), "{} bytes are in it, its capacity is {}", pipe.data().size(),
          pipe.capacity());
  require(pipe.external().empty() || (pipe.data().empty() && pipe.fifo_file_id() == 0),
          "it is external, and has content or a name");
  const auto in_packets = std::accumulate(pipe.packets().begin(), pipe.packets().end(), uint64_t{0});
  require(pipe.packets().empty() || in_packets == pipe.data().size(),
          "its packets have {} bytes, its data {}", in_packets, pipe.data().size());
  if (pipe.fifo_file_id() != 0) {
    const auto file = index.files.find(pipe.fifo_file_id());
    require(file != index.files.end() && S_ISFIFO(file->second->mode()), "file {} isn't a FIFO",
            pipe.fifo_file_id());
  }
}

void validate_eventfd(const image::EventFd& event, const ValidationIndex& /*index*/) {
  require(event.count() < UINT64_MAX, "its count is impossible");
}

void validate_timerfd(const image::TimerFd& timer, const ValidationIndex& /*index*/) {
  require(timer.remaining_ns() <= INT64_MAX && timer.interval_ns() <= INT64_MAX, "its times are impossible");
}

void validate_signalfd(const image::SignalFd& /*signal*/, const ValidationIndex& /*index*/) {}

void validate_epoll(const image::Epoll& epoll, const ValidationIndex& index) {
  std::set<std::pair<uint32_t, uint32_t>> watches;
  for (const image::EpollWatch& watch : epoll.watches()) {
    require(watch.fd() <= kMaxDescriptor && watches.emplace(watch.fd(), watch.open_file_id()).second,
            "it watches descriptor {} twice", watch.fd());
    require(index.open_files.contains(watch.open_file_id()), "it watches open file {}, which isn't there",
            watch.open_file_id());
  }
}

void validate_inotify(const image::Inotify& inotify, const ValidationIndex& index) {
  // A restore counts up to each number.
  constexpr int kHighestWatch = 1 << 20;
  constexpr uint32_t kMask = 0xfff | 1U << 26 | 1U << 31;  // IN_ALL_EVENTS, IN_EXCL_UNLINK, IN_ONESHOT
  int last = 0;
  for (const image::InotifyWatch& watch : inotify.watches()) {
    require(watch.number() > last && watch.number() <= kHighestWatch, "watch {} is out of order or too high",
            watch.number());
    require((watch.mask() & ~kMask) == 0 && (watch.mask() & 0xfff) != 0, "watch {} has an impossible mask",
            watch.number());
    require(index.files.contains(watch.file_id()), "it watches file {}, which isn't there", watch.file_id());
    last = watch.number();
  }
}

void validate_options(const image::SocketOptions& options) {
  for (const image::SocketOption& option : options.option()) {
    require(option.value().size() <= kMaxOptionBytes, "socket option {} has {} bytes", option.name(),
            option.value().size());
  }
}

void validate_unix(const image::UnixSocket& socket, const ValidationIndex& index) {
  require(socket.type() == SOCK_STREAM || socket.type() == SOCK_DGRAM || socket.type() == SOCK_SEQPACKET,
          "socket type {}", socket.type());
  require(socket.ends_size() == 1 || socket.ends_size() == 2, "it has {} ends", socket.ends_size());
  for (const image::UnixSocketEnd& end : socket.ends()) {
    require(end.name().size() <= sizeof(sockaddr_un::sun_path), "its name has {} bytes", end.name().size());
    require(!end.listening() || (socket.ends_size() == 1 && !end.name().empty()),
            "it listens, but is connected or has no name");
    require(!end.accepted() || (socket.ends_size() == 2 && &end == &socket.ends(1) && !end.name().empty()),
            "it was accepted by nobody");
    require(socket.ends_size() == 2 || !end.has_queue(), "something waits in it that nobody can have sent");
    require(end.shutdown() <= 3, "shutdown {}", end.shutdown());
    validate_options(end.options());
    for (const image::UnixMessage& message : end.queue().messages()) {
      require(static_cast<size_t>(message.open_files_size()) <= kMostInFlight,
              "{} descriptors are in flight in one message", message.open_files_size());
      for (const uint32_t id : message.open_files()) {
        require(index.open_files.contains(id), "open file {}, which is in flight, isn't there", id);
      }
    }
  }
}

void validate_address(const std::string& address, int family) {
  const size_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  require(address.size() == size, "its address has {} bytes", address.size());
  sa_family_t found = 0;
  std::memcpy(&found, address.data(), sizeof(found));
  require(found == family, "its address is of family {}, the socket of {}", found, family);
}

void validate_connection(const image::InetSocket& socket) {
  const image::TcpConnection& connection = socket.connection();
  require(socket.type() == SOCK_STREAM && socket.protocol() == IPPROTO_TCP && !socket.listening(),
          "a connection of a socket that can have none");
  const auto state = static_cast<TcpState>(connection.state());
  constexpr std::array kStates = {TcpState::Established, TcpState::SynSent, TcpState::FinWait1,
                                  TcpState::FinWait2,    TcpState::Close,   TcpState::CloseWait,
                                  TcpState::LastAck,     TcpState::Closing};
  require(connection.state() <= UINT8_MAX && std::ranges::find(kStates, state) != kStates.end(),
          "a connection in state {}", connection.state());
  require(!socket.local_address().empty() && socket.remote_address().empty() == (state == TcpState::Close),
          "a connection without an address");
  require(connection.unsent() <= connection.send_queue().size(), "{} of {} bytes haven't been sent",
          connection.unsent(), connection.send_queue().size());
  require(
      connection.send_queue().size() <= kMaxQueueBytes && connection.receive_queue().size() <= kMaxQueueBytes,
      "queues of {} and {} bytes", connection.send_queue().size(), connection.receive_queue().size());
  require(connection.send_scale() <= kMaxWindowScale && connection.receive_scale() <= kMaxWindowScale,
          "window scales {} and {}", connection.send_scale(), connection.receive_scale());
  require(connection.segment_size() <= UINT16_MAX, "segments of {} bytes", connection.segment_size());
}

void validate_inet(const image::InetSocket& socket, const ValidationIndex& /*index*/) {
  require(socket.family() == AF_INET || socket.family() == AF_INET6, "address family {}", socket.family());
  for (const std::string& address : {socket.local_address(), socket.remote_address()}) {
    if (!address.empty()) {
      validate_address(address, socket.family());
    }
  }
  if (socket.has_connection()) {
    validate_connection(socket);
  }
  validate_options(socket.options());
}

void validate_tty(const image::Tty& tty, const ValidationIndex& /*index*/) {
  require(tty.termios().empty() || tty.termios().size() == kTermiosBytes, "its settings have {} bytes",
          tty.termios().size());
  require(tty.window_size().empty() || tty.window_size().size() == kWindowSizeBytes,
          "its window size has {} bytes", tty.window_size().size());
}

void validate_memfd(const image::MemFd& memfd, const ValidationIndex& index) {
  require(index.shared_memory.contains(memfd.shared_memory_id()), "shared memory {} isn't there",
          memfd.shared_memory_id());
  require(memfd.position() >= 0, "position {}", memfd.position());
}

/// Runs `check` for every record of its kind; errors name the record by the open files that it makes.
template <typename Message>
void validate_kind(const std::vector<Record>& records, const ValidationIndex& index,
                   void (*check)(const Message&, const ValidationIndex&)) {
  const RecordType type = record_type_of(Message::default_instance());
  for (const Record& record : records) {
    if (record.type != type) {
      continue;
    }
    with_context(
        [&] {
          std::string name(find_record_kind(static_cast<uint32_t>(type))->name);
          for_each_open_file(record,
                             [&](const auto& file) { name += fmt::format(", open file {}", file.id()); });
          return name;
        },
        [&] {
          for_each_open_file(record, [&](const image::OpenFile& file) {
            require((file.flags() & O_CLOEXEC) == 0, "open file {}: close-on-exec belongs to descriptors",
                    file.id());
          });
          check(static_cast<const Message&>(*record.message), index);
        });
  }
}

void validate_lock(const image::FileLock& lock, const ValidationIndex& index) {
  require(image::FileLock::Kind_IsValid(lock.kind()), "its kind {} is unknown",
          static_cast<int>(lock.kind()));
  require(index.open_files.contains(lock.open_file_id()), "open file {} isn't there", lock.open_file_id());
  require(lock.kind() != image::FileLock::POSIX || index.tasks.contains(lock.pid()), "task {} isn't there",
          lock.pid());
  require(lock.start() <= INT64_MAX && lock.length() <= INT64_MAX - lock.start(), "its range is impossible");
}

/// Epolls may watch epolls, but not in a circle. What is watched by nobody is taken away until nothing is
/// left.
void validate_epoll_order(const std::vector<Record>& records, const ValidationIndex& index) {
  std::map<uint32_t, const image::Epoll*> epolls;
  std::map<uint32_t, size_t> watchers;
  for_each_record<image::Epoll>(records, [&](const image::Epoll& epoll) {
    epolls[epoll.open_file().id()] = &epoll;
    for (const image::EpollWatch& watch : epoll.watches()) {
      watchers[watch.open_file_id()] +=
          index.open_files.at(watch.open_file_id())->type == RecordType::Epoll ? 1 : 0;
    }
  });
  std::vector<uint32_t> free;
  for (const auto& [id, epoll] : epolls) {
    if (watchers[id] == 0) {
      free.push_back(id);
    }
  }
  size_t removed = 0;
  for (; removed < free.size(); ++removed) {
    for (const image::EpollWatch& watch : epolls.at(free[removed])->watches()) {
      if (epolls.contains(watch.open_file_id()) && --watchers[watch.open_file_id()] == 0) {
        free.push_back(watch.open_file_id());
      }
    }
  }
  require(removed == epolls.size(), "epolls watch each other in a circle");
}

}  // namespace

void validate_descriptors(const std::vector<Record>& records, const ValidationIndex& index) {
  for (const auto& [id, file] : index.files) {
    with_context([id = id] { return fmt::format("file {}", id); }, [f = file] { validate_file(*f); });
  }
  for (const auto& [id, table] : index.descriptor_tables) {
    with_context([id = id] { return fmt::format("descriptor table {}", id); },
                 [&, t = table] { validate_table(*t, index); });
  }
  validate_kind(records, index, validate_regular);
  validate_kind(records, index, validate_pipe);
  validate_kind(records, index, validate_eventfd);
  validate_kind(records, index, validate_timerfd);
  validate_kind(records, index, validate_signalfd);
  validate_kind(records, index, validate_epoll);
  validate_kind(records, index, validate_inotify);
  validate_kind(records, index, validate_unix);
  validate_kind(records, index, validate_inet);
  validate_kind(records, index, validate_tty);
  validate_kind(records, index, validate_memfd);
  validate_kind(records, index, validate_lock);
  validate_epoll_order(records, index);
}

}  // namespace godwit
