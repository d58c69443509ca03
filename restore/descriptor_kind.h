#pragma once

#include <google/protobuf/message.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/descriptor.pb.h"
#include "kernel/fd.h"
#include "parasite/script_builder.h"
#include "restore/bound_names.h"
#include "restore/file.h"

/// The kinds of open file descriptions, and how each is made again.
namespace godwit::making {

/// Where a description goes once it is made: into a task's table, or to where tasks inherit it from.
class Destination {
 public:
  virtual ~Destination() = default;
  /// Emits the placing of a freshly made description; `descriptor` is closed, or is one of its numbers.
  virtual void deliver(uint32_t open_file_id, Arg descriptor) = 0;
};

/// What descriptors of this process a script may use besides.
struct OutsideDescriptors {
  /// What was handed over, by name, at numbers that tasks inherit.
  const std::map<std::string, int>& external;
  /// The root of a file system that nobody else sees, for the files of sockets; -1: no record wants it.
  int aside = -1;
  /// /proc/self/fd, for scripts that run in this process, whose mount namespace may not be the one of its
  /// /proc; -1 for those of tasks.
  int own_descriptors = -1;
};

/// What a kind's `make` works with. All that it makes must be close-on-exec or closed again: numbers that
/// the image uses are still to be filled. A freshly made descriptor may get a number that the image uses,
/// so a second one may only be made when the first has been delivered, closed, or moved out of the way.
class MakeContext {
 public:
  MakeContext(ScriptBuilder& script_, const FileOpener& files_, const std::map<uint32_t, int>& shared_memory_,
              BoundNames& names_, Destination& destination, int first_scratch, bool clocks_go_on,
              const OutsideDescriptors& outside)
      : script(script_),
        files(files_),
        shared_memory(shared_memory_),
        names(names_),
        destination_(destination),
        first_scratch_(first_scratch),
        clocks_go_on_(clocks_go_on),
        outside_(outside) {}

  ScriptBuilder& script;
  const FileOpener& files;
  const std::map<uint32_t, int>& shared_memory;
  BoundNames& names;

  /// Hands over a description, at a number or in a slot (which is released).
  void deliver(const image::OpenFile& file, Slot descriptor);
  void deliver(const image::OpenFile& file, int descriptor);
  /// Moves the descriptor in a slot (which is released) to a number that nothing else uses, and returns
  /// that. `nth`: below kScratchNumbers, different for all that are there at once.
  int move_away(Slot descriptor, int nth);
  /// Moves away the two descriptors that pipe2(2) or socketpair(2) has written to address `pair`, to scratch
  /// numbers `nth` and `nth` + 1.
  std::pair<int, int> take_pair(uint64_t pair, int nth);
  void close(int descriptor);
  /// F_SETFL where the description's flags differ from `made_with`.
  void set_flags(Arg descriptor, const image::OpenFile& file, uint32_t made_with);
  /// Whether the tree's monotonic clocks show what they did, or more.
  [[nodiscard]] bool clocks_go_on() const { return clocks_go_on_; }
  /// Emits the opening of what `number` is of.
  [[nodiscard]] Slot reopen(int number, uint32_t flags);
  /// As FileOpener::open.
  [[nodiscard]] Slot open(uint32_t file_id, int flags);
  /// Whether the script runs in this process, from within the tree's own mounts.
  [[nodiscard]] bool runs_in_this_process() const { return outside_.own_descriptors >= 0; }
  /// The number of what was handed over under that name. Throws Error.
  [[nodiscard]] int external(const std::string& name) const;
  /// The root directory of a file system that nobody else sees.
  [[nodiscard]] int aside() const { return outside_.aside; }

 private:
  Destination& destination_;
  int first_scratch_;
  bool clocks_go_on_;
  OutsideDescriptors outside_;
};
inline constexpr int kScratchNumbers = 8;

/// What a kind's `finish` works with: one table, whose descriptors are all in place.
class FinishContext {
 public:
  virtual ~FinishContext() = default;
  explicit FinishContext(ScriptBuilder& script_, int scratch_) : script(script_), scratch(scratch_) {}

  ScriptBuilder& script;
  const int scratch;  // a number that nothing uses

  /// Which description is number `fd` of this table; 0: none.
  [[nodiscard]] virtual uint32_t at(int fd) const = 0;
  [[nodiscard]] virtual bool is_close_on_exec(int fd) const = 0;
  /// A number of the description in this table; -1: none.
  [[nodiscard]] virtual int number_of(uint32_t open_file_id) const = 0;
  /// Whether this is the first table of all that has every one of the descriptions: what must be done once
  /// is done there.
  [[nodiscard]] virtual bool is_first_with(std::initializer_list<uint32_t> open_file_ids) const = 0;
};

/// The pid of whoever had one in the image.
using PidNow = std::function<pid_t(pid_t)>;

/// What a kind's `conclude` works with, in this process.
struct ConcludeContext {
  int descriptor;     // a copy of the task's
  bool clocks_go_on;  // as MakeContext's
  const PidNow& pid_now;
  /// An O_PATH descriptor of a file of the checkpoint, as the tree finds it. Throws Error.
  const std::function<Fd(uint32_t)>& open_file;
};

/// What a kind's `fill` works with, in this process.
class FillContext {
 public:
  virtual ~FillContext() = default;
  /// A descriptor, in this process, of any description of the image. Throws Error.
  [[nodiscard]] virtual Fd descriptor(uint32_t open_file_id) const = 0;
  /// The pid of whoever had one in the image; 0: it isn't of the tree.
  [[nodiscard]] virtual pid_t pid_now(pid_t in_image) const = 0;
};

/// A record's descriptions are handed over by whoever restores.
struct External {
  std::string name;  // empty: they aren't
  int access = 0;    // O_RDONLY, O_WRONLY or O_RDWR
};

/// A kind of open file description. One record may make several (the ends of a pipe).
struct Kind {
  RecordType type;
  std::string_view name;
  std::vector<const image::OpenFile*> (*open_files)(const google::protobuf::Message&);
  /// Emits the making of all descriptions of the record, each delivered once.
  void (*make)(const google::protobuf::Message&, MakeContext&);
  /// Emits what needs descriptors in their places, for each table that has one of the record's. May be null.
  void (*finish)(const google::protobuf::Message&, FinishContext&);
  /// Does what needs other tasks and process groups, or is best done late, when all exist, through a copy of
  /// the descriptor in this process. May be null. Throws Error.
  void (*conclude)(const google::protobuf::Message&, const ConcludeContext&) = nullptr;
  /// Whether a record needs that. Null: all do.
  bool (*concludes)(const google::protobuf::Message&) = nullptr;
  /// Id of the file that a record's descriptions are of; 0: none. Null: there never is one.
  uint32_t (*file_id)(const google::protobuf::Message&) = nullptr;
  /// Null: none ever is.
  External (*external)(const google::protobuf::Message&) = nullptr;
  /// Does what others outside the tree notice, through a copy of the descriptor in this process: last of all,
  /// when nothing can fail any more but this. May be null. Throws Error.
  void (*enliven)(const google::protobuf::Message&, int descriptor) = nullptr;
  /// Whether a record needs that. Null: none does.
  bool (*enlivens)(const google::protobuf::Message&) = nullptr;
  /// Whether the record is made in this process, with MakeContext::aside. Null: none is.
  bool (*made_aside)(const google::protobuf::Message&) = nullptr;
  /// Puts into the record's descriptions what waits there, when all descriptions of the image are in place.
  /// May be null. Throws Error.
  void (*fill)(const google::protobuf::Message&, const FillContext&) = nullptr;

  [[nodiscard]] bool is_made_aside(const google::protobuf::Message& record) const {
    return made_aside != nullptr && made_aside(record);
  }
};

/// Emits the change of an inode's owner, unless whoever makes it (with this process's ids) is the owner.
void emit_owner(ScriptBuilder& script, Arg descriptor, uint32_t uid, uint32_t gid);

/// `open_files` of records with a single one.
template <typename Record>
std::vector<const image::OpenFile*> single_open_file(const google::protobuf::Message& record) {
  return {&static_cast<const Record&>(record).open_file()};
}

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

}  // namespace godwit::making
