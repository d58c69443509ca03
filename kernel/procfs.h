#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What /proc says of a process, as values. The parsers take the text of a
/// file, so that they can be tested without one; the readers open and parse.
/// All throw Error: for text that isn't what proc(5) promises, or with the
/// errno of open(2) and read(2) (ENOENT, ESRCH: gone; see `gone`).
namespace godwit {
class Error;
}

namespace godwit::procfs {

/// PF_* in Stat::flags, include/linux/sched.h.
inline constexpr uint32_t kIoWorker = 0x00000010;
inline constexpr uint32_t kExiting = 0x00000004;
inline constexpr uint32_t kForkedWithoutExec = 0x00000040;
inline constexpr uint32_t kUserWorker = 0x00004000;
inline constexpr uint32_t kKernelThread = 0x00200000;

/// /proc/PID/stat or /proc/PID/task/TID/stat. Addresses and exit_code are only
/// told to those who may ptrace(2) the task.
struct Stat {
  pid_t pid = 0;
  std::string comm;
  char state = '?';  // R, S, D, T, t, Z, X, ...
  pid_t parent = 0;
  pid_t process_group = 0;
  pid_t session = 0;
  dev_t terminal = 0;          // that controls it; 0: none
  pid_t foreground_group = 0;  // of that terminal; -1: none
  uint32_t flags = 0;          // PF_*
  uint32_t threads = 0;
  uint64_t start_time = 0;  // clock ticks since boot
  uint64_t start_code = 0;
  uint64_t end_code = 0;
  uint64_t start_stack = 0;
  int exit_signal = 0;
  uint64_t start_data = 0;
  uint64_t end_data = 0;
  uint64_t start_brk = 0;
  uint64_t arg_start = 0;
  uint64_t arg_end = 0;
  uint64_t env_start = 0;
  uint64_t env_end = 0;
  int exit_code = 0;  // as wait(2) reports it; only of a zombie
};

/// /proc/PID/status or /proc/PID/task/TID/status.
struct Status {
  pid_t thread_group = 0;
  pid_t tracer = 0;                // 0: none
  std::array<uint32_t, 4> uids{};  // real, effective, saved, file system
  std::array<uint32_t, 4> gids{};
  std::vector<uint32_t> groups;
  std::vector<pid_t> namespace_pids;      // NSpid: one a level, the outermost first
  std::vector<pid_t> namespace_groups;    // NSpgid, likewise; 0: not visible at that level
  std::vector<pid_t> namespace_sessions;  // NSsid
  uint32_t umask = 0;
  uint64_t locked_kib = 0;      // VmLck
  uint64_t pending = 0;         // signals, bit n-1 is signal n: SigPnd, of the thread
  uint64_t shared_pending = 0;  // ShdPnd, of the process
  uint64_t blocked = 0;         // SigBlk, of the thread
  uint64_t ignored = 0;         // SigIgn
  uint64_t caught = 0;          // SigCgt
  uint64_t inheritable = 0;     // capability sets
  uint64_t permitted = 0;
  uint64_t effective = 0;
  uint64_t bounding = 0;
  uint64_t ambient = 0;
  bool no_new_privs = false;
  int seccomp_mode = 0;
  uint32_t seccomp_filters = 0;
  bool shadow_stack = false;  // x86_Thread_features
};

/// VmFlags of /proc/PID/smaps. Codes that aren't here are ignored.
enum class VmFlag : uint8_t {
  Readable,
  Writable,
  Executable,
  Shared,
  MayWrite,
  GrowsDown,
  PfnMap,
  Locked,
  Io,
  SequentialRead,
  RandomRead,
  DontCopy,
  DontExpand,
  LockOnFault,
  NoReserve,
  HugeTlb,
  WipeOnFork,
  DontDump,
  MixedMap,
  HugePage,
  NoHugePage,
  Mergeable,
  UserfaultMissing,
  UserfaultWp,
  UserfaultMinor,
  ShadowStack,
  Sealed,
  Droppable,
  Guarded,
};

/// One mapping of /proc/PID/maps, or of smaps (then with flags).
struct Map {
  uint64_t start = 0;
  uint64_t end = 0;
  int prot = 0;  // PROT_*
  bool shared = false;
  uint64_t offset = 0;  // bytes
  dev_t device = 0;
  uint64_t inode = 0;
  std::string path;    // as shown, " (deleted)" included; "[heap]", "[anon:name]";
                       // empty: anonymous
  uint64_t flags = 0;  // bit n: VmFlag n

  [[nodiscard]] bool has(VmFlag flag) const { return (flags >> static_cast<int>(flag) & 1) != 0; }
};

/// One timer of /proc/PID/timers.
struct Timer {
  int id = 0;
  int signal = 0;
  uint64_t value = 0;  // sigev_value
  int notify = 0;      // SIGEV_*
  pid_t target = 0;    // SIGEV_THREAD_ID: the tid
  int clock = 0;       // negative: a cpu clock
};

[[nodiscard]] Stat parse_stat(std::string_view text);
[[nodiscard]] Status parse_status(std::string_view text);
/// For maps and smaps.
[[nodiscard]] std::vector<Map> parse_maps(std::string_view text);
[[nodiscard]] std::vector<Timer> parse_timers(std::string_view text);
/// Numbers with blanks between them, as in children.
[[nodiscard]] std::vector<pid_t> parse_pids(std::string_view text);

[[nodiscard]] Stat read_stat(pid_t pid);
[[nodiscard]] Stat read_stat(pid_t pid, pid_t tid);
[[nodiscard]] Status read_status(pid_t pid, pid_t tid);
[[nodiscard]] std::vector<Map> read_maps(pid_t pid);
[[nodiscard]] std::vector<Map> read_smaps(pid_t pid);
[[nodiscard]] std::vector<Timer> read_timers(pid_t pid);
/// The threads of a process, the leader first.
[[nodiscard]] std::vector<pid_t> read_threads(pid_t pid);
/// The children that thread `tid` has made, or inherited.
[[nodiscard]] std::vector<pid_t> read_children(pid_t pid, pid_t tid);
/// The words of /proc/PID/auxv, AT_NULL included.
[[nodiscard]] std::vector<uint64_t> read_auxv(pid_t pid);
/// A file that holds one number, as /proc/PID/oom_score_adj. `base` 10 or 16.
[[nodiscard]] int64_t read_number(const std::string& path, int base = 10);

/// The error says that the process or thread isn't there any more.
[[nodiscard]] bool gone(const Error& error);

}  // namespace godwit::procfs
