#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "dump/descriptor_kind.h"
#include "images-format/pipe.pb.h"
#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit::collecting {

namespace {

bool is_fifo(const Description& description) {
  return description.has_path() && S_ISFIFO(description.status.st_mode);
}

bool matches(const Description& description) {
  return (description.info.flags & O_PATH) == 0 &&
         (description.link.starts_with("pipe:[") || is_fifo(description));
}

void check(const Description& description, Context& context) {
  if (is_fifo(description)) {
    with_context([&] { return fmt::format("descriptor {} of task {}", description.fd, description.pid); },
                 [&] { context.files.add(description.proc_link(), description.link, description.status); });
  }
}

bool can_read(const Description& end) {
  return (end.info.flags & O_ACCMODE) != O_WRONLY;
}

bool can_write(const Description& end) {
  return (end.info.flags & O_ACCMODE) != O_RDONLY;
}

/// A pipe of our own into which tee(2) duplicates what waits in others.
class Tap {
 public:
  Tap() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
      throw errno_error("cannot make a pipe");
    }
    out_ = Fd(ends[0]);
    in_ = Fd(ends[1]);
  }

  /// Everything that waits in the pipe with read end `end`; nothing is taken out of it. `pieces` gets the
  /// length of each read, which is a packet where the writer has O_DIRECT.
  std::string peek(int end, uint32_t capacity, const std::string& name, std::vector<uint32_t>& pieces) {
    if (::fcntl(in_.get(), F_GETPIPE_SZ) < static_cast<int>(capacity) &&
        ::fcntl(in_.get(), F_SETPIPE_SZ, capacity) < 0) {
      throw errno_error("{}: cannot make a pipe of {} bytes", name, capacity);
    }
    const ssize_t length = ::tee(end, in_.get(), capacity, SPLICE_F_NONBLOCK);
    if (length < 0 && errno != EAGAIN) {
      throw errno_error("{}: cannot look into it", name);
    }
    std::string data(static_cast<size_t>(std::max<ssize_t>(length, 0)), '\0');
    for (size_t filled = 0; filled < data.size();) {
      const ssize_t got = ::read(out_.get(), data.data() + filled, data.size() - filled);
      if (got <= 0) {
        throw errno_error("{}: cannot read what was in it", name);
      }
      pieces.push_back(static_cast<uint32_t>(got));
      filled += static_cast<size_t>(got);
    }
    return data;
  }

  /// Whether an empty pipe has no writer: tee(2) says "end of file" instead of "not yet".
  [[nodiscard]] bool has_no_writer(int end) const { return ::tee(end, in_.get(), 1, SPLICE_F_NONBLOCK) == 0; }

 private:
  Fd out_;
  Fd in_;
};

short poll_now(int fd) {
  pollfd poll{fd, 0, 0};
  return ::poll(&poll, 1, 0) > 0 ? poll.revents : short{0};
}

/// The end that nobody in the tree has is closed.
bool is_other_end_closed(const Description& end, int copy, bool empty, const Tap& tap) {
  const short state = poll_now(copy);
  return can_read(end) ? (state & POLLHUP) != 0 || (empty && tap.has_no_writer(copy))
                       : (state & POLLERR) != 0;
}

[[noreturn]] void refuse_other_end(const Description& end) {
  throw refusal("{}, whose other end is outside the tree,", end.name())
      .hint(fmt::format("dump a process above both ends, lead that descriptor to a file first, or say "
                        "--external pipe[{}]:NAME and hand over another at the restore",
                        end.info.inode));
}

/// Under which name whoever restores hands over a pipe whose other end is outside; empty: under none.
std::string name_outside(uint64_t inode, const DumpOptions& options) {
  return external_name(options.external, "pipe", inode)
      .value_or(options.external_pipes ? fmt::format("pipe:[{}]", inode) : "");
}

std::unique_ptr<image::Pipe> collect_pipe(const std::vector<const Description*>& ends, Context& context,
                                          Tap& tap) {
  const auto reader = std::find_if(ends.begin(), ends.end(), [](const auto* end) { return can_read(*end); });
  const bool has_reader = reader != ends.end();
  const bool has_writer =
      std::any_of(ends.begin(), ends.end(), [](const auto* end) { return can_write(*end); });
  const Description& seen = has_reader ? **reader : *ends.front();
  const Fd copy = context.copy(seen);
  auto record = std::make_unique<image::Pipe>();
  record->set_inode(seen.info.inode);
  const int capacity = ::fcntl(copy.get(), F_GETPIPE_SZ);
  int waiting = 0;
  if (capacity < 0 || ::ioctl(copy.get(), FIONREAD, &waiting) != 0) {
    throw errno_error("{}: cannot ask for its size", seen.name());
  }
  record->set_capacity(static_cast<uint32_t>(capacity));
  struct stat status {};
  if (::fstat(copy.get(), &status) != 0) {
    throw errno_error("{}: cannot ask for its owner", seen.name());
  }
  record->set_uid(status.st_uid);
  record->set_gid(status.st_gid);
  if ((!has_reader || !has_writer) && !is_other_end_closed(seen, copy.get(), waiting == 0, tap)) {
    record->set_external(name_outside(seen.info.inode, context.options));
    if (record->external().empty() || is_fifo(seen)) {
      refuse_other_end(seen);
    }
    log::warning("{}: its other end is outside; the restore needs another for it, named {}", seen.name(),
                 record->external());
  }
  bool packets = false;
  for (const Description* end : ends) {
    end->fill(*record->add_ends()->mutable_open_file());
    packets = packets || (can_write(*end) && (end->info.flags & O_DIRECT) != 0);
  }
  if (!record->external().empty() && has_reader && waiting > 0) {
    log::warning("{}: {} bytes wait in it, and stay in the pipe that is there now", seen.name(), waiting);
  }
  // What nobody can read any more doesn't matter.
  if (record->external().empty() && has_reader && waiting > 0) {
    std::vector<uint32_t> pieces;
    record->set_data(tap.peek(copy.get(), record->capacity(), seen.name(), pieces));
    if (packets) {
      record->mutable_packets()->Add(pieces.begin(), pieces.end());
    }
  }
  if (is_fifo(seen)) {
    record->set_fifo_file_id(context.files.add(seen.proc_link(), seen.link, seen.status));
  }
  return record;
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  std::map<std::tuple<uint64_t, uint64_t>, std::vector<const Description*>>
      pipes;  // by file system and inode
  for (const Description* description : descriptions) {
    pipes[{description->status.st_dev, description->info.inode}].push_back(description);
  }
  Tap tap;
  for (const auto& [identity, ends] : pipes) {
    context.add(collect_pipe(ends, context, tap));
  }
}

}  // namespace

constinit const Kind kPipe{"pipe", matches, check, collect,
                           "pipes and FIFOs with what is in them, capacity, packet mode; one whose other end "
                           "is outside by --external"};

}  // namespace godwit::collecting
