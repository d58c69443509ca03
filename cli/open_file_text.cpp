#include "cli/open_file_text.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "cli/record_text.h"
#include "images-format/epoll.pb.h"
#include "images-format/eventfd.pb.h"
#include "images-format/file.pb.h"
#include "images-format/inet_socket.pb.h"
#include "images-format/inotify.pb.h"
#include "images-format/memfd.pb.h"
#include "images-format/pipe.pb.h"
#include "images-format/regular_file.pb.h"
#include "images-format/shared_memory.pb.h"
#include "images-format/timerfd.pb.h"
#include "images-format/tty.pb.h"
#include "images-format/unix_socket.pb.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

using Texts = std::map<uint32_t, std::string>;

std::string access(uint32_t flags) {
  std::string text = (flags & O_PATH) != 0             ? "path only"
                     : (flags & O_ACCMODE) == O_RDONLY ? "read"
                     : (flags & O_ACCMODE) == O_WRONLY ? "write"
                                                       : "read-write";
  text += (flags & O_APPEND) != 0 ? ", append" : "";
  text += (flags & O_NONBLOCK) != 0 ? ", nonblocking" : "";
  return text;
}

void add_files(const CheckpointImage& image, Texts& texts) {
  std::map<uint32_t, const image::File*> files;
  for (const image::File* file : image.all<image::File>()) {
    files[file->id()] = file;
  }
  for (const image::RegularFile* open : image.all<image::RegularFile>()) {
    const image::File& file = *files.at(open->file_id());
    texts[open->open_file().id()] =
        fmt::format("{}{}, {}{}", printable(file.path()), file.has_ghost() ? " (deleted)" : "",
                    access(open->open_file().flags()),
                    open->position() != 0 ? fmt::format(", at {}", open->position()) : "");
  }
  for (const image::Pipe* pipe : image.all<image::Pipe>()) {
    const std::string name = pipe->fifo_file_id() != 0
                                 ? fmt::format("FIFO {}", printable(files.at(pipe->fifo_file_id())->path()))
                                 : fmt::format("pipe {}", pipe->inode());
    for (const image::PipeEnd& end : pipe->ends()) {
      texts[end.open_file().id()] = fmt::format("{}, {}, {} waiting", name, access(end.open_file().flags()),
                                                format_bytes(pipe->data().size()));
    }
  }
  std::map<uint32_t, const image::SharedMemory*> regions;
  for (const image::SharedMemory* region : image.all<image::SharedMemory>()) {
    regions[region->id()] = region;
  }
  for (const image::MemFd* memfd : image.all<image::MemFd>()) {
    const image::SharedMemory& region = *regions.at(memfd->shared_memory_id());
    texts[memfd->open_file().id()] =
        fmt::format("memfd '{}', {}", printable(region.name()), format_bytes(region.size()));
  }
}

void add_events(const CheckpointImage& image, Texts& texts) {
  for (const image::EventFd* event : image.all<image::EventFd>()) {
    texts[event->open_file().id()] =
        fmt::format("eventfd, count {}{}", event->count(), event->semaphore() ? ", semaphore" : "");
  }
  for (const image::TimerFd* timer : image.all<image::TimerFd>()) {
    texts[timer->open_file().id()] =
        timer->remaining_ns() == 0 ? "timerfd, not armed"
                                   : fmt::format("timerfd, {} left", format_duration(timer->remaining_ns()));
  }
  for (const image::Epoll* epoll : image.all<image::Epoll>()) {
    std::string watched;
    for (const image::EpollWatch& watch : epoll->watches()) {
      watched += fmt::format("{}{}", watched.empty() ? " " : ", ", watch.fd());
    }
    texts[epoll->open_file().id()] = "epoll, watches" + (watched.empty() ? " nothing" : watched);
  }
  for (const image::Inotify* inotify : image.all<image::Inotify>()) {
    texts[inotify->open_file().id()] = fmt::format("inotify, {} watches", inotify->watches_size());
  }
  for (const image::Tty* tty : image.all<image::Tty>()) {
    texts[tty->open_file().id()] = fmt::format("terminal {}", printable(tty->path()));
  }
}

const char* type_name(int type) {
  return type == SOCK_STREAM ? "stream" : type == SOCK_DGRAM ? "datagram" : "seqpacket";
}

std::string address_text(const std::string& address) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (address.size() == sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address.data(), sizeof(in));
    ::inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
    return fmt::format("{}:{}", host, ntohs(in.sin_port));
  }
  if (address.size() == sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, address.data(), sizeof(in));
    ::inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof(host));
    return fmt::format("[{}]:{}", host, ntohs(in.sin6_port));
  }
  return "not bound";
}

std::string unix_name(const std::string& name) {
  if (name.empty()) {
    return "";
  }
  return " " + (name[0] == '\0' ? "@" + printable(std::string_view(name).substr(1)) : printable(name));
}

std::string connection_text(const image::InetSocket& socket) {
  if (!socket.has_connection()) {
    return "";
  }
  return fmt::format(", connected to {}, {} unread, {} unacknowledged", address_text(socket.remote_address()),
                     format_bytes(socket.connection().receive_queue().size()),
                     format_bytes(socket.connection().send_queue().size()));
}

void add_sockets(const CheckpointImage& image, Texts& texts) {
  for (const image::UnixSocket* socket : image.all<image::UnixSocket>()) {
    for (const image::UnixSocketEnd& end : socket->ends()) {
      texts[end.open_file().id()] = fmt::format(
          "unix {} socket{}{}{}", type_name(socket->type()), unix_name(end.name()),
          end.listening()            ? ", listening"
          : socket->ends_size() == 2 ? ", connected"
                                     : "",
          end.queue().messages().empty()
              ? ""
              : fmt::format(", {} waiting",
                            format_count(static_cast<uint64_t>(end.queue().messages_size()), "message")));
    }
  }
  for (const image::InetSocket* socket : image.all<image::InetSocket>()) {
    const char* protocol = socket->type() == SOCK_STREAM  ? "TCP"
                           : socket->type() == SOCK_DGRAM ? "UDP"
                                                          : "raw";
    texts[socket->open_file().id()] =
        fmt::format("{} socket, {}{}{}", protocol, address_text(socket->local_address()),
                    socket->listening() ? ", listening" : "", connection_text(*socket));
  }
}

}  // namespace

std::map<uint32_t, std::string> open_file_texts(const CheckpointImage& image) {
  Texts texts;
  // Kinds that have nothing more to say for themselves are called by their records' name.
  for (const Record& record : image.records()) {
    const std::string_view name = find_record_kind(static_cast<uint32_t>(record.type))->name;
    for_each_open_file(
        record, [&](const image::OpenFile& file) { texts[file.id()] = name.substr(0, name.size() - 1); });
  }
  add_files(image, texts);
  add_events(image, texts);
  add_sockets(image, texts);
  return texts;
}

}  // namespace godwit::cli
