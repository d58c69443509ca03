#include "parasite/own_code.h"

#include <sys/mman.h>

#include <algorithm>
#include <string_view>

#include "kernel/error.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSyscall = "\x0f\x05"sv;
constexpr size_t kPiece = size_t{64} << 10;
/// A static executable can be large; this much of it is searched, in some milliseconds and once.
constexpr uint64_t kMostSearched = uint64_t{16} << 20;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// How many words the code takes from the stack before its `ret`, if it does nothing but that.
std::optional<size_t> words_before_return(std::string_view code) {
  size_t words = 0;
  if (code.size() >= 4 && code.substr(0, 3) == "\x48\x83\xc4"sv) {  // add $imm8, %rsp
    const auto bytes = static_cast<uint8_t>(code[3]);
    if (bytes >= 0x80 || bytes % 8 != 0) {
      return std::nullopt;
    }
    words += bytes / 8;
    code.remove_prefix(4);
  }
  for (; !code.empty() && code.front() != '\xc3'; ++words) {
    const bool upper = code.front() == '\x41';  // r8 to r15
    code.remove_prefix(upper ? 1 : 0);
    const auto byte = static_cast<uint8_t>(code.empty() ? 0 : code.front());
    const bool pops_stack_pointer = byte == 0x5c && !upper;
    if (byte < 0x58 || byte > 0x5f || pops_stack_pointer) {
      return std::nullopt;
    }
    code.remove_prefix(1);
  }
  return code.empty() ? std::nullopt : std::optional(words);
}

struct Call {
  size_t offset;
  size_t words;
};

std::optional<Call> find_call(std::string_view code) {
  for (size_t at = code.find(kSyscall); at != std::string_view::npos; at = code.find(kSyscall, at + 1)) {
    const std::string_view after = code.substr(at + kSyscall.size());
    if (const auto words =
            words_before_return(after.substr(0, OwnCodeFinder::kCallBytes - kSyscall.size()))) {
      return Call{at, *words};
    }
  }
  return std::nullopt;
}

/// mov $15, %rax (or %eax); syscall
std::optional<size_t> find_restorer(std::string_view code) {
  for (size_t at = code.find("\x0f\0\0\0\x0f\x05"sv); at != std::string_view::npos;
       at = code.find("\x0f\0\0\0\x0f\x05"sv, at + 1)) {
    if (at >= 3 && code.substr(at - 3, 3) == "\x48\xc7\xc0"sv) {
      return at - 3;
    }
    if (at >= 1 && code[at - 1] == '\xb8') {
      return at - 1;
    }
  }
  return std::nullopt;
}

bool executable(const procfs::Map& map) {
  return (map.prot & PROT_EXEC) != 0 && (map.prot & PROT_READ) != 0;
}

bool is_c_library(const procfs::Map& map) {
  const std::string_view name = std::string_view(map.path).substr(map.path.rfind('/') + 1);
  return name.starts_with("libc.") || name.starts_with("libc-") || name.starts_with("ld-musl");
}

}  // namespace

bool OwnCodeFinder::matches(const OwnCode& code, std::span<const std::byte> at_call,
                            std::span<const std::byte> at_restorer) {
  const std::string_view call = text_of(at_call);
  return call.starts_with(kSyscall) && words_before_return(call.substr(kSyscall.size())) == code.call_words &&
         find_restorer(text_of(at_restorer)) == size_t{0};
}

OwnCodeFinder::Found OwnCodeFinder::search(pid_t pid, const procfs::Map& map, bool call_too) {
  const RemoteMemory memory(pid);
  Found found;
  // Pieces overlap, so that nothing is cut in two.
  std::vector<std::byte> piece(kPiece + kCallBytes);
  const uint64_t end = std::min(map.end, map.start + kMostSearched);
  for (uint64_t at = map.start; at < end && !(found.restorer && (found.call || !call_too)); at += kPiece) {
    const std::span bytes = std::span(piece).first(std::min<uint64_t>(piece.size(), end - at));
    memory.read(at, bytes);
    const std::string_view code = text_of(bytes);
    if (const auto call = found.call || !call_too ? std::nullopt : find_call(code)) {
      found.call = at - map.start + call->offset;
      found.call_words = call->words;
    }
    if (const auto restorer = found.restorer ? std::nullopt : find_restorer(code)) {
      found.restorer = at - map.start + *restorer;
    }
  }
  return found;
}

std::optional<OwnCode> OwnCodeFinder::find(pid_t pid, const std::vector<procfs::Map>& maps) {
  OwnCode code;
  const auto look_in = [&](const procfs::Map& map) {
    const bool vdso = map.path == "[vdso]";
    const Piece piece{map.device, map.inode, map.offset};
    auto known = found_.find(piece);
    if (known == found_.end()) {
      known = found_.emplace(piece, search(pid, map, code.call == 0)).first;
    }
    const Found& found = known->second;
    if (code.call == 0 && found.call) {
      code.call = map.start + *found.call;
      code.call_words = found.call_words;
    }
    if (found.restorer && !vdso) {
      code.restorer = map.start + *found.restorer;
    }
    return code.call != 0 && code.restorer != 0;
  };
  const auto look_where = [&](auto&& wanted) {
    const auto map =
        std::find_if(maps.begin(), maps.end(), [&](const auto& m) { return executable(m) && wanted(m); });
    return map != maps.end() && look_in(*map);
  };
  try {
    if (look_where([](const procfs::Map& map) { return map.path == "[vdso]"; }) || look_where(is_c_library) ||
        look_where([](const procfs::Map& map) { return map.inode != 0; })) {
      return code;
    }
  } catch (const Error&) {
    // Code that can't be read is code that isn't there.
  }
  return std::nullopt;
}

}  // namespace godwit
