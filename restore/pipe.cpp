#include <fcntl.h>
#include <sys/syscall.h>

#include "images-format/pipe.pb.h"
#include "kernel/error.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

constexpr uint32_t kLargeFile = 0100000;  // O_LARGEFILE as the kernel sees it: whatever went through open(2)

std::vector<const image::OpenFile*> open_files(const google::protobuf::Message& message) {
  std::vector<const image::OpenFile*> files;
  for (const image::PipeEnd& end : static_cast<const image::Pipe&>(message).ends()) {
    files.push_back(&end.open_file());
  }
  return files;
}

void write_data(const image::Pipe& record, MakeContext& context, int writer) {
  ScriptBuilder& script = context.script;
  const std::string& data = record.data();
  const uint64_t address = script.bytes(std::as_bytes(std::span(data)));
  const auto write = [&](size_t offset, size_t length) {
    if (length > data.size() - offset) {
      throw error("a pipe's packets are longer than its data");
    }
    script.call_expecting("fill a pipe", static_cast<int32_t>(length), SYS_write,
                          {writer, address + offset, length});
  };
  if (record.packets_size() == 0) {
    write(0, data.size());
    return;
  }
  size_t offset = 0;
  for (const uint32_t length : record.packets()) {
    write(offset, length);
    offset += length;
  }
}

/// The capacity of a pipe that nobody has changed.
constexpr uint32_t kUsualCapacity = 65536;

void fill(const image::Pipe& record, MakeContext& context, int writer) {
  if (record.capacity() != kUsualCapacity) {
    context.script.call("set the capacity of a pipe", SYS_fcntl, {writer, F_SETPIPE_SZ, record.capacity()});
  }
  if (!record.data().empty()) {
    write_data(record, context, writer);
  }
}

void make_fifo(const image::Pipe& record, MakeContext& context) {
  // With both ends open no opening waits for the other side.
  const Slot opened = context.open(record.fifo_file_id(), O_RDWR | O_NONBLOCK);
  const int both = context.move_away(opened, 0);
  fill(record, context, both);
  for (const image::PipeEnd& end : record.ends()) {
    const auto flags = static_cast<int>(end.open_file().flags());
    context.deliver(end.open_file(), context.open(record.fifo_file_id(), flags));
  }
  context.close(both);
}

void make_pipe(const image::Pipe& record, MakeContext& context) {
  ScriptBuilder& script = context.script;
  const uint64_t pair = script.reserve(2 * sizeof(int));
  const uint32_t packets = record.packets_size() > 0 ? static_cast<uint32_t>(O_DIRECT) : 0U;
  script.call("make a pipe", SYS_pipe2, {pair, packets | O_CLOEXEC | O_NONBLOCK});
  const auto [reader, writer] = context.take_pair(pair, 0);
  emit_owner(script, writer, record.uid(), record.gid());
  fill(record, context, writer);

  // The first of each side that pipe2 itself has made; others were opened through /proc.
  const image::OpenFile* first_reader = nullptr;
  const image::OpenFile* first_writer = nullptr;
  for (const image::PipeEnd& end : record.ends()) {
    const image::OpenFile& file = end.open_file();
    const uint32_t mode = file.flags() & O_ACCMODE;
    const image::OpenFile*& first = mode == O_RDONLY ? first_reader : first_writer;
    if (first == nullptr && mode != O_RDWR && (file.flags() & kLargeFile) == 0) {
      first = &file;
    } else {
      context.deliver(file, context.reopen(mode == O_RDONLY ? reader : writer, file.flags()));
    }
  }
  const auto finish = [&](const image::OpenFile* file, int end, uint32_t made_with) {
    if (file == nullptr) {
      context.close(end);
      return;
    }
    context.set_flags(end, *file, made_with);
    context.deliver(*file, end);
  };
  finish(first_reader, reader, O_NONBLOCK | packets);
  finish(first_writer, writer, O_NONBLOCK | packets);
}

/// The first description is what was handed over, others are opened through it.
void take_external(const image::Pipe& record, MakeContext& context) {
  const int given = context.external(record.external());
  bool taken = false;
  for (const image::PipeEnd& end : record.ends()) {
    const image::OpenFile& file = end.open_file();
    if (taken) {
      context.deliver(file, context.reopen(given, file.flags()));
      continue;
    }
    taken = true;
    const Slot copy =
        context.script.call_to_slot("take what was handed over", SYS_fcntl, {given, F_DUPFD_CLOEXEC, 0});
    const int number = context.move_away(copy, 0);
    context.script.call("set file status flags", SYS_fcntl,
                        {number, F_SETFL, file.flags() & (O_APPEND | O_NONBLOCK | O_DIRECT)});
    context.deliver(file, number);
  }
}

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::Pipe&>(message);
  if (!record.external().empty()) {
    take_external(record, context);
    return;
  }
  if (record.fifo_file_id() != 0) {
    make_fifo(record, context);
  } else {
    make_pipe(record, context);
  }
}

External external(const google::protobuf::Message& message) {
  const auto& record = static_cast<const image::Pipe&>(message);
  const uint32_t flags = record.ends_size() > 0 ? record.ends(0).open_file().flags() : 0;
  return {record.external(), static_cast<int>(flags & O_ACCMODE)};
}

uint32_t file_id(const google::protobuf::Message& message) {
  return static_cast<const image::Pipe&>(message).fifo_file_id();
}

}  // namespace

constinit const Kind kPipe{RecordType::Pipe, "pipe",  open_files, make,    nullptr,
                           nullptr,          nullptr, file_id,    external};

}  // namespace godwit::making
