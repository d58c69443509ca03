#include "kernel/feature_probes.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

constexpr size_t kPage = 4096;

/// A page of our own, written to.
class ProbePage {
 public:
  ProbePage()
      : page_(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
                     0)) {}
  ProbePage(const ProbePage&) = delete;
  ProbePage& operator=(const ProbePage&) = delete;
  ~ProbePage() {
    if (*this) {
      ::munmap(page_, kPage);
    }
  }
  explicit operator bool() const { return page_ != MAP_FAILED; }
  [[nodiscard]] void* get() const { return page_; }
  [[nodiscard]] uint64_t address() const { return reinterpret_cast<uint64_t>(page_); }

 private:
  void* page_;
};

Fd pidfd_of_self() {
  return Fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
}

bool probe_pidfd_getfd() {
  const Fd self = pidfd_of_self();
  return self && Fd(static_cast<int>(::syscall(SYS_pidfd_getfd, self.get(), self.get(), 0)));
}

bool probe_kcmp() {
  return ::syscall(SYS_kcmp, ::getpid(), ::getpid(), KCMP_VM, 0, 0) == 0;
}

/// Following such a link needs a capability, so one is followed.
bool probe_map_files() {
  const Fd exe(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  void* const page = exe ? ::mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, exe.get(), 0) : MAP_FAILED;
  if (page == MAP_FAILED) {
    return false;
  }
  const auto address = reinterpret_cast<uint64_t>(page);
  const std::string link = fmt::format("/proc/self/map_files/{:x}-{:x}", address, address + kPage);
  const bool followed = static_cast<bool>(Fd(::open(link.c_str(), O_RDONLY | O_CLOEXEC)));
  ::munmap(page, kPage);
  return followed;
}

bool probe_pr_set_mm_map() {
  unsigned size = 0;
  return ::prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0;
}

/// Our own pid is taken: EEXIST says that we would have been allowed to choose, EPERM that we wouldn't.
bool probe_clone3_set_tid() {
  pid_t taken = ::getpid();
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<uint64_t>(&taken);
  arguments.set_tid_size = 1;
  return ::syscall(SYS_clone3, &arguments, sizeof(arguments)) == -1 && errno == EEXIST;
}

/// A descriptor that can't be: EBADF says that the kernel looked for the cgroup.
bool probe_clone_into_cgroup() {
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = INT32_MAX;
  return ::syscall(SYS_clone3, &arguments, sizeof(arguments)) == -1 && errno == EBADF;
}

/// A child that does `body` and then sleeps or ends. Without an exit signal, so that a program's SIGCHLD
/// handler or waitpid never sees it.
template <typename Body>
class ProbeChild {
 public:
  explicit ProbeChild(Body body) : pid_(static_cast<pid_t>(::syscall(SYS_clone, 0, 0, 0, 0, 0))) {
    if (pid_ == 0) {
      ::_exit(body());
    }
  }
  ProbeChild(const ProbeChild&) = delete;
  ProbeChild& operator=(const ProbeChild&) = delete;
  ~ProbeChild() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      while (::waitpid(pid_, nullptr, __WALL) == -1 && errno == EINTR) {
      }
    }
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// 0 if the child ended with 0.
  int wait() {
    int status = -1;
    while (::waitpid(pid_, &status, __WALL) == -1 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
};

int sleep_for_ever() {
  for (;;) {
    ::pause();
  }
}

bool probe_suspend_seccomp() {
  ProbeChild child(sleep_for_ever);
  return child.pid() > 0 && ::ptrace(PTRACE_SEIZE, child.pid(), 0, PTRACE_O_SUSPEND_SECCOMP) == 0;
}

bool seize_and_stop(pid_t pid) {
  int status = 0;
  return pid > 0 && ::ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ::ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 &&
         ::waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

bool probe_rseq_configuration() {
  ProbeChild child(sleep_for_ever);
  std::byte configuration[32];
  constexpr int kGetRseqConfiguration = 0x420f;
  return seize_and_stop(child.pid()) && ::ptrace(static_cast<__ptrace_request>(kGetRseqConfiguration),
                                                 child.pid(), sizeof(configuration), configuration) > 0;
}

/// The child gives itself a filter that allows everything, and stops so that we see it afterwards.
int sleep_under_filter() {
  sock_filter allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  const sock_fprog program{1, &allow};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    return 1;
  }
  ::raise(SIGSTOP);
  return sleep_for_ever();
}

bool probe_seccomp_get_filter() {
  ProbeChild child(sleep_under_filter);
  int status = 0;
  if (child.pid() <= 0 || ::waitpid(child.pid(), &status, __WALL | WUNTRACED) != child.pid() ||
      !WIFSTOPPED(status)) {
    return false;
  }
  return seize_and_stop(child.pid()) && ::ptrace(PTRACE_SECCOMP_GET_FILTER, child.pid(), 0, nullptr) == 1;
}

// linux/fs.h of 6.7 and newer.
struct PmScanArg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PmScanArg);

bool probe_pagemap_scan() {
  const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  PmScanArg argument{};
  argument.size = sizeof(argument);
  return pagemap && ::ioctl(pagemap.get(), kPagemapScan, &argument) == 0;
}

/// The entry in /proc/self/pagemap of a page that has just been written; 0 if there is none.
uint64_t pagemap_entry_of_fresh_page() {
  const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const ProbePage page;
  uint64_t entry = 0;
  if (!pagemap || !page ||
      ::pread(pagemap.get(), &entry, sizeof(entry),
              static_cast<off_t>(page.address() / kPage * sizeof(entry))) != sizeof(entry)) {
    return 0;
  }
  return entry;
}

bool probe_pagemap_pfn() {
  return (pagemap_entry_of_fresh_page() & ((uint64_t{1} << 55) - 1)) != 0;
}

/// A new page is soft-dirty from birth.
bool probe_soft_dirty() {
  return (pagemap_entry_of_fresh_page() & (uint64_t{1} << 55)) != 0;
}

bool probe_userfaultfd_wp_async() {
  constexpr uint64_t kWpAsync = uint64_t{1} << 15;
  const Fd descriptor(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
  uffdio_api api{UFFD_API, kWpAsync, 0};
  return descriptor && ::ioctl(descriptor.get(), UFFDIO_API, &api) == 0;
}

// linux/fs.h of 6.11 and newer.
struct ProcmapQuery {
  uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
  uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
  uint64_t vma_name_addr, build_id_addr;
};
constexpr unsigned long kProcmapQuery = _IOWR('f', 17, ProcmapQuery);

bool probe_procmap_query() {
  const Fd maps(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  ProcmapQuery query{};
  query.size = sizeof(query);
  query.query_addr = reinterpret_cast<uint64_t>(&query);
  return maps && ::ioctl(maps.get(), kProcmapQuery, &query) == 0;
}

bool probe_process_madvise() {
  const Fd self = pidfd_of_self();
  const ProbePage page;
  const iovec range{page.get(), kPage};
  return self && page && ::syscall(SYS_process_madvise, self.get(), &range, 1, MADV_COLD, 0) == kPage;
}

bool probe_ksm() {
  const ProbePage page;
  return page && ::madvise(page.get(), kPage, MADV_MERGEABLE) == 0;
}

bool probe_anon_vma_name() {
  constexpr int kPrSetVma = 0x53564d41;
  const ProbePage page;
  return page && ::prctl(kPrSetVma, 0, page.address(), kPage, "probe") == 0;
}

/// Nothing is sealed by a range of no length.
bool probe_mseal() {
  constexpr long kMseal = 462;
  return ::syscall(kMseal, 0, 0, 0) == 0;
}

bool probe_memfd_secret() {
  return static_cast<bool>(Fd(static_cast<int>(::syscall(SYS_memfd_secret, O_CLOEXEC))));
}

bool probe_posix_timer_restore_ids() {
  constexpr int kRestoreIds = 77;
  constexpr int kGet = 2;
  return ::prctl(kRestoreIds, kGet, 0, 0, 0) >= 0;
}

bool probe_close_range() {
  return ::syscall(SYS_close_range, ~0U, ~0U, 0) == 0;
}

bool probe_openat2() {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  return static_cast<bool>(Fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)))));
}

/// The first mount in /proc/self/mounts of this type whose options hold `option`; empty: none.
std::string mount_point(std::string_view type, std::string_view option) {
  const Fd mounts(::open("/proc/self/mounts", O_RDONLY | O_CLOEXEC));
  if (!mounts) {
    return {};
  }
  const std::string text = read_all(mounts.get(), "/proc/self/mounts");
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view rest(text.data() + at, end - at);
    at = end + 1;
    const auto field = [&rest] {
      const size_t space = std::min(rest.find(' '), rest.size());
      const std::string_view found = rest.substr(0, space);
      rest.remove_prefix(std::min(space + 1, rest.size()));
      return found;
    };
    field();
    const std::string_view directory = field();
    const std::string_view its_type = field();
    const std::string options = fmt::format(",{},", field());
    if (its_type == type &&
        (option.empty() || options.find(fmt::format(",{},", option)) != std::string::npos)) {
      return std::string(directory);
    }
  }
  return {};
}

/// The root of a hierarchy has no freezer: whether there is one shows in a cgroup of our own.
bool cgroup_has(const std::string& hierarchy, const char* file) {
  if (hierarchy.empty()) {
    return false;
  }
  const std::string directory = fmt::format("{}/godwit-probe-{}", hierarchy, ::getpid());
  if (::mkdir(directory.c_str(), 0700) != 0) {
    return false;
  }
  const bool found = ::access(fmt::format("{}/{}", directory, file).c_str(), W_OK) == 0;
  ::rmdir(directory.c_str());
  return found;
}

bool probe_cgroup_v1_freezer() {
  return cgroup_has(mount_point("cgroup", "freezer"), "freezer.state");
}
bool probe_cgroup_v2_freezer() {
  return cgroup_has(mount_point("cgroup2", ""), "cgroup.freeze");
}

// linux/mount.h of 6.8 and newer.
struct MountIdRequest {
  uint32_t size, spare;
  uint64_t mount_id, parameter;
};

/// The id of some mount of our namespace; 0: listmount doesn't work.
uint64_t some_mount() {
  constexpr long kListmount = 458;
  constexpr uint64_t kRoot = ~uint64_t{0};
  const MountIdRequest request{sizeof(MountIdRequest), 0, kRoot, 0};
  uint64_t id = 0;
  return ::syscall(kListmount, &request, &id, 1, 0) == 1 ? id : 0;
}

bool probe_listmount() {
  return some_mount() != 0;
}

/// Without listmount no unique id is known; one that can't be gives ENOENT.
bool probe_statmount() {
  constexpr long kStatmount = 457;
  constexpr uint64_t kSuperblock = 1;
  const MountIdRequest request{sizeof(MountIdRequest), 0, some_mount(), kSuperblock};
  std::byte buffer[1024];
  return ::syscall(kStatmount, &request, buffer, sizeof(buffer), 0) == 0 || errno == ENOENT;
}

/// Flags are looked at before descriptors: EBADF says that the flag is known.
bool probe_move_mount_set_group() {
  constexpr unsigned kFromEmptyPath = 0x4;
  constexpr unsigned kToEmptyPath = 0x40;
  constexpr unsigned kSetGroup = 0x100;
  return ::syscall(SYS_move_mount, -1, "", -1, "", kFromEmptyPath | kToEmptyPath | kSetGroup) == -1 &&
         errno == EBADF;
}

bool probe_time_namespace() {
  constexpr int kNewTime = 0x80;
  ProbeChild child([] { return ::unshare(kNewTime) == 0 ? 0 : 1; });
  return child.pid() > 0 && child.wait() == 0;
}

bool has_capability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  return ::syscall(SYS_capget, &header, data) == 0 &&
         (data[capability / 32].effective & (1U << (capability % 32))) != 0;
}

bool try_feature(Feature feature) {
  switch (feature) {
    case Feature::PidfdGetfd:
      return probe_pidfd_getfd();
    case Feature::Kcmp:
      return probe_kcmp();
    case Feature::MapFiles:
      return probe_map_files();
    case Feature::PrSetMmMap:
      return probe_pr_set_mm_map();
    case Feature::Clone3SetTid:
      return probe_clone3_set_tid();
    case Feature::SuspendSeccomp:
      return probe_suspend_seccomp();
    case Feature::SeccompGetFilter:
      return probe_seccomp_get_filter();
    case Feature::RseqConfiguration:
      return probe_rseq_configuration();
    case Feature::PagemapScan:
      return probe_pagemap_scan();
    case Feature::PagemapPfn:
      return probe_pagemap_pfn();
    case Feature::SoftDirty:
      return probe_soft_dirty();
    case Feature::UserfaultfdWpAsync:
      return probe_userfaultfd_wp_async();
    case Feature::ProcmapQuery:
      return probe_procmap_query();
    case Feature::ProcessMadvise:
      return probe_process_madvise();
    case Feature::Ksm:
      return probe_ksm();
    case Feature::AnonVmaName:
      return probe_anon_vma_name();
    case Feature::Mseal:
      return probe_mseal();
    case Feature::MemfdSecret:
      return probe_memfd_secret();
    case Feature::PosixTimerRestoreIds:
      return probe_posix_timer_restore_ids();
    case Feature::CloseRange:
      return probe_close_range();
    case Feature::Openat2:
      return probe_openat2();
    case Feature::CloneIntoCgroup:
      return probe_clone_into_cgroup();
    case Feature::CgroupV1Freezer:
      return probe_cgroup_v1_freezer();
    case Feature::CgroupV2Freezer:
      return probe_cgroup_v2_freezer();
    case Feature::Statmount:
      return probe_statmount();
    case Feature::Listmount:
      return probe_listmount();
    case Feature::MoveMountSetGroup:
      return probe_move_mount_set_group();
    case Feature::TimeNamespace:
      return probe_time_namespace();
    case Feature::CapSysPtrace:
      return has_capability(CAP_SYS_PTRACE);
    case Feature::CapSysAdmin:
      return has_capability(CAP_SYS_ADMIN);
    case Feature::CapCheckpointRestore:
      return has_capability(CAP_CHECKPOINT_RESTORE);
    case Feature::CapSysResource:
      return has_capability(CAP_SYS_RESOURCE);
  }
  return false;
}

}  // namespace

bool probe(Feature feature) {
  const int saved = errno;
  bool present = false;
  try {
    present = try_feature(feature);
  } catch (const Error&) {
    present = false;
  }
  errno = saved;
  return present;
}

}  // namespace godwit
