#include "kernel/fdinfo.h"

#include <fcntl.h>

#include <array>

#include "kernel/error.h"

namespace godwit {

namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

/// Takes the next word, separated by blanks, off the front of `text`.
std::string_view next_word(std::string_view& text) {
  text = trimmed(text);
  const size_t end = std::min(text.find_first_of(" \t"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

/// Takes the next line off the front of `text`, without its end.
std::string_view next_line(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

bool is_named(std::string_view line, std::string_view name) {
  return line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':';
}

}  // namespace

template <typename T>
T parse_number(std::string_view text, int base, std::string_view what) {
  text = trimmed(text);
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (code != std::errc{} || end != text.data() + text.size()) {
    throw error("{}: '{}' isn't a number", what, text);
  }
  return value;
}

template int32_t parse_number(std::string_view, int, std::string_view);
template int64_t parse_number(std::string_view, int, std::string_view);
template uint32_t parse_number(std::string_view, int, std::string_view);
template uint64_t parse_number(std::string_view, int, std::string_view);

std::optional<std::string_view> FdInfo::field(std::string_view name) const {
  const std::vector<std::string_view> found = lines(name);
  if (found.empty()) {
    return std::nullopt;
  }
  return trimmed(found.front().substr(name.size() + 1));
}

std::vector<std::string_view> FdInfo::lines(std::string_view name) const {
  std::vector<std::string_view> found;
  for (std::string_view text = rest; !text.empty();) {
    const std::string_view line = next_line(text);
    // Kinds indent some of their lines.
    const std::string_view bare = trimmed(line);
    if (is_named(bare, name)) {
      found.push_back(bare);
    }
  }
  return found;
}

FdInfo parse_fdinfo(std::string_view text) {
  FdInfo info;
  const std::string_view all = text;
  bool has_flags = false;
  while (!text.empty()) {
    const std::string_view before = text;
    const std::string_view line = next_line(text);
    if (is_named(line, "pos")) {
      info.position = parse_number<int64_t>(line.substr(4), 10, "fdinfo pos");
    } else if (is_named(line, "flags")) {
      info.flags = parse_number<uint32_t>(line.substr(6), 8, "fdinfo flags");
      has_flags = true;
    } else if (is_named(line, "mnt_id")) {
      info.mount_id = parse_number<uint64_t>(line.substr(7), 10, "fdinfo mnt_id");
    } else if (is_named(line, "ino")) {
      info.inode = parse_number<uint64_t>(line.substr(4), 10, "fdinfo ino");
    } else {
      info.rest = before;
      break;
    }
  }
  if (!has_flags) {
    throw error("fdinfo without flags: '{}'", all.substr(0, 80));
  }
  return info;
}

FdLock parse_lock(std::string_view line) {
  std::string_view text = line;
  std::array<std::string_view, 9> words;  // lock: N: type mandatoriness access pid device:inode start end
  for (std::string_view& word : words) {
    word = next_word(text);
  }
  FdLock lock;
  lock.type = words[2];
  lock.access = words[4];
  lock.pid = parse_number<int32_t>(words[5], 10, "lock's pid");
  lock.start = parse_number<uint64_t>(words[7], 10, "lock's start");
  if (words[8] != "EOF") {
    lock.length = parse_number<uint64_t>(words[8], 10, "lock's end") - lock.start + 1;
  }
  return lock;
}

FdWatch parse_watch(std::string_view line) {
  // tfd:        5 events:       19 data:                5  pos:0 ino:61 sdev:8
  FdWatch watch;
  std::string_view text = line;
  while (!trimmed(text).empty()) {
    const std::string_view word = next_word(text);
    const size_t colon = word.find(':');
    if (colon == std::string_view::npos) {
      throw error("epoll watch that isn't understood: '{}'", line);
    }
    const std::string_view name = word.substr(0, colon);
    std::string_view value = word.substr(colon + 1);
    if (value.empty()) {
      value = next_word(text);
    }
    if (name == "tfd") {
      watch.fd = parse_number<int32_t>(value, 10, "watched descriptor");
    } else if (name == "events") {
      watch.events = parse_number<uint32_t>(value, 16, "watched events");
    } else if (name == "data") {
      watch.data = parse_number<uint64_t>(value, 16, "data of a watch");
    } else if (name == "ino") {
      watch.inode = parse_number<uint64_t>(value, 16, "watched inode");
    }
  }
  return watch;
}

}  // namespace godwit
