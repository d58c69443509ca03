// Has, or is, one thing that can't be dumped, as its second argument says; otherwise it only waits.
#include <arpa/inet.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>

#include <atomic>
#include <string_view>

#include "tests/workloads/workload.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096;
constexpr int kMadvGuardInstall = 102;  // since Linux 6.13
constexpr int kMapDroppable = 8;        // since Linux 6.11

/// Not here: the test is skipped.
[[noreturn]] void unavailable() {
  mark("unavailable");
  mark("ready");
  wait_to_go_on();
  finish();
}

long available(long result) {
  if (result < 0) {
    unavailable();
  }
  return result;
}

void* available_mapping(void* place) {
  available(place == MAP_FAILED ? -1 : 0);
  return place;
}

void* anonymous(int flags = MAP_PRIVATE) {
  return available_mapping(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0));
}

int io_uring() {
  io_uring_params parameters{};
  return static_cast<int>(available(syscall(SYS_io_uring_setup, 4, &parameters)));
}

void io_uring_mapping() {
  const int fd = io_uring();
  available_mapping(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING));
  close(fd);
}

void userfault() {
  const int fd = static_cast<int>(available(syscall(SYS_userfaultfd, O_CLOEXEC)));
  uffdio_api api{};
  api.api = UFFD_API;
  must(ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
  uffdio_register range{};
  range.range = {reinterpret_cast<uintptr_t>(anonymous()), kPage};
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  must(ioctl(fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
}

void aio() {
  aio_context_t context = 0;
  available(syscall(SYS_io_setup, 8, &context));
}

void secret(bool mapped) {
  const int fd = static_cast<int>(available(syscall(SYS_memfd_secret, 0)));
  if (mapped) {
    must(ftruncate(fd, kPage), "ftruncate");
    available_mapping(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    close(fd);
  }
}

void system_v() {
  const int id = shmget(IPC_PRIVATE, kPage, IPC_CREAT | 0600);
  available(id);
  available(shmat(id, nullptr, 0) == reinterpret_cast<void*>(-1) ? -1 : 0);
  shmctl(id, IPC_RMID, nullptr);
}

int perf() {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.size = sizeof attributes;
  attributes.config = PERF_COUNT_SW_DUMMY;
  return static_cast<int>(available(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0)));
}

void perf_mapping() {
  const int fd = perf();
  available_mapping(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  close(fd);
}

void bpf() {
  union bpf_attr attributes {};
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 1;
  available(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes));
}

void tcp() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* name = reinterpret_cast<sockaddr*>(&address);
  const int listener = static_cast<int>(must(socket(AF_INET, SOCK_STREAM, 0), "socket"));
  must(bind(listener, name, size), "bind");
  must(listen(listener, 1), "listen");
  must(getsockname(listener, name, &size), "getsockname");
  must(connect(static_cast<int>(must(socket(AF_INET, SOCK_STREAM, 0), "socket")), name, size), "connect");
  must(accept(listener, nullptr, nullptr), "accept");
  close(listener);
}

void lease() {
  const int fd = static_cast<int>(must(open(in_directory("file").c_str(), O_RDWR | O_CREAT, 0600), "open"));
  must(fcntl(fd, F_SETLEASE, F_WRLCK), "F_SETLEASE");
}

/// A child in namespaces of its own.
void namespaces(int flags) {
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    if (unshare(flags) != 0) {
      mark("unavailable");
    }
    mark("child");
    wait_to_go_on();
    finish_child();
  }
  wait_for_mark("child");
}

std::atomic<bool> thread_ready{false};

void* thread_with_own(void* flags) {
  must(unshare(static_cast<int>(reinterpret_cast<intptr_t>(flags))), "unshare");
  thread_ready = true;
  wait_to_go_on();
  return nullptr;
}

void thread_with(int flags) {
  pthread_t thread{};
  must(-pthread_create(&thread, nullptr, thread_with_own, reinterpret_cast<void*>(intptr_t{flags})),
       "thread");
  while (!thread_ready) {
    pause_ms(1);
  }
}

void* thread_that_goes_on(void* of_child) {
  while (state_of_task(getpid()) != 'Z') {
    pause_ms(1);
  }
  mark(of_child != nullptr ? "child" : "ready");
  wait_to_go_on();
  if (of_child != nullptr) {
    finish_child();
  }
  finish();
}

[[noreturn]] void end_before_a_thread(bool child) {
  static char yes;
  pthread_t thread{};
  must(-pthread_create(&thread, nullptr, thread_that_goes_on, child ? &yes : nullptr), "thread");
  pthread_exit(nullptr);
}

void have_child_that_ended_before_a_thread() {
  if (must(fork(), "fork") == 0) {
    end_before_a_thread(true);
  }
  wait_for_mark("child");
}

/// It has its parent's thread-local storage too, so it does nothing but wait.
int in_shared_memory(void*) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    pause();
  }
}

void process_in_same_memory() {
  static char stack[65536];
  must(clone(in_shared_memory, stack + sizeof stack, CLONE_VM | SIGCHLD, nullptr), "clone");
}

/// The root and its grandchild share what the child between them has of its own.
void shared_over_a_generation(unsigned long what) {
  const auto fork_sharing = [&] { return must(syscall(SYS_clone, what | SIGCHLD, 0, 0, 0, 0), "clone"); };
  if (fork_sharing() == 0) {
    if (fork_sharing() == 0) {
      mark("grandchild");
      wait_to_go_on();
      _exit(0);
    }
    wait_for_mark("grandchild");
    must(unshare(static_cast<int>(what)), "unshare");
    mark("child");
    wait_to_go_on();
    _exit(0);
  }
  wait_for_mark("child");
}

/// A child in a session of its own ends before its child, which has the table of what adopts it.
void table_of_an_adopter() {
  const auto fork_sharing = [] {
    return must(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0), "clone");
  };
  must(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
  const pid_t root = getpid();
  const auto child = static_cast<pid_t>(fork_sharing());
  if (child == 0) {
    must(setsid(), "setsid");
    if (fork_sharing() == 0) {
      while (getppid() != root) {
        pause_ms(1);
      }
      mark("orphan");
      wait_to_go_on();
      _exit(0);
    }
    _exit(0);
  }
  expect_end(child);
  wait_for_mark("orphan");
}

/// root -> adopter -> child -> other -> leader of a session -> member -> orphan, which falls to the adopter
/// when the member ends. Then the child ends, and the other falls to the root: beside the adopter.
void orphan_beside_its_session() {
  must(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
  const pid_t root = getpid();
  const auto wait_as = [](const char* name) {
    mark(name);
    wait_to_go_on();
    _exit(0);
  };
  if (must(fork(), "fork") == 0) {
    must(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
    const pid_t adopter = getpid();
    const auto child = static_cast<pid_t>(must(fork(), "fork"));
    if (child == 0) {
      if (must(fork(), "fork") == 0) {
        const auto leader = static_cast<pid_t>(must(fork(), "fork"));
        if (leader == 0) {
          must(setsid(), "setsid");
          const auto member = static_cast<pid_t>(must(fork(), "fork"));
          if (member == 0) {
            if (must(fork(), "fork") == 0) {
              while (getppid() != adopter) {
                pause_ms(1);
              }
              wait_as("orphan");
            }
            _exit(0);
          }
          expect_end(member);
          wait_as("leader");
        }
        while (getppid() != root) {
          pause_ms(1);
        }
        wait_as("other");
      }
      wait_for_mark("orphan");
      wait_for_mark("leader");
      wait_for_mark("given up");
      _exit(0);
    }
    wait_for_mark("orphan");
    must(prctl(PR_SET_CHILD_SUBREAPER, 0), "PR_SET_CHILD_SUBREAPER");
    mark("given up");
    expect_end(child);
    wait_as("adopter");
  }
  wait_for_mark("other");
  wait_for_mark("adopter");
}

/// A child that is stopped by the end of its own.
void zombie_that_stops_its_parent() {
  const auto parent = static_cast<pid_t>(must(fork(), "fork"));
  if (parent == 0) {
    if (must(syscall(SYS_clone, SIGSTOP, 0, 0, 0, 0), "clone") == 0) {
      _exit(0);
    }
    wait_to_go_on();
    _exit(0);
  }
  while (state_of_task(parent) != 'T') {
    pause_ms(1);
  }
}

struct Thing {
  std::string_view name;
  void (*have)();
};

constexpr Thing kThings[] = {
    {"io_uring", [] { io_uring(); }},
    {"io_uring mapping", io_uring_mapping},
    {"userfaultfd", userfault},
    {"aio", aio},
    {"hugetlb", [] { anonymous(MAP_PRIVATE | MAP_HUGETLB); }},
    {"secret memory", [] { secret(false); }},
    {"secret mapping", [] { secret(true); }},
    {"system v", system_v},
    {"guard pages", [] { available(madvise(anonymous(), kPage, kMadvGuardInstall)); }},
    {"droppable", [] { anonymous(kMapDroppable); }},
    {"perf", [] { perf(); }},
    {"perf mapping", perf_mapping},
    {"bpf", bpf},
    {"tcp", tcp},
    {"netlink", [] { must(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), "socket"); }},
    {"packet", [] { available(socket(AF_PACKET, SOCK_RAW, 0)); }},
    {"raw", [] { available(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }},
    {"alg", [] { available(socket(AF_ALG, SOCK_SEQPACKET, 0)); }},
    {"inotify events",
     [] {
       const int fd = static_cast<int>(must(inotify_init(), "inotify_init"));
       must(inotify_add_watch(fd, "/proc/self/status", IN_OPEN), "a watch");
       close(static_cast<int>(must(open("/proc/self/status", O_RDONLY), "open")));
     }},
    {"fanotify", [] { available(fanotify_init(FAN_CLASS_NOTIF, 0)); }},
    {"pidfd", [] { must(syscall(SYS_pidfd_open, getpid(), 0), "pidfd_open"); }},
    {"namespace", [] { must(open("/proc/self/ns/net", O_RDONLY), "open"); }},
    {"proc file", [] { must(open("/proc/self/status", O_RDONLY), "open"); }},
    {"terminal", [] { available(open("/dev/ptmx", O_RDWR | O_NOCTTY)); }},
    {"tun", [] { available(open("/dev/net/tun", O_RDWR)); }},
    {"fuse", [] { available(open("/dev/fuse", O_RDWR)); }},
    {"fsopen", [] { available(syscall(SYS_fsopen, "tmpfs", 0)); }},
    {"detached mount",
     [] { available(syscall(SYS_open_tree, AT_FDCWD, directory, 1 /* OPEN_TREE_CLONE */)); }},
    {"landlock",
     [] {
       const uint64_t handled = 1;
       available(syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0));
     }},
    {"lease", lease},
    {"user namespace", [] { namespaces(CLONE_NEWUSER); }},
    {"mount namespace", [] { namespaces(CLONE_NEWNS); }},
    {"uts namespace", [] { namespaces(CLONE_NEWUTS); }},
    {"ipc namespace", [] { namespaces(CLONE_NEWIPC); }},
    {"pid namespace", [] { namespaces(CLONE_NEWPID); }},
    {"net namespace", [] { namespaces(CLONE_NEWNET); }},
    {"cgroup namespace", [] { namespaces(CLONE_NEWCGROUP); }},
    {"time namespace", [] { namespaces(0x80); }},
    {"same memory", process_in_same_memory},
    {"dead leader", [] { end_before_a_thread(false); }},
    {"dead leader of a child", have_child_that_ended_before_a_thread},
    {"own table", [] { thread_with(CLONE_FILES); }},
    {"own working directory", [] { thread_with(CLONE_FS); }},
    {"table over a generation", [] { shared_over_a_generation(CLONE_FILES); }},
    {"directory over a generation", [] { shared_over_a_generation(CLONE_FS); }},
    {"table of an adopter", table_of_an_adopter},
    {"orphan beside its session", orphan_beside_its_session},
    {"zombie that stops its parent", zombie_that_stops_its_parent},
};

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const std::string_view wanted = argc > 2 ? argv[2] : "";
  bool found = false;
  for (const Thing& thing : kThings) {
    if (thing.name == wanted) {
      found = true;
      thing.have();
    }
  }
  must(found ? 0 : -1, "no such thing");
  say_ready();
  wait_to_go_on();
  finish();
}
