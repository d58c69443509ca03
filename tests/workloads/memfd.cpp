// memfds by descriptor: content, holes, positions, access, names, owners, seals; mapped and not; with what is
// mapped beyond their end.
#include <linux/memfd.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <vector>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096;
constexpr int kSealExec = 0x20;  // F_SEAL_EXEC, since Linux 6.3
constexpr unsigned kNoExecSeal = 8;

int make(const char* name, unsigned flags, size_t size) {
  const int fd = static_cast<int>(must(memfd_create(name, flags), "memfd_create"));
  must(ftruncate(fd, static_cast<off_t>(size)), "ftruncate");
  return fd;
}

int reopen(int fd, int flags) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  return static_cast<int>(must(open(link.c_str(), flags), "open a memfd again"));
}

unsigned char* map(int fd, size_t size, int protection, int flags) {
  void* place = mmap(nullptr, size, protection, flags, fd, 0);
  must(place == MAP_FAILED ? -1 : 0, "mmap");
  return static_cast<unsigned char*>(place);
}

void expect_at(int fd, off_t offset, std::string_view text, const char* what) {
  std::string found(text.size(), '\0');
  if (pread(fd, found.data(), found.size(), offset) != static_cast<ssize_t>(found.size()) || found != text) {
    fail("%s: '%s'", what, found.c_str());
  }
}

void expect_name(int fd, const std::string& name) {
  char found[600] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (readlink(link.c_str(), found, sizeof found - 1) < 0 || found != "/memfd:" + name + " (deleted)") {
    fail("name '%s'", found);
  }
}

sigjmp_buf back;

void on_bus_error(int) {
  siglongjmp(back, 1);
}

bool raises_bus_error(const unsigned char* at) {
  if (sigsetjmp(back, 1) != 0) {
    return true;
  }
  static_cast<void>(*static_cast<const volatile unsigned char*>(at));
  return false;
}

/// A seal that a memfd bears, and that it keeps what it forbids forbidden.
struct Sealed {
  int fd;
  int seals;
};

std::vector<Sealed> make_sealed() {
  std::vector<Sealed> all;
  const auto add = [&](unsigned flags, int seals) {
    const int fd = make("sealed", flags, 2 * kPage);
    must(write_text(fd, "sealed content") ? 0 : -1, "write");
    must(seals == 0 ? 0 : fcntl(fd, F_ADD_SEALS, seals), "F_ADD_SEALS");
    all.push_back({fd, fcntl(fd, F_GET_SEALS)});
  };
  add(MFD_ALLOW_SEALING, 0);
  add(0, 0);  // F_SEAL_SEAL
  add(MFD_ALLOW_SEALING, F_SEAL_SHRINK);
  add(MFD_ALLOW_SEALING, F_SEAL_GROW | F_SEAL_SHRINK);
  add(MFD_ALLOW_SEALING, F_SEAL_WRITE);
  add(MFD_ALLOW_SEALING, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  const int probe = memfd_create("probe", kNoExecSeal);
  if (probe >= 0) {
    close(probe);
    add(kNoExecSeal, 0);
    must((all.back().seals & kSealExec) != 0 ? 0 : -1, "F_SEAL_EXEC");
  }
  return all;
}

void check_sealed(const Sealed& sealed) {
  check_equal(fcntl(sealed.fd, F_GET_SEALS), sealed.seals, "seals");
  expect_at(sealed.fd, 0, "sealed content", "content of a sealed memfd");
  check_equal(lseek(sealed.fd, 0, SEEK_CUR), 14, "position in a sealed memfd");
  const bool writes = pwrite(sealed.fd, "s", 1, 0) == 1;
  check(writes == ((sealed.seals & F_SEAL_WRITE) == 0), "writing against a seal");
  const bool grows = ftruncate(sealed.fd, 3 * kPage) == 0;
  check(grows == ((sealed.seals & F_SEAL_GROW) == 0), "growing against a seal");
  const bool shrinks = ftruncate(sealed.fd, kPage) == 0;
  check(shrinks == ((sealed.seals & F_SEAL_SHRINK) == 0), "shrinking against a seal");
  const bool seals = fcntl(sealed.fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0;
  check(seals == ((sealed.seals & F_SEAL_SEAL) == 0), "sealing against a seal");
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  signal(SIGBUS, on_bus_error);
  // Content, a hole, a size that is no number of pages, and who shares a position.
  const int plain = make("plain", MFD_CLOEXEC, (64U << 20) + 123);
  must(write_text(plain, "begin") && pwrite(plain, "middle", 6, 32 << 20) == 6 ? 0 : -1, "write");
  must(pwrite(plain, "end", 3, (64 << 20) + 120) == 3 ? 0 : -1, "write");
  must(fchmod(plain, 0640), "fchmod");
  const int same = static_cast<int>(must(dup(plain), "dup"));
  const int own = reopen(plain, O_RDWR | O_APPEND);
  const int read_only = reopen(plain, O_RDONLY);
  must(lseek(read_only, 32 << 20, SEEK_SET), "lseek");
  const int empty = make("", 0, 0);
  const std::string odd_name = "an odd name (deleted) \n\t\\ *";
  const int odd = make(odd_name.c_str(), 0, kPage);
  const std::string long_name(249, 'n');
  const int long_one = make(long_name.c_str(), 0, 1);
  const std::vector<Sealed> sealed = make_sealed();

  // Mapped: shared, with seals that allow it; privately, with changes; the odd name; beyond the end.
  const int mapped = make("mapped", MFD_ALLOW_SEALING, 4 * kPage);
  unsigned char* shared = map(mapped, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  memset(shared, 'a', 4 * kPage);
  must(fcntl(mapped, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), "F_ADD_SEALS");
  unsigned char* changed = map(mapped, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memset(changed + kPage, 'b', kPage);
  const int frozen = make("frozen", MFD_ALLOW_SEALING, kPage);
  must(write_text(frozen, "frozen") ? 0 : -1, "write");
  must(fcntl(frozen, F_ADD_SEALS, F_SEAL_WRITE), "F_ADD_SEALS");
  unsigned char* frozen_copy = map(frozen, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  frozen_copy[0] = 'F';
  unsigned char* odd_place = map(odd, kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  odd_place[5] = 55;
  const int cut = make("cut", 0, 8 * kPage);
  unsigned char* beyond = map(cut, 8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  memset(beyond, 'c', 8 * kPage);
  must(ftruncate(cut, kPage + 100), "ftruncate");

  say_ready();
  wait_to_go_on();
  struct stat status {};
  check(fstat(plain, &status) == 0 && status.st_size == (64 << 20) + 123 && status.st_blocks < 100,
        "size and holes");
  check_equal(status.st_mode, S_IFREG | 0640, "mode");
  check_equal(status.st_uid, getuid(), "owner");
  expect_at(own, 0, "begin", "the beginning");
  expect_at(own, 32 << 20, "middle", "the middle");
  expect_at(own, (64 << 20) + 120, "end", "the end");
  check_equal(fcntl(plain, F_GETFD), FD_CLOEXEC, "close-on-exec");
  check_equal(lseek(same, 0, SEEK_CUR), 5, "position");
  check(lseek(same, 7, SEEK_SET) == 7 && lseek(plain, 0, SEEK_CUR) == 7 && lseek(own, 0, SEEK_CUR) == 0,
        "who shares a position");
  check((fcntl(own, F_GETFL) & O_APPEND) != 0 && write_text(own, "!"), "append");
  check(fstat(plain, &status) == 0 && status.st_size == (64 << 20) + 124, "size after an append");
  expect_text(read_only, "middle", "a descriptor that only reads");
  check(write(read_only, "x", 1) < 0 && errno == EBADF, "writing to what is only read");
  check(fstat(empty, &status) == 0 && status.st_size == 0, "an empty one");
  expect_name(plain, "plain");
  expect_name(empty, "");
  expect_name(odd, odd_name);
  expect_name(long_one, long_name);
  for (const Sealed& one : sealed) {
    check_sealed(one);
  }

  check_equal(fcntl(mapped, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, "seals of a mapped one");
  check(shared[0] == 'a' && shared[4 * kPage - 1] == 'a' && changed[0] == 'a' && changed[kPage] == 'b',
        "mapped content");
  shared[0] = 'A';
  shared[kPage] = 'A';
  expect_at(mapped, 0, "Aa", "what was written to the mapping");
  check(changed[0] == 'A' && changed[kPage] == 'b', "a private mapping sees what it hasn't changed");
  check(memcmp(frozen_copy, "Frozen", 6) == 0, "a private mapping of a sealed one");
  expect_at(frozen, 0, "frozen", "a sealed one behind it");
  check(odd_place[5] == 55, "content of the odd name");
  check(beyond[0] == 'c' && beyond[kPage + 99] == 'c' && beyond[kPage + 100] == 0, "before the end");
  check(raises_bus_error(beyond + 2 * kPage), "beyond the end is nothing");
  check(ftruncate(cut, 8 * kPage) == 0 && beyond[7 * kPage] == 0, "it grows into its mapping");
  finish();
}
