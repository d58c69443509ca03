// Memory shared between processes: anonymous, inherited over two generations and mapped at different places;
// and a memfd between processes of different sessions. What one writes all others see, after restore as
// before. And memory that is mapped so that it can't be written: sealed, or through a read-only descriptor.
#include <sys/mman.h>

#include "tests/workloads/workload.h"

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSize = 64 * kPage;
constexpr int kProcesses = 5;

struct Board {
  volatile uint32_t standing;
  volatile uint32_t turn;
  volatile uint32_t sum;
  char text[1000];
};

Board* map(int fd) {
  void* place =
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  return static_cast<Board*>(place);
}

void fill(Board* board, unsigned char seed) {
  auto* bytes = reinterpret_cast<unsigned char*>(board);
  for (size_t i = kPage; i < kSize / 2; ++i) {
    bytes[i] = static_cast<unsigned char>(i * 5 + seed);
  }
}

void check_fill(const Board* board, unsigned char seed, const char* what) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(board);
  for (size_t i = kPage; i < kSize; ++i) {
    const auto wanted = i < kSize / 2 ? static_cast<unsigned char>(i * 5 + seed) : 0;
    if (bytes[i] != wanted) {
      workload::fail("%s: byte %zu is %u", what, i, bytes[i]);
      return;
    }
  }
}

/// Everybody has a turn on each board, in order, and sees what the one before has left.
void take_part(Board* board, int number) {
  for (int i = 0; board->turn != static_cast<uint32_t>(number) && i < 20000; ++i) {
    workload::pause_ms(1);
  }
  workload::check_equal(board->turn, number, "turn: what another process wrote isn't seen");
  char wanted[32];
  snprintf(wanted, sizeof wanted, "from %d", number - 1);
  workload::check(number == 0 || strcmp(board->text, wanted) == 0, "text from the one before");
  snprintf(board->text, sizeof board->text, "from %d", number);
  board->sum = board->sum + static_cast<uint32_t>(number) + 1;
  board->turn = board->turn + 1;
}

void stand(Board* anonymous, Board* memfd, int number) {
  __atomic_add_fetch(&anonymous->standing, 1, __ATOMIC_SEQ_CST);
  workload::wait_to_go_on();
  check_fill(anonymous, 1, "anonymous");
  check_fill(memfd, 2, "memfd");
  take_part(anonymous, number);
  take_part(memfd, number);
}

/// A shared, read-only mapping of a memfd with 'content' that was opened for reading only.
char* map_read_only(int fd, const char* content) {
  workload::must(ftruncate(fd, kPage), "ftruncate");
  workload::must(pwrite(fd, content, strlen(content), 0), "pwrite");
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  const int reader = static_cast<int>(workload::must(open(name, O_RDONLY | O_CLOEXEC), "open"));
  void* place = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, reader, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  close(reader);
  return static_cast<char*>(place);
}

void check_read_only(char* mapped, const char* content) {
  workload::check(strcmp(mapped, content) == 0, content);
  errno = 0;
  workload::check(mprotect(mapped, kPage, PROT_READ | PROT_WRITE) == -1 && errno == EACCES, content);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const int fd = memfd_create("shared", MFD_CLOEXEC);
  workload::must(ftruncate(fd, kSize), "ftruncate");
  Board* anonymous = map(-1);
  Board* memfd = map(fd);
  const int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  char* of_sealed = map_read_only(sealed, "sealed");
  workload::must(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK), "F_ADD_SEALS");
  const int read_only = memfd_create("read-only", MFD_CLOEXEC);
  char* of_read_only = map_read_only(read_only, "read-only");
  close(read_only);
  // Sealed against new writers: this mapping is older.
  const int future = memfd_create("future", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  workload::must(ftruncate(future, kSize), "ftruncate");
  Board* of_future = map(future);
  workload::must(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), "F_ADD_SEALS");
  snprintf(of_future->text, sizeof of_future->text, "future");
  fill(anonymous, 1);
  fill(memfd, 2);
  pid_t children[kProcesses - 1];
  for (int number = 1; number < kProcesses; ++number) {
    children[number - 1] = fork();
    if (children[number - 1] == 0) {
      if (number % 2 == 0) {
        setsid();
        // At another address than in the others.
        munmap(memfd, kSize);
        map(fd);
        memfd = map(fd);
      }
      close(fd);
      if (number == kProcesses - 1) {
        // One of them is a grandchild.
        const pid_t child = fork();
        if (child != 0) {
          workload::wait_to_go_on();
          workload::expect_end(child);
          workload::finish_child();
        }
      }
      stand(anonymous, memfd, number);
      workload::finish_child();
    }
  }
  close(fd);
  while (anonymous->standing < kProcesses - 1) {
    workload::pause_ms(1);
  }
  workload::say_ready();
  workload::wait_to_go_on();
  anonymous->standing = 0;
  check_fill(anonymous, 1, "anonymous");
  check_fill(memfd, 2, "memfd");
  check_read_only(of_sealed, "sealed");
  check_read_only(of_read_only, "read-only");
  workload::check_equal(fcntl(sealed, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_SHRINK, "seals");
  workload::check(pwrite(sealed, "x", 1, 0) == -1, "writing what is sealed");
  workload::check(strcmp(of_future->text, "future") == 0, "future");
  of_future->turn = 1;
  workload::check_equal(fcntl(future, F_GET_SEALS), F_SEAL_FUTURE_WRITE, "seals");
  workload::check(pwrite(future, "x", 1, 0) == -1, "writing what is sealed against new writers");
  take_part(anonymous, 0);
  take_part(memfd, 0);
  for (const pid_t child : children) {
    workload::expect_end(child);
  }
  workload::check_equal(anonymous->sum, 15, "sum of all on the anonymous memory");
  workload::check_equal(memfd->sum, 15, "sum of all on the memfd");
  workload::finish();
}
