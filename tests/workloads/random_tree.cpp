// A tree of tasks, threads, pipes, files and memory, grown from a seed. Every process knows what it has and
// what it shares with whom, and checks that at the end.
//
//   random_tree DIRECTORY SEED
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <atomic>
#include <memory>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr size_t kPage = 4096;
constexpr int kMostTasks = 24;

/// splitmix64: the same everywhere for a seed.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return next() % n; }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  uint64_t state_;
};

/// Memory of our own, and of our children until somebody writes. Tags say what each page has.
struct PrivateArea {
  unsigned char* start;
  std::vector<uint32_t> tags;  // 0: never touched
};

struct Board {
  std::atomic<uint32_t> holders;
  std::atomic<uint32_t> seen;
};

struct SharedArea {
  Board* board;
  size_t pages;
  uint32_t seed;
  pid_t maker;
};

struct OpenPipe {
  int from;
  int to;
  uint32_t seed;
  int bytes;
  pid_t maker;
};

struct OpenFile {
  int fd;
  int twin;  // a duplicate at another number, or -1
  off_t position;
  int flags;
  bool close_on_exec;
};

struct Held {
  std::vector<PrivateArea> areas;
  std::vector<SharedArea> shared;
  std::vector<OpenPipe> pipes;
  std::vector<OpenFile> files;
};

Held held;
std::atomic<bool> go_on{false};
std::atomic<int> threads_standing{0};
std::atomic<int>* tasks = nullptr;  // of the whole tree, in memory that all share
std::atomic<int>* standing = nullptr;

unsigned char byte_of(uint32_t tag, size_t at) {
  return static_cast<unsigned char>(tag * 37 + at * 11 + 1);
}

void write_page(PrivateArea& area, size_t page, uint32_t tag) {
  area.tags[page] = tag;
  for (size_t i = 0; i < kPage; i += 32) {
    area.start[page * kPage + i] = byte_of(tag, i);
  }
}

void check_areas() {
  for (const PrivateArea& area : held.areas) {
    for (size_t page = 0; page < area.tags.size(); ++page) {
      for (size_t i = 0; i < kPage; i += 32) {
        const unsigned char wanted = area.tags[page] == 0 ? 0 : byte_of(area.tags[page], i);
        if (area.start[page * kPage + i] != wanted) {
          workload::fail("task %d: private page %p", getpid(), static_cast<void*>(area.start + page * kPage));
          return;
        }
      }
    }
  }
}

void check_shared() {
  for (const SharedArea& area : held.shared) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(area.board);
    for (size_t i = sizeof(Board); i < area.pages * kPage; i += 256) {
      if (bytes[i] != byte_of(area.seed, i)) {
        workload::fail("task %d: shared memory at %zu", getpid(), i);
        break;
      }
    }
    ++area.board->seen;
  }
}

void check_pipes() {
  for (const OpenPipe& pipe : held.pipes) {
    int waiting = -1;
    ioctl(pipe.from, FIONREAD, &waiting);
    workload::check_equal(waiting, pipe.bytes, "bytes that wait in a pipe");
  }
}

void check_files() {
  for (const OpenFile& file : held.files) {
    workload::check_equal(lseek(file.fd, 0, SEEK_CUR), file.position, "position in a file");
    workload::check_equal(fcntl(file.fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), file.flags,
                          "flags of a file");
    workload::check_equal(fcntl(file.fd, F_GETFD) == FD_CLOEXEC, file.close_on_exec, "close-on-exec");
    if (file.twin >= 0) {
      workload::check_equal(lseek(file.twin, 0, SEEK_CUR), file.position, "position in a duplicate");
    }
  }
}

/// Makers look at what they made once nobody else does any more.
void check_as_maker() {
  for (const OpenPipe& pipe : held.pipes) {
    for (int i = 0; pipe.maker == getpid() && i < pipe.bytes; ++i) {
      unsigned char byte = 0;
      if (read(pipe.from, &byte, 1) != 1 || byte != byte_of(pipe.seed, static_cast<size_t>(i))) {
        workload::fail("task %d: byte %d of a pipe", getpid(), i);
        break;
      }
    }
  }
  for (const SharedArea& area : held.shared) {
    if (area.maker == getpid()) {
      workload::check_equal(area.board->seen, area.board->holders, "tasks that share one memory");
    }
  }
}

void make_private(Dice& dice) {
  const size_t pages = 1 + dice.below(300);
  void* place = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  PrivateArea area{static_cast<unsigned char*>(place), std::vector<uint32_t>(pages)};
  for (size_t page = 0; page < pages; ++page) {
    if (dice.chance(70)) {
      write_page(area, page, static_cast<uint32_t>(dice.next()) | 1);
    }
  }
  held.areas.push_back(std::move(area));
}

void make_shared(Dice& dice) {
  const size_t pages = 1 + dice.below(40);
  void* place = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  const SharedArea area{static_cast<Board*>(place), pages, static_cast<uint32_t>(dice.next()), getpid()};
  for (size_t i = sizeof(Board); i < pages * kPage; i += 256) {
    static_cast<unsigned char*>(place)[i] = byte_of(area.seed, i);
  }
  area.board->holders = 1;
  held.shared.push_back(area);
}

void make_pipe(Dice& dice) {
  int ends[2];
  workload::must(pipe2(ends, dice.chance(50) ? O_CLOEXEC : 0), "pipe2");
  const OpenPipe pipe{ends[0], ends[1], static_cast<uint32_t>(dice.next()),
                      static_cast<int>(dice.below(3000)), getpid()};
  for (int i = 0; i < pipe.bytes; ++i) {
    const unsigned char byte = byte_of(pipe.seed, static_cast<size_t>(i));
    workload::must(write(pipe.to, &byte, 1), "write");
  }
  held.pipes.push_back(pipe);
}

void make_file(Dice& dice) {
  static int number = 0;
  const std::string path =
      workload::in_directory(("file-" + std::to_string(getpid()) + "-" + std::to_string(number++)).c_str());
  const int flags = (dice.chance(50) ? O_RDWR : O_WRONLY) | (dice.chance(30) ? O_APPEND : 0) |
                    (dice.chance(20) ? O_NONBLOCK : 0);
  const int fd = open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0640);
  workload::must(fd, "open");
  workload::must(ftruncate(fd, static_cast<off_t>(dice.below(100000))), "ftruncate");
  if (dice.chance(30)) {
    workload::must(unlink(path.c_str()), "unlink");
  }
  OpenFile file{fd, -1, static_cast<off_t>(dice.below(100000)), flags, true};
  lseek(fd, file.position, SEEK_SET);
  if (dice.chance(50)) {
    file.twin = fcntl(fd, F_DUPFD, 50 + static_cast<int>(dice.below(100)));
    workload::must(file.twin, "F_DUPFD");
  }
  held.files.push_back(file);
}

struct ThreadArgument {
  uint64_t seed;
};

void* thread_body(void* argument) {
  const std::unique_ptr<ThreadArgument> mine(static_cast<ThreadArgument*>(argument));
  static thread_local uint64_t local;
  local = mine->seed;
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGRTMIN + static_cast<int>(mine->seed % 20));
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  const pid_t tid = workload::gettid();
  ++threads_standing;
  while (!go_on) {
    workload::pause_ms(4);
  }
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  if (local != mine->seed || tid != workload::gettid() ||
      sigismember(&now, SIGRTMIN + static_cast<int>(mine->seed % 20)) != 1) {
    workload::fail("task %d: thread %d", getpid(), tid);
  }
  return nullptr;
}

/// Right after fork: what is held now is held by one more.
void begin_child(Dice& dice) {
  if (dice.chance(15)) {
    setsid();
  } else if (dice.chance(25)) {
    setpgid(0, 0);
  }
  // Some of what was inherited is changed or let go.
  for (PrivateArea& area : held.areas) {
    for (size_t page = 0; page < area.tags.size(); ++page) {
      if (dice.chance(10)) {
        write_page(area, page, static_cast<uint32_t>(dice.next()) | 1);
      }
    }
  }
  std::erase_if(held.shared, [&](const SharedArea& area) {
    if (dice.chance(30)) {
      munmap(area.board, area.pages * kPage);
      return true;
    }
    ++area.board->holders;
    return false;
  });
  std::erase_if(held.pipes, [&](const OpenPipe& pipe) {
    if (dice.chance(30)) {
      close(pipe.from);
      close(pipe.to);
      return true;
    }
    return false;
  });
  std::erase_if(held.files, [&](const OpenFile& file) {
    if (dice.chance(30)) {
      close(file.fd);
      close(file.twin);
      return true;
    }
    return false;
  });
}

void make_something(Dice& dice) {
  switch (dice.below(4)) {
    case 0:
      return make_private(dice);
    case 1:
      return make_shared(dice);
    case 2:
      return make_pipe(dice);
    default:
      return make_file(dice);
  }
}

struct Child {
  pid_t pid;
  int status;
};

void grow(Dice dice, int depth);

/// A child that ends at once and is not waited for.
Child make_zombie(Dice& dice) {
  const int code = static_cast<int>(dice.below(256));
  const pid_t pid = fork();
  if (pid == 0) {
    _exit(code);
  }
  siginfo_t info{};
  workload::must(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), "waitid");
  return {pid, code << 8};
}

std::vector<Child> make_children(Dice& dice, int depth) {
  std::vector<Child> children;
  const size_t count = depth == 0 ? 2 + dice.below(3) : depth < 5 ? dice.below(4) : 0;
  for (size_t i = 0; i < count; ++i) {
    make_something(dice);
    const uint64_t seed = dice.next();
    if (dice.chance(15)) {
      children.push_back(make_zombie(dice));
      continue;
    }
    if (tasks->fetch_add(1) >= kMostTasks) {
      --*tasks;
      break;
    }
    const pid_t pid = fork();
    if (pid == 0) {
      grow(Dice(seed), depth + 1);
      _exit(0);
    }
    children.push_back({pid, 0});
  }
  return children;
}

/// The life of one process, from its birth to its end.
void grow(Dice dice, int depth) {
  const pid_t parent = getppid();
  if (depth > 0) {
    begin_child(dice);
  }
  const pid_t group = getpgrp();
  const pid_t session = getsid(0);
  for (size_t i = dice.below(4); i > 0; --i) {
    make_something(dice);
  }
  const std::vector<Child> children = make_children(dice, depth);
  std::vector<pthread_t> threads(dice.below(4));
  threads_standing = 0;
  for (pthread_t& thread : threads) {
    workload::must(-pthread_create(&thread, nullptr, thread_body, new ThreadArgument{dice.next()}),
                   "pthread_create");
  }
  while (threads_standing < static_cast<int>(threads.size())) {
    workload::pause_ms(1);
  }
  ++*standing;
  if (depth == 0) {
    while (*standing < *tasks) {
      workload::pause_ms(1);
    }
    workload::say_ready();
  }
  workload::wait_to_go_on();
  workload::check_equal(getppid(), parent, "parent");
  workload::check_equal(getpgrp(), group, "process group");
  workload::check_equal(getsid(0), session, "session");
  check_areas();
  check_shared();
  check_pipes();
  check_files();
  go_on = true;
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  for (const Child& child : children) {
    workload::expect_end(child.pid, child.status);
  }
  check_as_maker();
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  void* counters = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  workload::must(counters == MAP_FAILED ? -1 : 0, "mmap");
  tasks = static_cast<std::atomic<int>*>(counters);
  standing = tasks + 1;
  *tasks = 1;
  grow(Dice(argc > 2 ? strtoull(argv[2], nullptr, 10) : 1), 0);
  workload::finish();
}
