#include "parasite/own_code.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSyscall = "\x0f\x05"sv;
constexpr size_t kPiece = size_t{32} << 10;
/// A static executable can be large; this much of it is searched, in some milliseconds and once.
constexpr uint64_t kMostSearched = uint64_t{4} << 20;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Takes an instruction off that clears a register (xor %reg, %reg), as kernels do before they return.
bool take_clearing(std::string_view& code) {
  const bool upper = code.starts_with('\x45');  // r8 to r15
  const std::string_view at = code.substr(upper ? 1 : 0);
  if (at.size() < 2 || at[0] != '\x31') {
    return false;
  }
  const auto registers = static_cast<uint8_t>(at[1]);
  const int one = registers & 7;
  const int other = registers >> 3 & 7;
  const bool stack_pointer = one == 4 && !upper;
  if (registers < 0xc0 || one != other || stack_pointer) {
    return false;
  }
  code.remove_prefix(upper ? 3 : 2);
  return true;
}

bool take_pop(std::string_view& code) {
  const bool upper = code.starts_with('\x41');
  const std::string_view at = code.substr(upper ? 1 : 0);
  const auto byte = static_cast<uint8_t>(at.empty() ? 0 : at[0]);
  const bool stack_pointer = byte == 0x5c && !upper;
  if (byte < 0x58 || byte > 0x5f || stack_pointer) {
    return false;
  }
  code.remove_prefix(upper ? 2 : 1);
  return true;
}

/// How many words the code takes from the stack before its `ret`, if it does nothing worse.
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
  while (!code.starts_with('\xc3')) {  // ret
    if (take_pop(code)) {
      ++words;
    } else if (!take_clearing(code)) {
      return std::nullopt;
    }
  }
  return words;
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

/// Does the code begin with mov $15, %rax (or %eax); syscall?
bool is_restorer(std::string_view code) {
  return code.starts_with("\x48\xc7\xc0\x0f\0\0\0\x0f\x05"sv) || code.starts_with("\xb8\x0f\0\0\0\x0f\x05"sv);
}

/// Looks at multiples of `step`.
std::optional<size_t> find_restorer(std::string_view code, size_t step) {
  for (size_t at = 0; at < code.size(); at += step) {
    if (is_restorer(code.substr(at))) {
      return at;
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
         is_restorer(text_of(at_restorer));
}

/// Code of a mapping, from its start. Files are read as such: through the task's memory, pages would be
/// mapped that it hasn't touched.
class OwnCodeFinder::Code {
 public:
  Code(pid_t pid, const procfs::Map& map) : memory_(pid), map_(map) {
    if (map.inode != 0) {
      try {
        // /proc/PID/map_files takes many times as long. Should another file bear the name, what is found in
        // it doesn't match.
        file_ = open_file(map.path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
      } catch (const Error&) {
        // Its name is gone.
      }
    }
  }

  void read(uint64_t at, std::span<std::byte> out) const {
    if (!file_ || ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(map_.offset + at)) !=
                      static_cast<ssize_t>(out.size())) {
      memory_.read(map_.start + at, out);
    }
  }

 private:
  RemoteMemory memory_;
  const procfs::Map& map_;
  Fd file_;
};

OwnCodeFinder::Found OwnCodeFinder::search(pid_t pid, const procfs::Map& map, bool call, bool restorer) {
  const Code code(pid, map);
  Found found;
  const auto complete = [&] { return (found.call || !call) && (found.restorer || !restorer); };
  const uint64_t size = std::min(map.end - map.start, kMostSearched);
  // Pieces overlap, so that nothing is cut in two.
  std::vector<std::byte> piece(std::min<uint64_t>(kPiece + kCallBytes, size));
  // Some C libraries, such as glibc, have it aligned: that is looked for first, in a tenth of the time.
  for (const size_t step : {16, 1}) {
    for (uint64_t at = 0; at < size && !complete(); at += kPiece) {
      const std::span bytes = std::span(piece).first(std::min<uint64_t>(piece.size(), size - at));
      code.read(at, bytes);
      const std::string_view text = text_of(bytes);
      if (const auto here = call && !found.call ? find_call(text) : std::nullopt) {
        found.call = at + here->offset;
        found.call_words = here->words;
      }
      if (const auto here = restorer && !found.restorer ? find_restorer(text, step) : std::nullopt) {
        found.restorer = at + *here;
      }
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
      known = found_.emplace(piece, search(pid, map, code.call == 0, !vdso)).first;
    }
    const Found& found = known->second;
    if (code.call == 0 && found.call) {
      code.call = map.start + *found.call;
      code.call_words = found.call_words;
    }
    if (found.restorer) {
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
