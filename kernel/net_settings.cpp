#include "kernel/net_settings.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <vector>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

struct Entry {
  std::string name;
  bool directory;
};

/// Not by readdir(3), which allocates a stream for each of many small directories.
std::vector<Entry> entries_of(int directory) {
  struct Head {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
  };
  constexpr size_t kNameAt = offsetof(Head, type) + 1;
  std::vector<Entry> entries;
  alignas(8) char buffer[16384];
  for (;;) {
    const long got = ::syscall(SYS_getdents64, directory, buffer, sizeof buffer);
    if (got < 0) {
      throw errno_error("cannot list /proc/sys/net");
    }
    if (got == 0) {
      return entries;
    }
    for (long at = 0; at < got;) {
      const auto* head = reinterpret_cast<const Head*>(buffer + at);
      const std::string_view name(buffer + at + kNameAt);
      if (name != "." && name != "..") {
        entries.push_back({std::string(name), head->type == DT_DIR});
      }
      at += head->length;
    }
  }
}

void walk(int above, const std::string& name, const std::string& path,
          const std::function<void(const std::string&, const std::string&)>& visit) {
  const Fd directory(::openat(above, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) {
    if (errno == ENOENT) {
      return;  // of a device that has just gone
    }
    throw errno_error("cannot open /proc/sys/net/{}", path);
  }
  std::vector<char> value(4096);
  for (const Entry& entry : entries_of(directory.get())) {
    const std::string inner = path.empty() ? entry.name : path + "/" + entry.name;
    if (entry.directory) {
      walk(directory.get(), entry.name, inner, visit);
      continue;
    }
    // Some can only be written, and some have no value yet.
    const Fd file(::openat(directory.get(), entry.name.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
      continue;
    }
    ssize_t got = ::read(file.get(), value.data(), value.size());
    while (got == static_cast<ssize_t>(value.size())) {
      value.resize(2 * value.size());
      got = ::pread(file.get(), value.data(), value.size(), 0);
    }
    if (got >= 0) {
      std::string text(value.data(), static_cast<size_t>(got));
      while (text.ends_with('\n') || text.ends_with('\0')) {
        text.pop_back();
      }
      visit(inner, text);
    }
  }
}

}  // namespace

void for_each_net_setting(const std::function<void(const std::string&, const std::string&)>& visit) {
  walk(AT_FDCWD, "/proc/sys/net", "", visit);
}

}  // namespace godwit
