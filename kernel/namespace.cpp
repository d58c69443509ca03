#include "kernel/namespace.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernel/error.h"
#include "kernel/procfs.h"

namespace godwit {

namespace {

/// Looks at every thread there is: what older kernels leave.
pid_t search_pid(uint64_t pid_namespace, pid_t inside) {
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  while (const dirent* process = processes ? ::readdir(processes.get()) : nullptr) {
    pid_t pid = 0;
    std::from_chars(process->d_name, process->d_name + std::strlen(process->d_name), pid);
    struct stat status {};
    if (pid <= 0 || ::stat(fmt::format("/proc/{}/ns/pid", pid).c_str(), &status) != 0 ||
        status.st_ino != pid_namespace) {
      continue;
    }
    try {
      for (const pid_t tid : procfs::read_threads(pid)) {
        if (procfs::read_status(pid, tid).namespace_pids.back() == inside) {
          return tid;
        }
      }
    } catch (const Error&) {
      // It has just gone.
    }
  }
  errno = ESRCH;
  return -1;
}

}  // namespace

Namespaces read_namespaces(pid_t pid, pid_t tid) {
  const Fd directory = open_file(fmt::format("/proc/{}/task/{}/ns", pid, tid), O_PATH | O_DIRECTORY);
  Namespaces ids{};
  for (size_t i = 0; i < ids.size(); ++i) {
    // "net:[4026531840]"; an empty pid_for_children has no target, a kind that this kernel lacks no link.
    char target[64];
    const ssize_t length = ::readlinkat(directory.get(), kNamespaceKinds[i], target, sizeof(target));
    const std::string_view text(target, length > 0 ? static_cast<size_t>(length) : 0);
    if (const size_t open = text.find('['); open != std::string_view::npos) {
      std::from_chars(text.data() + open + 1, text.data() + text.size(), ids[i]);
    }
  }
  return ids;
}

size_t namespace_index(std::string_view kind) {
  const auto* const found = std::find(kNamespaceKinds.begin(), kNamespaceKinds.end(), kind);
  if (found == kNamespaceKinds.end()) {
    throw error("there are no {} namespaces", kind);
  }
  return static_cast<size_t>(found - kNamespaceKinds.begin());
}

uint64_t namespace_flag(std::string_view kind) {
  static constexpr std::array<uint64_t, kNamespaceKinds.size()> kFlags = {
      CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, 0, CLONE_NEWTIME, 0,
      CLONE_NEWUSER,   CLONE_NEWUTS};
  return kFlags[namespace_index(kind)];
}

Fd open_namespace(pid_t pid, const char* kind) {
  return open_file(fmt::format("/proc/{}/ns/{}", pid, kind), O_RDONLY);
}

uint64_t namespace_id(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    throw errno_error("cannot look at a namespace");
  }
  return status.st_ino;
}

uint64_t owning_user_namespace(int descriptor) {
  const Fd owner(::ioctl(descriptor, NS_GET_USERNS));
  if (!owner) {
    if (errno == EPERM) {
      return 0;
    }
    throw errno_error("cannot ask for the owner of a namespace");
  }
  return namespace_id(owner.get());
}

pid_t pid_from_namespace(int pid_namespace, pid_t inside) {
  constexpr unsigned long kPidFromNamespace = _IOR(NSIO, 6, int);  // NS_GET_PID_FROM_PIDNS, Linux 6.11
  const int pid = ::ioctl(pid_namespace, kPidFromNamespace, inside);
  if (pid > 0 || errno != ENOTTY) {
    return pid;
  }
  return search_pid(namespace_id(pid_namespace), inside);
}

EnteredNamespace::EnteredNamespace(const char* kind, int descriptor)
    : flag_(namespace_flag(kind)), own_(open_file(fmt::format("/proc/thread-self/ns/{}", kind), O_RDONLY)) {
  if (flag_ == CLONE_NEWNS) {
    root_ = open_file("/", O_PATH | O_DIRECTORY);
    working_directory_ = open_file(".", O_PATH | O_DIRECTORY);
  }
  if (::setns(descriptor, static_cast<int>(flag_)) != 0) {
    throw errno_error("cannot enter a {} namespace", kind);
  }
}

EnteredNamespace::~EnteredNamespace() {
  bool back = ::setns(own_.get(), static_cast<int>(flag_)) == 0;
  if (flag_ == CLONE_NEWNS) {
    back =
        back && ::fchdir(root_.get()) == 0 && ::chroot(".") == 0 && ::fchdir(working_directory_.get()) == 0;
  }
  if (!back) {
    std::abort();  // whatever came next would happen to the wrong namespace
  }
}

}  // namespace godwit
