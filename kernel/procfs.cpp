#include "kernel/procfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::procfs {

namespace {

/// Takes a text apart from its start.
class Cursor {
 public:
  Cursor(std::string_view text, const char* what) : rest_(text), what_(what) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] std::string_view rest() const { return rest_; }

  void skip_blanks() {
    const size_t at = rest_.find_first_not_of(" \t");
    rest_.remove_prefix(std::min(at, rest_.size()));
  }
  void skip(char expected) {
    if (rest_.empty() || rest_.front() != expected) {
      malformed();
    }
    rest_.remove_prefix(1);
  }
  char take_char() {
    if (rest_.empty()) {
      malformed();
    }
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  template <typename T>
  T take_number(int base = 10) {
    skip_blanks();
    T value{};
    const auto [end, problem] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, base);
    if (problem != std::errc()) {
      malformed();
    }
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return value;
  }
  /// Up to the next blank.
  std::string_view take_word() {
    skip_blanks();
    return take(std::min(rest_.find_first_of(" \t\n"), rest_.size()));
  }
  /// Up to `end`, which is taken too.
  std::string_view take_until(char end) {
    const size_t at = rest_.find(end);
    if (at == std::string_view::npos) {
      malformed();
    }
    const std::string_view taken = take(at);
    rest_.remove_prefix(1);
    return taken;
  }
  std::string_view take_line() {
    const size_t at = rest_.find('\n');
    const std::string_view taken = take(std::min(at, rest_.size()));
    rest_.remove_prefix(at == std::string_view::npos ? 0 : 1);
    return taken;
  }
  [[noreturn]] void malformed() const {
    throw error("cannot understand /proc/PID/{} at \"{}\"", what_, rest_.substr(0, 40));
  }

 private:
  std::string_view take(size_t length) {
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }
  std::string_view rest_;
  const char* what_;
};

template <typename T>
std::vector<T> take_numbers(Cursor& line) {
  std::vector<T> numbers;
  for (line.skip_blanks(); !line.empty() && line.rest().front() != '\n'; line.skip_blanks()) {
    numbers.push_back(line.take_number<T>());
  }
  return numbers;
}

std::array<uint32_t, 4> take_ids(Cursor& line) {
  std::array<uint32_t, 4> ids{};
  for (uint32_t& id : ids) {
    id = line.take_number<uint32_t>();
  }
  return ids;
}

/// The fields of stat from the state on, by their numbers in proc_pid_stat(5).
class StatFields {
 public:
  explicit StatFields(std::string_view text) : cursor_(text, "stat") {}
  template <typename T>
  T take(int field) {
    for (; next_ < field; ++next_) {
      (void)cursor_.take_word();
    }
    ++next_;
    return cursor_.take_number<T>();
  }

 private:
  Cursor cursor_;
  int next_ = 4;
};

struct FlagCode {
  char code[3];
  VmFlag flag;
};
constexpr FlagCode kFlagCodes[] = {
    {"rd", VmFlag::Readable},       {"wr", VmFlag::Writable},         {"ex", VmFlag::Executable},
    {"sh", VmFlag::Shared},         {"mw", VmFlag::MayWrite},         {"gd", VmFlag::GrowsDown},
    {"pf", VmFlag::PfnMap},         {"lo", VmFlag::Locked},           {"io", VmFlag::Io},
    {"sr", VmFlag::SequentialRead}, {"rr", VmFlag::RandomRead},       {"dc", VmFlag::DontCopy},
    {"de", VmFlag::DontExpand},     {"lf", VmFlag::LockOnFault},      {"nr", VmFlag::NoReserve},
    {"ht", VmFlag::HugeTlb},        {"wf", VmFlag::WipeOnFork},       {"dd", VmFlag::DontDump},
    {"mm", VmFlag::MixedMap},       {"hg", VmFlag::HugePage},         {"nh", VmFlag::NoHugePage},
    {"mg", VmFlag::Mergeable},      {"um", VmFlag::UserfaultMissing}, {"uw", VmFlag::UserfaultWp},
    {"ui", VmFlag::UserfaultMinor}, {"ss", VmFlag::ShadowStack},      {"sl", VmFlag::Sealed},
    {"dp", VmFlag::Droppable},      {"gu", VmFlag::Guarded},
};

uint64_t take_flags(Cursor& line) {
  uint64_t flags = 0;
  for (std::string_view word = line.take_word(); !word.empty(); word = line.take_word()) {
    for (const FlagCode& known : kFlagCodes) {
      if (word == known.code) {
        flags |= uint64_t{1} << static_cast<int>(known.flag);
        break;
      }
    }
  }
  return flags;
}

Map take_map(std::string_view text) {
  Cursor line(text, "maps");
  Map map;
  map.start = line.take_number<uint64_t>(16);
  line.skip('-');
  map.end = line.take_number<uint64_t>(16);
  line.skip(' ');
  map.prot = (line.take_char() == 'r' ? PROT_READ : 0);
  map.prot |= (line.take_char() == 'w' ? PROT_WRITE : 0);
  map.prot |= (line.take_char() == 'x' ? PROT_EXEC : 0);
  map.shared = line.take_char() == 's';
  map.offset = line.take_number<uint64_t>(16);
  const auto device_major = line.take_number<unsigned>(16);
  line.skip(':');
  map.device = makedev(device_major, line.take_number<unsigned>(16));
  map.inode = line.take_number<uint64_t>();
  line.skip_blanks();
  map.path = line.rest();
  return map;
}

std::string thread_file(pid_t pid, pid_t tid, const char* name) {
  return fmt::format("/proc/{}/task/{}/{}", pid, tid, name);
}

int notify_of(std::string_view how, bool thread) {
  if (how == "none") {
    return SIGEV_NONE;
  }
  if (how == "thread") {
    return SIGEV_THREAD;
  }
  return thread ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
}

}  // namespace

Stat parse_stat(std::string_view text) {
  // comm may hold anything, also ")": it ends with the last one.
  const size_t open = text.find('(');
  const size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open ||
      text.size() < close + 4) {
    Cursor(text, "stat").malformed();
  }
  Stat stat;
  stat.pid = Cursor(text, "stat").take_number<pid_t>();
  stat.comm = text.substr(open + 1, close - open - 1);
  stat.state = text[close + 2];
  StatFields fields(text.substr(close + 3));
  stat.parent = fields.take<pid_t>(4);
  stat.process_group = fields.take<pid_t>(5);
  stat.session = fields.take<pid_t>(6);
  // Minor bits 31-20 and 7-0, major bits 15-8.
  const auto terminal = static_cast<uint32_t>(fields.take<int>(7));
  stat.terminal = makedev(terminal >> 8 & 0xfff, (terminal & 0xff) | (terminal >> 12 & 0xfff00));
  stat.foreground_group = fields.take<int>(8);
  stat.flags = fields.take<uint32_t>(9);
  stat.threads = fields.take<uint32_t>(20);
  stat.start_time = fields.take<uint64_t>(22);
  stat.start_code = fields.take<uint64_t>(26);
  stat.end_code = fields.take<uint64_t>(27);
  stat.start_stack = fields.take<uint64_t>(28);
  stat.exit_signal = fields.take<int>(38);
  stat.start_data = fields.take<uint64_t>(45);
  stat.end_data = fields.take<uint64_t>(46);
  stat.start_brk = fields.take<uint64_t>(47);
  stat.arg_start = fields.take<uint64_t>(48);
  stat.arg_end = fields.take<uint64_t>(49);
  stat.env_start = fields.take<uint64_t>(50);
  stat.env_end = fields.take<uint64_t>(51);
  stat.exit_code = fields.take<int>(52);
  return stat;
}

Status parse_status(std::string_view text) {
  Status status;
  Cursor file(text, "status");
  // The name is escaped, so a line break in it can't fake a field.
  while (!file.empty()) {
    Cursor line(file.take_line(), "status");
    const std::string_view key = line.take_until(':');
    if (key == "Umask") {
      status.umask = line.take_number<uint32_t>(8);
    } else if (key == "Tgid") {
      status.thread_group = line.take_number<pid_t>();
    } else if (key == "TracerPid") {
      status.tracer = line.take_number<pid_t>();
    } else if (key == "Uid") {
      status.uids = take_ids(line);
    } else if (key == "Gid") {
      status.gids = take_ids(line);
    } else if (key == "Groups") {
      status.groups = take_numbers<uint32_t>(line);
    } else if (key == "NSpid") {
      status.namespace_pids = take_numbers<pid_t>(line);
    } else if (key == "NSpgid") {
      status.namespace_groups = take_numbers<pid_t>(line);
    } else if (key == "NSsid") {
      status.namespace_sessions = take_numbers<pid_t>(line);
    } else if (key == "VmLck") {
      status.locked_kib = line.take_number<uint64_t>();
    } else if (key == "SigPnd") {
      status.pending = line.take_number<uint64_t>(16);
    } else if (key == "ShdPnd") {
      status.shared_pending = line.take_number<uint64_t>(16);
    } else if (key == "SigBlk") {
      status.blocked = line.take_number<uint64_t>(16);
    } else if (key == "SigIgn") {
      status.ignored = line.take_number<uint64_t>(16);
    } else if (key == "SigCgt") {
      status.caught = line.take_number<uint64_t>(16);
    } else if (key == "CapInh") {
      status.inheritable = line.take_number<uint64_t>(16);
    } else if (key == "CapPrm") {
      status.permitted = line.take_number<uint64_t>(16);
    } else if (key == "CapEff") {
      status.effective = line.take_number<uint64_t>(16);
    } else if (key == "CapBnd") {
      status.bounding = line.take_number<uint64_t>(16);
    } else if (key == "CapAmb") {
      status.ambient = line.take_number<uint64_t>(16);
    } else if (key == "NoNewPrivs") {
      status.no_new_privs = line.take_number<int>() != 0;
    } else if (key == "Seccomp") {
      status.seccomp_mode = line.take_number<int>();
    } else if (key == "Seccomp_filters") {
      status.seccomp_filters = line.take_number<uint32_t>();
    } else if (key == "x86_Thread_features") {
      status.shadow_stack = line.rest().find("shstk") != std::string_view::npos;
    }
  }
  return status;
}

std::vector<Map> parse_maps(std::string_view text) {
  std::vector<Map> maps;
  Cursor file(text, "maps");
  while (!file.empty()) {
    const std::string_view text_line = file.take_line();
    if (text_line.starts_with("VmFlags:") && !maps.empty()) {
      Cursor line(text_line.substr(8), "smaps");
      maps.back().flags = take_flags(line);
    } else if (text_line.empty() || text_line.front() < 'A' || text_line.front() > 'Z') {
      // What else smaps says begins with a capital letter, a mapping with a hexadecimal digit.
      maps.push_back(take_map(text_line));
    }
  }
  return maps;
}

std::vector<Timer> parse_timers(std::string_view text) {
  std::vector<Timer> timers;
  Cursor file(text, "timers");
  while (!file.empty()) {
    Cursor line(file.take_line(), "timers");
    const std::string_view key = line.take_until(':');
    if (key == "ID") {
      timers.push_back({.id = line.take_number<int>()});
    } else if (timers.empty()) {
      line.malformed();
    } else if (key == "signal") {
      timers.back().signal = line.take_number<int>();
      line.skip('/');
      // %px of a pointer: old kernels call a null pointer (null).
      timers.back().value = line.rest().starts_with('(') ? 0 : line.take_number<uint64_t>(16);
    } else if (key == "notify") {
      line.skip_blanks();
      const std::string_view how = line.take_until('/');
      const bool thread = line.take_until('.') == "tid";
      timers.back().notify = notify_of(how, thread);
      timers.back().target = line.take_number<pid_t>();
    } else if (key == "ClockID") {
      timers.back().clock = line.take_number<int>();
    }
  }
  return timers;
}

std::vector<pid_t> parse_pids(std::string_view text) {
  Cursor line(text, "task/TID/children");
  return take_numbers<pid_t>(line);
}

Stat read_stat(pid_t pid) {
  return parse_stat(read_record(fmt::format("/proc/{}/stat", pid)));
}

Stat read_stat(pid_t pid, pid_t tid) {
  return parse_stat(read_record(thread_file(pid, tid, "stat")));
}

Status read_status(pid_t pid, pid_t tid) {
  return parse_status(read_record(thread_file(pid, tid, "status")));
}

std::vector<Map> read_maps(pid_t pid) {
  return parse_maps(read_file(fmt::format("/proc/{}/maps", pid)));
}

std::vector<Map> read_smaps(pid_t pid) {
  return parse_maps(read_file(fmt::format("/proc/{}/smaps", pid)));
}

std::vector<Timer> read_timers(pid_t pid) {
  return parse_timers(read_file(fmt::format("/proc/{}/timers", pid)));
}

std::vector<pid_t> read_threads(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/task", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) {
    throw errno_error("cannot open {}", path);
  }
  std::vector<pid_t> threads;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') {
      threads.push_back(Cursor(entry->d_name, "task").take_number<pid_t>());
    }
  }
  const auto leader = std::find(threads.begin(), threads.end(), pid);
  if (leader != threads.end()) {
    std::rotate(threads.begin(), leader, leader + 1);
  }
  return threads;
}

std::vector<pid_t> read_children(pid_t pid, pid_t tid) {
  return parse_pids(read_file(thread_file(pid, tid, "children")));
}

std::vector<uint64_t> read_auxv(pid_t pid) {
  const std::string text = read_record(fmt::format("/proc/{}/auxv", pid));
  std::vector<uint64_t> words(text.size() / sizeof(uint64_t));
  std::memcpy(words.data(), text.data(), words.size() * sizeof(uint64_t));
  return words;
}

int64_t read_number(const std::string& path, int base) {
  return Cursor(read_record(path), path.c_str()).take_number<int64_t>(base);
}

bool gone(const Error& error) {
  return error.code() == ENOENT || error.code() == ESRCH;
}

}  // namespace godwit::procfs
