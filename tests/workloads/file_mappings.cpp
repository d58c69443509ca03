// Mappings of files: private with pages of one's own, shared, read-only, beyond the end, of deleted files and
// of memfds; the descriptors are closed.
#include <sys/mman.h>

#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = 8;
constexpr size_t kSize = kPages * kPage;

char byte_of(size_t page, char seed) {
  return static_cast<char>(seed + static_cast<char>(page));
}

int make_file(const char* name, char seed) {
  const int fd = open(workload::in_directory(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  workload::must(fd, "open");
  std::vector<char> page(kPage);
  for (size_t i = 0; i < kPages; ++i) {
    memset(page.data(), byte_of(i, seed), kPage);
    workload::must(write(fd, page.data(), kPage), "write");
  }
  return fd;
}

char* map(int fd, int protection, int flags, off_t offset = 0, size_t size = kSize) {
  void* place = mmap(nullptr, size, protection, flags, fd, offset);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  return static_cast<char*>(place);
}

/// The first and last byte of each page, but for one that has been changed.
void check_pages(const char* what, const char* place, char seed, size_t changed_page, char changed,
                 size_t pages = kPages) {
  for (size_t i = 0; i < pages; ++i) {
    const char wanted = i == changed_page ? changed : byte_of(i, seed);
    if (place[i * kPage] != wanted || place[i * kPage + kPage - 1] != wanted) {
      workload::fail("%s: page %zu has %d and %d, not %d", what, i, place[i * kPage],
                     place[i * kPage + kPage - 1], wanted);
    }
  }
}

void set_page(char* place, size_t page, char value) {
  memset(place + page * kPage, value, kPage);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr int kReadWrite = PROT_READ | PROT_WRITE;

  int fd = make_file("private", 10);
  char* private_file = map(fd, kReadWrite, MAP_PRIVATE);
  set_page(private_file, 3, 99);
  char* private_read_only = map(fd, kReadWrite, MAP_PRIVATE);
  set_page(private_read_only, 1, 98);
  workload::must(mprotect(private_read_only, kSize, PROT_READ), "mprotect");
  char* with_offset = map(fd, PROT_READ, MAP_PRIVATE, 2 * kPage, 2 * kPage);
  close(fd);

  fd = make_file("shared", 30);
  char* shared_file = map(fd, kReadWrite, MAP_SHARED);
  set_page(shared_file, 2, 97);
  char* shared_again = map(fd, PROT_READ, MAP_SHARED);
  close(fd);
  fd = open(workload::in_directory("shared").c_str(), O_RDONLY | O_CLOEXEC);
  char* shared_read_only = map(fd, PROT_READ, MAP_SHARED);
  close(fd);

  // More is mapped than the file has.
  fd = make_file("short", 50);
  char* beyond_the_end = map(fd, kReadWrite, MAP_PRIVATE, 0, 2 * kSize);
  set_page(beyond_the_end, 5, 96);
  close(fd);

  fd = make_file("deleted-private", 60);
  char* deleted_private = map(fd, kReadWrite, MAP_PRIVATE);
  set_page(deleted_private, 4, 95);
  close(fd);
  unlink(workload::in_directory("deleted-private").c_str());

  fd = make_file("deleted-shared", 70);
  char* deleted_shared = map(fd, kReadWrite, MAP_SHARED);
  set_page(deleted_shared, 6, 94);
  char* deleted_shared_again = map(fd, kReadWrite, MAP_SHARED);
  close(fd);
  unlink(workload::in_directory("deleted-shared").c_str());

  fd = memfd_create("of the workload", MFD_CLOEXEC);
  workload::must(ftruncate(fd, kSize), "ftruncate");
  char* memfd_shared = map(fd, kReadWrite, MAP_SHARED);
  for (size_t i = 0; i < kPages; ++i) {
    set_page(memfd_shared, i, byte_of(i, 80));
  }
  char* memfd_private = map(fd, kReadWrite, MAP_PRIVATE);
  set_page(memfd_private, 0, 93);
  char* memfd_shared_again = map(fd, kReadWrite, MAP_SHARED, kPage, kPage);
  close(fd);

  fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
  char* zero_private = map(fd, kReadWrite, MAP_PRIVATE);
  set_page(zero_private, 7, 92);
  close(fd);

  workload::say_ready();
  workload::wait_to_go_on();

  check_pages("private", private_file, 10, 3, 99);
  check_pages("private, read-only", private_read_only, 10, 1, 98);
  check_pages("with an offset", with_offset, 12, kPages, 0, 2);
  check_pages("shared", shared_file, 30, 2, 97);
  check_pages("shared, again", shared_again, 30, 2, 97);
  check_pages("shared, read-only", shared_read_only, 30, 2, 97);
  workload::check(mprotect(shared_read_only, kPage, kReadWrite) == -1 && errno == EACCES,
                  "a shared mapping of a file opened read-only became writable");
  workload::check_equal(mprotect(shared_again, kSize, kReadWrite), 0, "a shared mapping can become writable");
  check_pages("beyond the end", beyond_the_end, 50, 5, 96);
  check_pages("deleted, private", deleted_private, 60, 4, 95);
  check_pages("deleted, shared", deleted_shared, 70, 6, 94);
  check_pages("memfd, shared", memfd_shared, 80, kPages, 0);
  check_pages("memfd, private", memfd_private, 80, 0, 93);
  workload::check_equal(zero_private[7 * kPage], 92, "/dev/zero, private");
  workload::check_equal(zero_private[0], 0, "/dev/zero, private, never touched");

  // What is shared is shared still.
  set_page(shared_file, 0, 55);
  workload::check_equal(shared_again[0], 55, "one shared mapping seen through another");
  workload::check_equal(shared_read_only[0], 55, "one shared mapping seen through a read-only one");
  fd = open(workload::in_directory("shared").c_str(), O_RDONLY | O_CLOEXEC);
  char byte = 0;
  workload::check(read(fd, &byte, 1) == 1 && byte == 55, "a shared mapping seen through the file");
  close(fd);
  set_page(deleted_shared, 0, 56);
  workload::check_equal(deleted_shared_again[0], 56, "one mapping of the deleted file seen through another");
  set_page(memfd_shared, 1, 57);
  workload::check_equal(memfd_shared_again[0], 57, "one mapping of the memfd seen through another");
  // What is private is private still.
  set_page(private_file, 0, 58);
  fd = open(workload::in_directory("private").c_str(), O_RDONLY | O_CLOEXEC);
  workload::check(read(fd, &byte, 1) == 1 && byte == 10, "a private mapping seen through the file");
  close(fd);
  workload::finish();
}
