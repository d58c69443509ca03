// Memory that changes in rounds, in every way that memory can change, so that a checkpoint that is made of
// several rounds shows whether it has missed one. Before each round (mark "round-N") the test makes a
// pre-dump; when the workload has done it, it marks "did-N". What each page must hold in the end follows from
// the rounds alone, and nothing that was noted while they happened.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <atomic>

#include "tests/workloads/workload.h"

namespace {

constexpr size_t kPage = 4096;
constexpr int kRounds = 3;  // 0 is before the first pre-dump

using Bytes = unsigned char*;

void fill(Bytes page, unsigned seed) {
  for (size_t i = 0; i < kPage; i += 32) {
    page[i] = static_cast<unsigned char>(seed * 7 + i / 32 + 1);
    page[i + 1] = static_cast<unsigned char>(seed >> 8);
  }
}

bool holds(const unsigned char* page, unsigned seed) {
  unsigned char wanted[kPage] = {};
  fill(wanted, seed);
  return memcmp(page, wanted, kPage) == 0;
}

bool is_zero(const unsigned char* page) {
  static const unsigned char zero[kPage] = {};
  return memcmp(page, zero, kPage) == 0;
}

void expect(const unsigned char* page, unsigned seed, const char* area, size_t number) {
  if (!holds(page, seed)) {
    workload::fail("%s: page %zu isn't that of seed %u (it is %s)", area, number, seed,
                   is_zero(page) ? "zero" : "another");
  }
}

void expect_zero(const unsigned char* page, const char* area, size_t number) {
  if (!is_zero(page)) {
    workload::fail("%s: page %zu isn't zero", area, number);
  }
}

Bytes map(size_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1, void* where = nullptr) {
  void* place = mmap(where, pages * kPage, PROT_READ | PROT_WRITE, flags, fd, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  return static_cast<Bytes>(place);
}

unsigned seed_of(unsigned area, size_t page, int round) {
  return area * 10000 + static_cast<unsigned>(page) * 10 + static_cast<unsigned>(round);
}

// Each part: what it does in a round, and what must be there in the end.

/// A part of the pages is written in each round, one page in two rounds, most in none.
struct Plain {
  static constexpr size_t kPages = 512;
  Bytes memory = map(kPages);
  static int last_round(size_t page) { return page == 5 || page % 64 == 2 ? 2 : page % 64 == 1 ? 1 : 0; }
  void run(int round) const {
    for (size_t page = 0; page < kPages; ++page) {
      if (round == 0 || (round == 1 && page == 5) || last_round(page) == round) {
        fill(memory + page * kPage, seed_of(1, page, round));
      }
    }
  }
  void check() const {
    for (size_t page = 0; page < kPages; ++page) {
      expect(memory + page * kPage, seed_of(1, page, last_round(page)), "plain", page);
    }
  }
};

/// Pages are dropped in round 1 (they hide what the parent has), and some are written again in round 2.
struct Dropped {
  static constexpr size_t kPages = 64;
  Bytes memory = map(kPages);
  void run(int round) const {
    for (size_t page = 0; page < kPages; ++page) {
      if (round == 0 || (round == 2 && page % 8 == 3)) {
        fill(memory + page * kPage, seed_of(2, page, round));
      }
    }
    if (round == 1) {
      madvise(memory + 16 * kPage, 32 * kPage, MADV_DONTNEED);
    }
    if (round == 2) {
      memset(memory + 60 * kPage, 0, kPage);  // zero by writing
    }
  }
  void check() const {
    for (size_t page = 0; page < kPages; ++page) {
      const Bytes at = memory + page * kPage;
      if (page == 60 || (page >= 16 && page < 48 && page % 8 != 3)) {
        expect_zero(at, "dropped", page);
      } else {
        expect(at, seed_of(2, page, page % 8 == 3 ? 2 : 0), "dropped", page);
      }
    }
  }
};

/// Moved in round 1 to where another mapping was, and grown in place in round 2.
struct Moved {
  static constexpr size_t kPages = 32;
  Bytes memory = map(kPages);
  Bytes other = map(3 * kPages);
  void run(int round) {
    if (round == 0) {
      for (size_t page = 0; page < kPages; ++page) {
        fill(memory + page * kPage, seed_of(3, page, 0));
        fill(other + page * kPage, seed_of(3, page, 9));
      }
    } else if (round == 1) {
      void* moved = mremap(memory, kPages * kPage, kPages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, other);
      workload::must(moved == other ? 0 : -1, "mremap");
      memory = other;
      munmap(other + kPages * kPage, 2 * kPages * kPage);
      fill(memory + 3 * kPage, seed_of(3, 3, 1));
    } else {
      void* grown = mremap(memory, kPages * kPage, 2 * kPages * kPage, 0);
      workload::must(grown == memory ? 0 : -1, "mremap in place");
      fill(memory + (kPages + 1) * kPage, seed_of(3, kPages + 1, 2));
    }
  }
  void check() const {
    for (size_t page = 0; page < 2 * kPages; ++page) {
      const Bytes at = memory + page * kPage;
      if (page < kPages) {
        expect(at, seed_of(3, page, page == 3 ? 1 : 0), "moved", page);
      } else if (page == kPages + 1) {
        expect(at, seed_of(3, page, 2), "moved", page);
      } else {
        expect_zero(at, "moved", page);
      }
    }
  }
};

/// Unmapped, and another mapping in its place: of its pages only some are written.
struct Replaced {
  static constexpr size_t kPages = 32;
  Bytes memory = map(kPages);
  void run(int round) const {
    if (round == 1) {
      munmap(memory, kPages * kPage);
      map(kPages, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, memory);
    }
    for (size_t page = 0; page < kPages; ++page) {
      if (round == 0 || (round == 1 && page % 4 == 1)) {
        fill(memory + page * kPage, seed_of(4, page, round));
      }
    }
  }
  void check() const {
    for (size_t page = 0; page < kPages; ++page) {
      const Bytes at = memory + page * kPage;
      page % 4 == 1 ? expect(at, seed_of(4, page, 1), "replaced", page) : expect_zero(at, "replaced", page);
    }
  }
};

/// The heap grows, shrinks, and grows again.
struct Heap {
  static constexpr size_t kPages = 48;
  Bytes memory = nullptr;
  void run(int round) {
    if (round == 0) {
      const auto end = reinterpret_cast<uintptr_t>(sbrk(0));
      sbrk(static_cast<intptr_t>((kPage - end % kPage) % kPage));
      memory = static_cast<Bytes>(sbrk(kPages / 2 * kPage));
    } else if (round == 1) {
      sbrk(kPages / 2 * kPage);
    } else {
      sbrk(-static_cast<intptr_t>(kPages / 4 * kPage));
      sbrk(kPages / 4 * kPage);
    }
    for (size_t page = round == 1 ? kPages / 2 : 0; page < kPages / (round == 0 ? 2 : 1) && round < 2;
         ++page) {
      fill(memory + page * kPage, seed_of(5, page, round));
    }
  }
  void check() const {
    for (size_t page = 0; page < kPages; ++page) {
      const Bytes at = memory + page * kPage;
      page < kPages / 4 * 3 ? expect(at, seed_of(5, page, page < kPages / 2 ? 0 : 1), "heap", page)
                            : expect_zero(at, "heap", page);
    }
  }
};

/// Written, then made unreadable.
struct Forbidden {
  static constexpr size_t kPages = 16;
  Bytes memory = map(kPages);
  void run(int round) const {
    mprotect(memory, kPages * kPage, PROT_READ | PROT_WRITE);
    for (size_t page = 0; page < kPages; ++page) {
      if (round == 0 || page == static_cast<size_t>(round)) {
        fill(memory + page * kPage, seed_of(6, page, round));
      }
    }
    mprotect(memory, kPages * kPage, PROT_NONE);
  }
  void check() const {
    mprotect(memory, kPages * kPage, PROT_READ);
    for (size_t page = 0; page < kPages; ++page) {
      expect(memory + page * kPage, seed_of(6, page, page == 1 || page == 2 ? static_cast<int>(page) : 0),
             "forbidden", page);
    }
  }
};

/// A private mapping of a file: copies are written, dropped (then the file shows through), written again.
struct OfFile {
  static constexpr size_t kPages = 32;
  Bytes memory = nullptr;
  void run(int round) {
    if (round == 0) {
      const std::string path = workload::in_directory("mapped");
      const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
      workload::must(fd, "open");
      for (size_t page = 0; page < kPages; ++page) {
        unsigned char content[kPage] = {};
        fill(content, seed_of(7, page, 9));
        workload::must(pwrite(fd, content, kPage, static_cast<off_t>(page * kPage)), "write");
      }
      memory = map(kPages, MAP_PRIVATE, fd);
      close(fd);
    } else if (round == 1) {
      madvise(memory + 8 * kPage, 8 * kPage, MADV_DONTNEED);
    }
    for (size_t page = 0; page < kPages; ++page) {
      if ((round == 0 && page % 2 == 0) || (round == 1 && page == 1) || (round == 2 && page == 10)) {
        fill(memory + page * kPage, seed_of(7, page, round));
      }
    }
  }
  void check() const {
    for (size_t page = 0; page < kPages; ++page) {
      int wanted = page % 2 == 0 && (page < 8 || page >= 16) ? 0 : 9;
      wanted = page == 1 ? 1 : page == 10 ? 2 : wanted;
      expect(memory + page * kPage, seed_of(7, page, wanted), "private file", page);
    }
  }
};

/// Shared memory that a short-lived child writes to, and a memfd that is written to through a descriptor.
struct Shared {
  static constexpr size_t kPages = 32;
  Bytes anonymous = map(kPages, MAP_SHARED | MAP_ANONYMOUS);
  int memfd = static_cast<int>(workload::must(memfd_create("rounds", MFD_CLOEXEC), "memfd_create"));
  Bytes of_memfd = nullptr;
  Bytes private_of_memfd = nullptr;
  void run(int round) {
    if (round == 0) {
      workload::must(ftruncate(memfd, kPages * kPage), "ftruncate");
      of_memfd = map(kPages, MAP_SHARED, memfd);
      private_of_memfd = map(kPages, MAP_PRIVATE, memfd);
      for (size_t page = 0; page < kPages; ++page) {
        fill(anonymous + page * kPage, seed_of(8, page, 0));
        fill(of_memfd + page * kPage, seed_of(9, page, 0));
      }
      fill(private_of_memfd + 2 * kPage, seed_of(11, 2, 0));
      return;
    }
    const pid_t child = fork();
    const auto page = static_cast<size_t>(round);
    if (child == 0) {
      fill(anonymous + page * kPage, seed_of(8, page, round));
      _exit(0);
    }
    workload::expect_end(child);
    unsigned char content[kPage] = {};
    fill(content, seed_of(9, page, round));
    workload::must(pwrite(memfd, content, kPage, static_cast<off_t>(page * kPage)), "write");
    fill(private_of_memfd + (page + 4) * kPage, seed_of(11, page + 4, round));
  }
  void check() const {
    for (size_t page = 0; page < kPages; ++page) {
      const int last = page == 1 || page == 2 ? static_cast<int>(page) : 0;
      expect(anonymous + page * kPage, seed_of(8, page, last), "shared", page);
      expect(of_memfd + page * kPage, seed_of(9, page, last), "memfd", page);
    }
    expect(private_of_memfd + 2 * kPage, seed_of(11, 2, 0), "private memfd", 2);
    expect(private_of_memfd + 5 * kPage, seed_of(11, 5, 1), "private memfd", 5);
    expect(private_of_memfd + 6 * kPage, seed_of(11, 6, 2), "private memfd", 6);
    expect(private_of_memfd + 7 * kPage, seed_of(9, 7, 0), "private memfd", 7);
  }
};

/// Written by the kernel (read(2)), and by another process (process_vm_writev(2)).
struct FromOutside {
  static constexpr size_t kPages = 16;
  Bytes memory = map(kPages);
  Bytes source = map(kPages, MAP_SHARED | MAP_ANONYMOUS);
  void run(int round) const {
    if (round == 0) {
      for (size_t page = 0; page < kPages; ++page) {
        fill(memory + page * kPage, seed_of(12, page, 0));
      }
      return;
    }
    const auto page = static_cast<size_t>(round);
    fill(source, seed_of(12, page, round));
    int ends[2];
    workload::must(pipe(ends), "pipe");
    workload::must(write(ends[1], source, kPage), "write to the pipe");
    workload::must(read(ends[0], memory + page * kPage, kPage), "read from the pipe");
    close(ends[0]);
    close(ends[1]);
    fill(source, seed_of(12, page + 8, round));
    iovec from{source, kPage};
    iovec to{memory + (page + 8) * kPage, kPage};
    workload::must(process_vm_writev(getpid(), &from, 1, &to, 1, 0), "process_vm_writev");
  }
  void check() const {
    for (size_t page = 0; page < kPages; ++page) {
      const bool written = page % 8 == 1 || page % 8 == 2;
      expect(memory + page * kPage, seed_of(12, page, written ? static_cast<int>(page % 8) : 0),
             "from outside", page);
    }
  }
};

/// Huge pages, of which single small ones are written.
struct Huge {
  static constexpr size_t kBytes = size_t{4} << 20;
  Bytes memory = map(kBytes / kPage + 512);
  Bytes aligned() const {
    constexpr uintptr_t kHuge = uintptr_t{2} << 20;
    return reinterpret_cast<Bytes>((reinterpret_cast<uintptr_t>(memory) + kHuge - 1) / kHuge * kHuge);
  }
  void run(int round) const {
    if (round == 0) {
      madvise(aligned(), kBytes, MADV_HUGEPAGE);
    }
    for (size_t page = 0; page < kBytes / kPage; ++page) {
      if (round == 0 || page == 300U + static_cast<unsigned>(round)) {
        fill(aligned() + page * kPage, seed_of(13, page, round));
      }
    }
  }
  void check() const {
    for (size_t page = 0; page < kBytes / kPage; ++page) {
      const int last = page == 301 ? 1 : page == 302 ? 2 : 0;
      expect(aligned() + page * kPage, seed_of(13, page, last), "huge", page);
    }
  }
};

/// A stack that grows downward, further in each round.
struct Stack {
  static constexpr size_t kPages = 64;
  Bytes top = map(kPages, MAP_PRIVATE | MAP_ANONYMOUS) + kPages * kPage;
  /// Room below, too small for any mapping that is made later, and below that what a stack may come close to.
  Stack() {
    mprotect(top - kPages * kPage, kPages / 2 * kPage, PROT_NONE);
    munmap(top - kPages / 2 * kPage, kPages / 2 * kPage);
    map(1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, top - kPage);
  }
  void run(int round) const {
    for (size_t page = 0; page < 4; ++page) {
      const size_t number = static_cast<size_t>(round) * 4 + page;
      fill(top - (number + 1) * kPage, seed_of(14, number, round));
    }
  }
  void check() const {
    for (size_t page = 0; page < size_t{4} * kRounds; ++page) {
      expect(top - (page + 1) * kPage, seed_of(14, page, static_cast<int>(page / 4)), "stack", page);
    }
  }
};

/// A thread writes all the time, also while pages are being read.
struct Busy {
  static constexpr uint64_t kPages = 256;
  Bytes memory = map(kPages);
  std::atomic<uint64_t> last{0};
  std::atomic<bool> stop{false};
  pthread_t thread{};
  volatile uint64_t& word(uint64_t page) const {
    return *reinterpret_cast<volatile uint64_t*>(memory + page * kPage + page * 8 % kPage);
  }
  static void* write(void* self) {
    auto* busy = static_cast<Busy*>(self);
    for (uint64_t n = 1; !busy->stop; ++n) {
      busy->word(n % kPages) = n;
      busy->last = n;
    }
    return nullptr;
  }
  void start() { pthread_create(&thread, nullptr, write, this); }
  void check() {
    stop = true;
    pthread_join(thread, nullptr);
    for (uint64_t n = last; n > 0 && n + kPages > last; --n) {
      if (word(n % kPages) != n) {
        workload::fail("busy: page %lu holds %lu, not %lu", n % kPages, word(n % kPages), n);
      }
    }
  }
};

struct All {
  Plain plain;
  Dropped dropped;
  Moved moved;
  Replaced replaced;
  Heap heap;
  Forbidden forbidden;
  OfFile of_file;
  Shared shared;
  FromOutside from_outside;
  Huge huge;
  Stack stack;

  void run(int round) {
    plain.run(round);
    dropped.run(round);
    moved.run(round);
    replaced.run(round);
    heap.run(round);
    forbidden.run(round);
    of_file.run(round);
    shared.run(round);
    from_outside.run(round);
    huge.run(round);
    stack.run(round);
  }
  void check() const {
    plain.check();
    dropped.check();
    moved.check();
    replaced.check();
    heap.check();
    forbidden.check();
    of_file.check();
    shared.check();
    from_outside.check();
    huge.check();
    stack.check();
  }
};

std::string numbered(const char* name, int round) {
  return name + std::string("-") + std::to_string(round);
}

/// Forked between two rounds. It has the pages of that time, but for those that it changes itself.
[[noreturn]] void be_late_child(const Plain& plain, int round) {
  fill(plain.memory + 100 * kPage, seed_of(1, 100, 7));
  workload::mark(numbered("child-stands", round).c_str());
  workload::wait_to_go_on();
  for (size_t page = 0; page < Plain::kPages; ++page) {
    int last = Plain::last_round(page) <= round ? Plain::last_round(page) : 0;
    last = page == 5 ? round : last;
    expect(plain.memory + page * kPage, seed_of(1, page, page == 100 ? 7 : last), "child", page);
  }
  workload::finish_child();
}

/// A child that has been there from the start, and executes this program anew in round 1.
[[noreturn]] void be_early_child(const char* program) {
  const Bytes memory = map(64);
  for (size_t page = 0; page < 64; ++page) {
    fill(memory + page * kPage, seed_of(20, page, 0));
  }
  workload::mark("early-stands");
  workload::wait_for_mark("round-1");
  execl(program, program, workload::directory, "executed", nullptr);
  _exit(96);
}

/// What it is then.
[[noreturn]] void be_executed() {
  const Bytes memory = map(64);
  for (size_t page = 0; page < 64; page += 2) {
    fill(memory + page * kPage, seed_of(21, page, 1));
  }
  workload::mark("executed-stands");
  workload::wait_for_mark("round-2");
  fill(memory + 10 * kPage, seed_of(21, 10, 2));
  workload::mark("executed-wrote");
  workload::wait_to_go_on();
  for (size_t page = 0; page < 64; ++page) {
    const Bytes at = memory + page * kPage;
    page % 2 != 0 ? expect_zero(at, "executed", page)
                  : expect(at, seed_of(21, page, page == 10 ? 2 : 1), "executed", page);
  }
  workload::finish_child();
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (argc > 2) {
    be_executed();
  }
  const pid_t early = fork();
  if (early == 0) {
    be_early_child(argv[0]);
  }
  workload::wait_for_mark("early-stands");
  static All all;
  static Busy busy;
  all.run(0);
  busy.start();
  workload::say_ready();
  pid_t late[kRounds] = {};
  for (int round = 1; round < kRounds; ++round) {
    workload::wait_for_mark(numbered("round", round));
    all.run(round);
    late[round] = fork();
    if (late[round] == 0) {
      be_late_child(all.plain, round);
    }
    workload::wait_for_mark(numbered("child-stands", round));
    workload::wait_for_mark(round == 1 ? "executed-stands" : "executed-wrote");
    workload::mark(numbered("did", round).c_str());
  }
  workload::wait_to_go_on();
  all.check();
  busy.check();
  workload::expect_end(early);
  workload::expect_end(late[1]);
  workload::expect_end(late[2]);
  workload::finish();
}
