#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/descriptor.pb.h"
#include "images-format/file.pb.h"
#include "images-format/file_lock.pb.h"
#include "images-format/task.pb.h"
#include "kernel/fd.h"
#include "restore/bound_names.h"
#include "restore/descriptor_kind.h"
#include "restore/descriptors.h"

/// What a DescriptorPlan knows: tables, descriptions, who makes which, and at which numbers tasks inherit.
namespace godwit {

/// The coordinator's own files (the image among them) stand below; what tasks inherit must not hit them.
inline constexpr int kCoordinatorsOwn = 256;
/// Where all lower numbers are taken, freshly made descriptors get the next ones above: two at once, by
/// pipe2(2) and socketpair(2). Scratch numbers lie above these.
inline constexpr int kFreshAtOnce = 2;

/// One descriptor.
struct Use {
  size_t table;
  int fd;
  bool close_on_exec;
};

/// A record, and with it all descriptions that are made together.
struct Unit {
  const making::Kind* kind;
  const google::protobuf::Message* record;
  std::vector<uint32_t> open_file_ids;
  bool shared = false;  // used by several tables, or by none: made by the coordinator
  int lowest = -1;      // otherwise the first of its numbers; -1: not used at all
  size_t table = 0;     // and its table
};

struct Description {
  size_t unit;
  const image::OpenFile* file;
  std::vector<Use> uses;  // by table and number, ascending; none: the coordinator alone has it
  int inherited = -1;     // where tasks inherit it from
};

struct Table {
  const image::DescriptorTable* record;
  pid_t owner = 0;                                      // the first task with it: who fills it
  std::vector<size_t> units;                            // made there, by lowest number
  std::map<int, const image::Descriptor*> descriptors;  // by number
};

struct DescriptorPlan::State {
  std::vector<Unit> units;
  std::map<uint32_t, Description> descriptions;
  std::vector<Table> tables;
  std::map<uint32_t, size_t> table_by_id;
  std::vector<const image::FileLock*> locks;
  std::map<uint32_t, const image::File*> files;
  bool clocks_go_on = true;
  int above;        // of all numbers of the image, and of the coordinator's own
  int first_free;   // what is made for tasks to inherit gets numbers from here
  int end_of_free;  // up to here
  int first_scratch = 0;
  std::vector<int> in_place;            // numbers of the image at which tasks inherit what belongs there
  std::vector<int> made;                // descriptors of this process for tasks to inherit
  std::map<std::string, int> external;  // handed over, by name
  int aside = -1;                       // see making::OutsideDescriptors
  BoundNames names;
  /// Copies, in this process, of descriptors that need it at last.
  struct Sleeper {
    uint32_t id;  // of the description
    const Unit* unit;
    Fd descriptor;
  };
  std::vector<Sleeper> sleepers;

  State(const CheckpointImage& image, uint64_t limit);
  [[nodiscard]] std::string name(const Unit& unit) const;
  [[nodiscard]] std::string name(uint32_t id) const;
  /// Its path, as it may be printed; empty: none.
  [[nodiscard]] std::string path(const Unit& unit) const;
  void set_subject(ScriptBuilder& script, const Unit& unit) const;
  [[nodiscard]] const Table* owned_table(const image::Task& task) const;

  [[nodiscard]] static int number_in(const Description& description, size_t table);

 private:
  void add_units(const CheckpointImage& image);
  void add_tables(const CheckpointImage& image);
  void decide_makers();
  void decide_places();
  void decide_free_numbers(const CheckpointImage& image, uint64_t limit);
  [[nodiscard]] int number_in_all(const Description& description) const;
};

}  // namespace godwit
