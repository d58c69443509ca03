// What the benchmark dumps: N processes with so many bytes of random data each.
//
//   target READY_FILE PROCESSES BYTES
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace {

/// Data that doesn't compress, and differs from process to process.
void fill(uint64_t* words, size_t count, uint64_t seed) {
  uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
  for (size_t i = 0; i < count; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    words[i] = x;
  }
}

[[noreturn]] void stand(size_t bytes, uint64_t seed, const char* ready) {
  void* place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) {
    _exit(1);
  }
  fill(static_cast<uint64_t*>(place), bytes / 8, seed);
  char line[64];
  const int length = snprintf(line, sizeof line, "%d %p\n", getpid(), place);
  const int fd = open(ready, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (write(fd, line, static_cast<size_t>(length)) != length) {
    _exit(1);
  }
  close(fd);
  for (;;) {
    const timespec wait{3600, 0};
    nanosleep(&wait, nullptr);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    return 2;
  }
  const long processes = atol(argv[2]);
  const size_t bytes = strtoull(argv[3], nullptr, 10);
  for (long i = 1; i < processes; ++i) {
    if (fork() == 0) {
      stand(bytes, static_cast<uint64_t>(i) + 1, argv[1]);
    }
  }
  stand(bytes, 1, argv[1]);
}
