#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "images-format/partial_directory.h"
#include "images-format/partial_name.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "runtimes/checkpoint_files.h"
#include "runtimes/json_value.h"
#include "runtimes/managed.h"
#include "runtimes/managed_files.h"

namespace godwit::runtimes {

namespace {

constexpr size_t kLongestContainerFile = 65536;

/// Whose a checkpoint is. The file systems of other containers don't fit.
void check_owner(const Client& client, const InspectedContainer& container, const Directory& images) {
  const std::string path = images.path + "/" + kContainerFile;
  const Fd file(::openat(images.fd, kContainerFile, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) {
    const int code = errno;
    throw Error(
        fmt::format("cannot open {}", path), code,
        fmt::format("'godwit dump --{}' writes it into the checkpoint of a container", client.program()));
  }
  if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(kLongestContainerFile)) {
    throw error("{} isn't a file of a dump", path);
  }
  const Json json = with_context(
      [&] { return path; }, [&] { return parse_json(read_all(file.get(), path), kLongestContainerFile); });
  const std::string runtime = json_text(json_value(json, "runtime"), "runtime");
  const std::string id = json_text(json_value(json, "id"), "id");
  if (runtime != client.program() || id != container.id) {
    throw error("{} is the checkpoint of {}'s container {}, not of {}'s {}", images.path, runtime, id,
                client.program(), container.id);
  }
}

void check_it_has_ended(const Client& client, const InspectedContainer& container) {
  if (!container.running && !container.paused && !container.restarting) {
    return;
  }
  throw Error(fmt::format("{}'s container '{}' is there: its state is '{}'", client.name(), container.name,
                          container.status),
              0, fmt::format("'{} kill {}' ends it", client.program(), container.name));
}

/// Things of the manager's in a directory, which step aside for ours while they are needed. The destructor
/// removes ours and puts them back.
class StandIns {
 public:
  explicit StandIns(Directory directory) : directory_(std::move(directory)) {}
  StandIns(const StandIns&) = delete;
  StandIns& operator=(const StandIns&) = delete;

  /// From here on something of ours may have that name.
  void make_way(const std::string& name) {
    Way way{.name = name, .aside = ""};
    const std::string aside = fmt::format("{}.before-{}", name, random_suffix());
    if (::renameat2(directory_.fd, name.c_str(), directory_.fd, aside.c_str(), RENAME_NOREPLACE) == 0) {
      way.aside = aside;
    } else if (errno != ENOENT) {
      throw errno_error("cannot rename {}/{}", directory_.path, name);
    }
    ways_.push_back(std::move(way));
  }

  ~StandIns() {
    for (const Way& way : ways_) {
      std::error_code failure;
      std::filesystem::remove_all(directory_.path + "/" + way.name, failure);
      if (!way.aside.empty() &&
          ::renameat(directory_.fd, way.aside.c_str(), directory_.fd, way.name.c_str()) != 0) {
        log::warning("what was {0}/{1} is {0}/{2} now: {3}", directory_.path, way.name, way.aside,
                     errno_error("cannot rename it").what());
      }
    }
  }

 private:
  struct Way {
    std::string name;
    std::string aside;  // empty: there was nothing
  };
  Directory directory_;
  std::vector<Way> ways_;
};

/// Podman takes the checkpoint from the container's directory.
void restore_by_podman(const Client& client, const ManagedContainer& container, const Directory& images,
                       bool tcp_established) {
  const Fd directory = open_file(container.directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const Directory podmans{directory.get(), container.directory};
  StandIns stand_ins(podmans);
  stand_ins.make_way(kPodmansImages);
  PartialDirectory placed(container.directory + "/" + kPodmansImages);
  copy_checkpoint(images, {placed.get(), placed.path()}, false);
  placed.publish(false);
  for (const char* name : kPodmansFiles) {
    stand_ins.make_way(name);
    copy_if_there(images, name, podmans, false);
  }
  check_cancelled();
  // Without --keep it would remove what it restored from, and with it what stands aside loses its name.
  std::vector<std::string> words{"container", "restore", "--keep"};
  if (tcp_established) {
    words.emplace_back("--tcp-established");
  }
  words.push_back(container.inspected.id);
  static_cast<void>(client.run(words));
}

/// Docker takes it by a name, under which it keeps it.
void restore_by_docker(const Client& client, const ManagedContainer& container, const Directory& images) {
  const std::string path = container.directory + "/checkpoints";
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    throw errno_error("cannot make {}", path);
  }
  const Fd directory = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const std::string name = "godwit-" + random_suffix();
  StandIns stand_ins({directory.get(), path});
  stand_ins.make_way(name);
  PartialDirectory placed(path + "/" + name);
  copy_checkpoint(images, {placed.get(), placed.path()}, false);
  placed.publish(false);
  check_cancelled();
  static_cast<void>(client.run({"start", "--checkpoint=" + name, container.inspected.id}));
}

}  // namespace

void restore_managed_container(const Client& client, const ManagedRestore& restore) {
  const ManagedContainer container = find_managed_container(client, restore.name);
  check_it_has_ended(client, container.inspected);
  const Fd open = open_file(restore.directory, O_RDONLY | O_DIRECTORY);
  const Directory images{open.get(), restore.directory};
  check_owner(client, container.inspected, images);
  with_context([&] { return fmt::format("{}'s container '{}'", client.name(), container.inspected.name); },
               [&] {
                 if (client.manager() == Manager::Podman) {
                   restore_by_podman(client, container, images, restore.tcp_established);
                 } else {
                   restore_by_docker(client, container, images);
                 }
               });
}

}  // namespace godwit::runtimes
