#include "dump/unix_socket_queue.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "dump/socket_options.h"
#include "kernel/error.h"

namespace godwit::collecting {

namespace {

constexpr size_t kFirstBuffer = 65536;
constexpr size_t kMostDescriptors = 253;  // SCM_MAX_FD, in one message
constexpr size_t kOtherControl = 4096;    // credentials, security label, times
constexpr int kScmPidfd = 4;              // SCM_PIDFD, Linux 6.5

/// An option of the looked-at socket that has another value meanwhile.
class BorrowedOption {
 public:
  BorrowedOption(int socket, int option, int value, const std::string& name)
      : socket_(socket), option_(option), before_(socket_option(socket, SOL_SOCKET, option, name)) {
    set(value);
  }
  BorrowedOption(const BorrowedOption&) = delete;
  BorrowedOption& operator=(const BorrowedOption&) = delete;
  ~BorrowedOption() {
    static_cast<void>(::setsockopt(socket_, SOL_SOCKET, option_, &before_, sizeof before_));
  }

  void set(int value) const {
    if (::setsockopt(socket_, SOL_SOCKET, option_, &value, sizeof value) != 0) {
      throw errno_error("cannot set socket option {}", option_);
    }
  }

 private:
  int socket_;
  int option_;
  int before_;
};

short poll_now(int socket) {
  pollfd state{socket, POLLIN, 0};
  return ::poll(&state, 1, 0) > 0 ? state.revents : short{0};
}

struct Piece {
  enum Status { Whole, Truncated, End } status = Whole;
  size_t size = 0;
  std::vector<Fd> descriptors;
  std::optional<ucred> sender;  // whatever message there is has one
};

void read_control(msghdr& header, Piece& piece) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET) {
      continue;
    }
    if (part->cmsg_type == SCM_CREDENTIALS) {
      std::memcpy(&piece.sender.emplace(), CMSG_DATA(part), sizeof(ucred));
    }
    const bool carried = part->cmsg_type == SCM_RIGHTS;
    for (size_t at = 0;
         (carried || part->cmsg_type == kScmPidfd) && at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0);
         at += sizeof(int)) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + at, sizeof number);
      Fd descriptor(number);
      if (carried) {
        piece.descriptors.push_back(std::move(descriptor));
      }
    }
  }
}

/// A page that nothing can be written to.
class Hole {
 public:
  Hole() : page_(::mmap(nullptr, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (page_ == MAP_FAILED) {
      throw errno_error("cannot map a page");
    }
  }
  Hole(const Hole&) = delete;
  Hole& operator=(const Hole&) = delete;
  ~Hole() { ::munmap(page_, 1); }

  [[nodiscard]] void* address() const { return page_; }

 private:
  void* page_;
};

/// Walks through the queue of a socket. MSG_PEEK does so with SO_PEEK_OFF (socket(7)).
class Peek {
 public:
  Peek(int socket, const std::string& name, Context& context)
      : socket_(socket),
        type_(socket_option(socket, SOL_SOCKET, SO_TYPE, name)),
        name_(name),
        context_(context),
        offset_(socket, SO_PEEK_OFF, 0, name),
        credentials_(socket, SO_PASSCRED, 1, name) {}

  void run(image::UnixQueue& queue) {
    // The end of a stream isn't looked at: that would take away an error that waits there.
    int bytes = 0;
    if (::ioctl(socket_, SIOCINQ, &bytes) != 0) {
      throw errno_error("cannot ask how much waits at {}", name_);
    }
    while (type_ != SOCK_STREAM || at_ < static_cast<size_t>(bytes)) {
      Piece piece = look(buffer_.size());
      if (piece.status == Piece::End) {
        return;
      }
      // It may go on: what carries descriptors must be seen whole.
      if (piece.status == Piece::Truncated ||
          (type_ == SOCK_STREAM && !piece.descriptors.empty() && piece.size == buffer_.size())) {
        buffer_.resize(std::max(piece.size + 1, 2 * buffer_.size()));
        continue;
      }
      // The end of a stream or of a connection; a message may be empty, but has a sender.
      if (piece.size == 0 && (type_ == SOCK_STREAM || !piece.sender)) {
        return;
      }
      add(queue, piece);
      at_ += piece.size;
    }
  }

 private:
  /// What the next recvmsg(2) with room for `size` bytes would read; it stands in the buffer then.
  Piece look(size_t size) {
    offset_.set(static_cast<int>(at_));
    iovec part{buffer_.data(), size};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostDescriptors) + kOtherControl> control{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    ssize_t got = -1;
    do {
      got = ::recvmsg(socket_, &header, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == ECONNRESET);  // which stands before the messages, and is told once
    Piece piece;
    if (got < 0) {
      if (errno != EAGAIN) {
        throw errno_error("cannot look into the queue of {}", name_);
      }
      piece.status = Piece::End;
      return piece;
    }
    piece.size = static_cast<size_t>(got);
    piece.status = (header.msg_flags & MSG_TRUNC) != 0 ? Piece::Truncated : Piece::Whole;
    read_control(header, piece);
    if ((header.msg_flags & MSG_CTRUNC) != 0) {
      throw Error(fmt::format("cannot take the descriptors that wait at {}", name_), EMFILE,
                  "raise the limit of descriptors with ulimit -Hn");
    }
    return piece;
  }

  /// A stream gives bytes without descriptors together with the ones behind them that have some, `size` in
  /// all. What doesn't find room for its last byte isn't given at all: that is what has the descriptors.
  size_t start_of_descriptors(size_t size) {
    offset_.set(static_cast<int>(at_));
    std::array<iovec, 2> parts{{{buffer_.data(), size - 1}, {hole_.address(), 1}}};
    msghdr header{};
    header.msg_iov = parts.data();
    header.msg_iovlen = parts.size();
    const ssize_t got = ::recvmsg(socket_, &header, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && errno != EFAULT) {
      throw errno_error("cannot look into the queue of {}", name_);
    }
    return got < 0 ? 0 : static_cast<size_t>(got);
  }

  void add(image::UnixQueue& queue, Piece& piece) {
    size_t start = 0;
    if (type_ == SOCK_STREAM && !piece.descriptors.empty()) {
      start = start_of_descriptors(piece.size);
      if (start > 0) {
        add_message(queue, piece, 0, start);
      }
    }
    image::UnixMessage& message = add_message(queue, piece, start, piece.size);
    for (Fd& descriptor : piece.descriptors) {
      message.add_open_files(
          with_context([&] { return name_; }, [&] { return context_.in_flight(std::move(descriptor)); }));
    }
  }

  image::UnixMessage& add_message(image::UnixQueue& queue, const Piece& piece, size_t start,
                                  size_t end) const {
    image::UnixMessage& message = *queue.add_messages();
    message.set_data(buffer_.data() + start, end - start);
    // One that has gone without credentials shows process 0.
    if (piece.sender && piece.sender->pid != 0) {
      message.mutable_sender()->set_pid(piece.sender->pid);
      message.mutable_sender()->set_uid(piece.sender->uid);
      message.mutable_sender()->set_gid(piece.sender->gid);
    }
    return message;
  }

  int socket_;
  int type_;
  const std::string& name_;
  Context& context_;
  BorrowedOption offset_;
  BorrowedOption credentials_;
  Hole hole_;
  std::string buffer_ = std::string(kFirstBuffer, '\0');
  size_t at_ = 0;
};

}  // namespace

std::unique_ptr<google::protobuf::Message> peek_unix_socket_queue(const Description& description,
                                                                  Context& context) {
  const Fd socket = context.copy(description);
  const std::string name = description.name();
  const short state = poll_now(socket.get());
  if (socket_option(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, name) != 0 ||
      (state & (POLLIN | POLLERR)) == 0) {
    return nullptr;
  }
  auto queue = std::make_unique<image::UnixQueue>();
  queue->set_reset((state & POLLERR) != 0 &&
                   socket_option(socket.get(), SOL_SOCKET, SO_TYPE, name) != SOCK_DGRAM);
  Peek(socket.get(), name, context).run(*queue);
  return queue->messages_size() == 0 && !queue->reset() ? nullptr : std::move(queue);
}

}  // namespace godwit::collecting
