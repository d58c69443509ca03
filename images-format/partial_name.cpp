#include "images-format/partial_name.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <cstdlib>
#include <memory>

#include "kernel/error.h"

namespace godwit {

namespace {

constexpr std::string_view kPartial = ".partial-";
constexpr std::string_view kSuffixLetters = "abcdefghijklmnopqrstuvwxyz012345";
constexpr size_t kSuffixLength = 6;

std::string resolved(const std::string& path) {
  if (const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), ::free);
      real != nullptr) {
    return real.get();
  }
  if (errno != ENOENT) {
    throw errno_error("cannot use {}", path);
  }
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.ends_with('/')) {
    trimmed.pop_back();
  }
  return trimmed;
}

}  // namespace

FinalName final_name(const std::string& path) {
  const std::string full = resolved(path);
  const size_t slash = full.rfind('/');
  FinalName final;
  final.name = slash == std::string::npos ? full : full.substr(slash + 1);
  final.parent = slash == std::string::npos ? "." : slash == 0 ? "/" : full.substr(0, slash);
  if (final.name.empty() || final.name == "." || final.name == "..") {
    throw error("'{}' can't be the name of a checkpoint", path);
  }
  return final;
}

std::string random_suffix() {
  unsigned char random[kSuffixLength];
  if (::getrandom(random, sizeof(random), 0) != sizeof(random)) {
    throw errno_error("cannot get random bytes");
  }
  std::string suffix;
  for (const unsigned char byte : random) {
    suffix += kSuffixLetters[byte % kSuffixLetters.size()];
  }
  return suffix;
}

std::string make_partial_name(const std::string& name) {
  return name + std::string(kPartial) + random_suffix();
}

bool is_partial_name(std::string_view entry, const std::string& name) {
  const std::string prefix = name + std::string(kPartial);
  return entry.size() == prefix.size() + kSuffixLength && entry.starts_with(prefix) &&
         entry.find_first_not_of(kSuffixLetters, prefix.size()) == std::string_view::npos;
}

bool is_gone(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) != 0 || status.st_nlink == 0;
}

}  // namespace godwit
