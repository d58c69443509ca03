#include "kernel/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include "kernel/blocked_signals.h"
#include "kernel/error.h"
#include "kernel/fdinfo.h"

namespace godwit {

namespace {

constexpr std::pair<std::string_view, uint64_t> kAttributes[] = {
    {"ro", MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME},
    {"relatime", MOUNT_ATTR_RELATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW},
    {"rw", 0},
};

/// "\040" and its like to the characters they stand for.
std::string unescape(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ptr == text.data() + i + 4) {
      result += static_cast<char>(value);
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) {
      parts.push_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

dev_t parse_device(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    throw error("mountinfo has '{}' for a device", text);
  }
  return makedev(parse_number<uint32_t>(text.substr(0, colon), 10, "mountinfo device"),
                 parse_number<uint32_t>(text.substr(colon + 1), 10, "mountinfo device"));
}

/// Strict times of access are what mountinfo has no word for.
uint64_t parse_attributes(std::string_view text, bool& idmapped) {
  uint64_t attributes = 0;
  bool strict = true;
  for (const std::string_view word : split(text, ',')) {
    strict = strict && word != "noatime" && word != "relatime";
    const auto* known = std::ranges::find(kAttributes, word, &std::pair<std::string_view, uint64_t>::first);
    if (known != std::end(kAttributes)) {
      attributes |= known->second;
    } else if (word == "idmapped") {
      idmapped = true;
    } else {
      throw error("mountinfo has '{}', a flag that isn't known", word);
    }
  }
  return strict ? attributes | MOUNT_ATTR_STRICTATIME : attributes;
}

void parse_tag(std::string_view tag, MountInfo& mount) {
  const auto number = [&](std::string_view prefix) {
    return parse_number<uint32_t>(tag.substr(prefix.size()), 10, "mountinfo peer group");
  };
  if (tag.starts_with("shared:")) {
    mount.peer_group = number("shared:");
  } else if (tag.starts_with("master:")) {
    mount.master = number("master:");
  } else if (tag == "unbindable") {
    mount.unbindable = true;
  }
}

MountInfo parse_line(std::string_view line) {
  const std::vector<std::string_view> words = split(line, ' ');
  const auto dash = std::find(words.begin() + std::min<ptrdiff_t>(6, std::ssize(words)), words.end(), "-");
  if (words.end() - dash < 3) {
    throw error("mountinfo has a line of another kind: {}", line);
  }
  MountInfo mount;
  mount.id = parse_number<uint32_t>(words[0], 10, "mountinfo id");
  mount.parent_id = parse_number<uint32_t>(words[1], 10, "mountinfo parent");
  mount.device = parse_device(words[2]);
  mount.root = unescape(words[3]);
  mount.mount_point = unescape(words[4]);
  mount.attributes = parse_attributes(words[5], mount.idmapped);
  for (auto tag = words.begin() + 6; tag != dash; ++tag) {
    parse_tag(*tag, mount);
  }
  mount.type = unescape(dash[1]);
  // An empty source leaves its place empty.
  const bool has_source = words.end() - dash >= 4;
  mount.source = has_source ? unescape(dash[2]) : std::string();
  for (const std::string_view option : split(words.back(), ',')) {
    if (option == "ro" || option == "rw") {
      mount.read_only = option == "ro";
    } else {
      mount.options.push_back(unescape(option));
    }
  }
  return mount;
}

[[noreturn]] void throw_with_kernel_log(int context, Error error) {
  // "e tmpfs: Bad value for 'size'": a message a read, a letter and a blank in front.
  std::array<char, 512> text{};
  const ssize_t length = ::read(context, text.data(), text.size() - 1);
  if (length > 2) {
    throw std::move(error).hint("the kernel says: " +
                                std::string(text.data() + 2, static_cast<size_t>(length) - 2));
  }
  throw error;
}

void configure(int context, const std::string& option) {
  const size_t equals = option.find('=');
  const std::string key = option.substr(0, equals);
  const int result =
      equals == std::string::npos
          ? ::fsconfig(context, FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
          : ::fsconfig(context, FSCONFIG_SET_STRING, key.c_str(), option.c_str() + equals + 1, 0);
  // What some kernels show and others don't know, since it can't be otherwise there.
  const bool says_nothing = key == "inode64" || key == "inode32" || key == "seclabel";
  if (result != 0 && !says_nothing) {
    throw_with_kernel_log(context, errno_error("option {}", option));
  }
}

void change(int mount, uint64_t set, uint64_t clear, uint64_t propagation, const char* doing) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  if (::mount_setattr(mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
    throw errno_error("cannot {}", doing);
  }
}

}  // namespace

std::vector<MountInfo> parse_mountinfo(std::string_view text) {
  std::vector<MountInfo> mounts;
  for (const std::string_view line : split(text, '\n')) {
    mounts.push_back(parse_line(line));
  }
  return mounts;
}

bool is_below(std::string_view path, std::string_view directory) {
  return directory == "/" ||
         (path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/'));
}

std::string relative_to(std::string_view path, std::string_view directory) {
  path.remove_prefix(directory == "/" ? 0 : directory.size());
  path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
  return std::string(path);
}

std::string joined_path(std::string_view directory, std::string_view relative) {
  if (relative.empty()) {
    return std::string(directory);
  }
  return fmt::format("{}/{}", directory == "/" ? "" : directory, relative);
}

Fd clone_mount(int directory, const std::string& path) {
  const unsigned flags =
      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW | (path.empty() ? AT_EMPTY_PATH : 0);
  Fd tree(::open_tree(directory, path.c_str(), flags));
  if (!tree) {
    throw errno_error("cannot clone the mount of {}", path.empty() ? "a directory" : path);
  }
  return tree;
}

Fd make_superblock(const std::string& type, const std::string& source,
                   const std::vector<std::string>& options) {
  const Fd context(::fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!context) {
    throw errno_error("cannot make a file system");
  }
  if (!source.empty() && ::fsconfig(context.get(), FSCONFIG_SET_STRING, "source", source.c_str(), 0) != 0) {
    throw_with_kernel_log(context.get(), errno_error("source {}", source));
  }
  for (const std::string& option : options) {
    configure(context.get(), option);
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    throw_with_kernel_log(context.get(), errno_error("cannot make a file system"));
  }
  Fd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!mount) {
    throw_with_kernel_log(context.get(), errno_error("cannot mount it"));
  }
  return mount;
}

void set_superblock_read_only(int mount) {
  const Fd context(::fspick(mount, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH));
  if (!context || ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "ro", nullptr, 0) != 0 ||
      ::fsconfig(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) != 0) {
    throw errno_error("cannot make the file system read-only");
  }
}

void attach_mount(int mount, int target) {
  if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    throw errno_error("cannot attach it");
  }
}

void set_mount_attributes(int mount, uint64_t attributes) {
  constexpr uint64_t kAll = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                            MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW;
  // The kinds of access times are one field, which is only set after it has been cleared as a whole.
  change(mount, attributes, (kAll & ~attributes) | MOUNT_ATTR__ATIME, 0, "set its flags");
}

void set_propagation(int mount, uint64_t propagation) {
  change(mount, 0, 0, propagation, "set its propagation");
}

void join_peer_group(int from, int to) {
  if (::move_mount(from, "", to, "",
                   MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    throw errno_error("cannot join its peer group");
  }
}

Fd open_within_mount(int directory, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  Fd found(static_cast<int>(
      ::syscall(SYS_openat2, directory, path.empty() ? "." : path.c_str(), &how, sizeof how)));
  if (!found) {
    throw errno_error("cannot find {}", path.empty() ? "the directory itself" : path);
  }
  return found;
}

namespace {

Fd open_path_in_root(int root, const std::string& path, uint64_t more_flags) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | more_flags;
  how.resolve = RESOLVE_IN_ROOT;
  return Fd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

/// From the root of the mount namespace that it is in, or from ours.
std::string path_of(int fd) {
  return read_link("/proc/self/fd/" + std::to_string(fd));
}

}  // namespace

Fd open_in_root(int root, const std::string& path) {
  return open_path_in_root(root, path, O_NOFOLLOW);
}

std::optional<std::string> resolve_in_root(int root, const std::string& path) {
  const Fd found = open_path_in_root(root, path, 0);
  if (!found) {
    return std::nullopt;
  }
  const std::string from = path_of(root);
  const std::string to = path_of(found.get());
  return is_below(to, from) ? std::optional("/" + relative_to(to, from)) : std::nullopt;
}

void in_mount_namespace(int space, const std::function<void()>& body) {
  std::exception_ptr failure;
  std::optional<BlockedSignals> blocked(std::in_place);  // which the thread inherits
  std::thread inside([&] {
    try {
      // Root and working directory are otherwise shared with the other threads, which must stay where they
      // are.
      if (::unshare(CLONE_FS) != 0 || ::setns(space, CLONE_NEWNS) != 0) {
        throw errno_error("cannot enter the mount namespace");
      }
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  blocked.reset();
  inside.join();
  if (failure) {
    std::rethrow_exception(failure);
  }
}

bool is_empty_directory(int mount) {
  const Fd directory = open_at(mount, ".", O_RDONLY | O_DIRECTORY);
  alignas(dirent64) std::array<char, 1024> entries{};
  const long size = ::syscall(SYS_getdents64, directory.get(), entries.data(), entries.size());
  if (size < 0) {
    throw errno_error("cannot list the root of a mount");
  }
  constexpr long kOnlyDots = 48;  // a struct linux_dirent64 for each of "." and ".."
  return size <= kOnlyDots;
}

uint64_t mount_id_of(int fd) {
  struct statx status {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) != 0) {
    throw errno_error("cannot ask for the mount of a file");
  }
  return (status.stx_mask & STATX_MNT_ID) != 0 ? status.stx_mnt_id : 0;
}

}  // namespace godwit
